"""The tables of the page: results, and the settings that differ."""

from collections.abc import Iterable
from dataclasses import fields
from html import escape
from typing import Any

from nfcli.config import SMOKE, TrainConfig, with_defaults
from nfcli.presets import PRESETS
from nfcli.runs.columns import ABOUT_LABELS, COLUMNS, LABELS, Cell, Column, asked_for_labels, groups, lines
from nfcli.runs.comparison import Comparison, Row

NOTHING = "–"

ABOUT_NUMBERS = (
    "Bits per dimension (bpd): lower is better. Every number is an upper bound on the true value; "
    "± is the standard error over images. K = 1 is the same bound with one noise draw. Effective samples "
    "near K mean that the bound is tight. Times are for 64 images. * marks the best of a column."
)
ABOUT_PUBLISHED = (
    "Published: what is in print for that preset, after 200 epochs of the full recipe on "
    "another machine. A pretrained run had another budget, and so the two are not ranked."
)


def section(title: str, *content: str) -> str:
    """A part of the page with a heading; the content is HTML, the title is not."""
    return "\n".join([f"<section><h2>{escape(title)}</h2>", *content, "</section>"])


def note(text: str) -> str:
    """A sentence in small letters."""
    return f'<p class="note">{escape(text)}</p>'


def results_section(comparison: Comparison) -> str:
    """A table for each question that was asked."""
    warning = "The groups differ in images, K or given labels: they must not be ranked together."
    parts = [f"<p><strong>{warning}</strong></p>"] * (len(comparison.questions) > 1)
    for question, rows in groups(comparison):
        asked = "Not measured yet: <code>nf eval NAME</code> does it." if question is None else escape(question)
        parts += [f"<p>{asked}</p>", _table_of(rows, COLUMNS)]
        if said := asked_for_labels(rows):
            parts.append(_table_of(said, LABELS))
    notes = [note(ABOUT_NUMBERS)] + [note(f"{ABOUT_LABELS}.")] * bool(asked_for_labels(comparison.rows))
    notes += [note(ABOUT_PUBLISHED)] * comparison.has_published + [note(f"Note: {text}.") for text in comparison.notes]
    return section("Results", *parts, *notes)


def settings_section(configs: dict[str, dict[str, Any]]) -> str:
    """What differs between the config.json of runs; nothing for a single one."""
    if len(configs) < 2:
        return ""
    flat = [_flat(config) for config in configs.values()]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    differing = [key for key in keys if len({repr(settings.get(key)) for settings in flat}) > 1]
    if not differing:
        return section("Settings", note("All settings are the same."))
    rows = [[Cell(key.replace("_", "-")), *(Cell(_shown(settings.get(key))) for settings in flat)] for key in differing]
    return section("Settings that differ", _html_table(["setting", *configs], rows, "words"))


def options(settings: dict[str, Any]) -> list[str]:
    """The settings of a run as options of nf train: the main ones, and what its preset does not bring by itself."""
    preset = PRESETS.get(settings["preset"])
    usual = {field.name: field.default for field in fields(TrainConfig)}
    usual |= {**(preset.recipe if preset else {}), **(SMOKE if settings.get("smoke") else {})}
    usual |= {name: settings[name] for name in ("preset", "dataset")}  # which stand elsewhere
    main = ("epochs", "batch_size", "seed")
    chosen = {name: value for name, value in settings.items() if name in main or value != usual.get(name)}
    return [f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}" for name, value in chosen.items()]


def _table_of(rows: list[Row], every: Iterable[Column]) -> str:
    columns = [column for column in every if column.page is not None]
    titles = [str(column.page) for column in columns]
    return _html_table(titles, lines(rows, columns, nothing=NOTHING, empty=NOTHING))


def _html_table(titles: list[str], rows: Iterable[list[Cell]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "\n".join(f"<tr>{''.join(map(_html_cell, titles, cells))}</tr>" for cells in rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return f'<div class="table">{table}</div>'


def _html_cell(title: str, cell: Cell) -> str:
    marked = ' class="best"' if cell.best else ""
    error = "" if cell.error is None else f' <span class="error">± {cell.error}</span>'
    return f'<td data-label="{escape(title)}"{marked}><span>{escape(cell.text)}{error}</span></td>'


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    data = {f"data {name}": config["data"].get(name) for name in ("train_images", "val_images")}
    data["data fingerprint"] = config["data"]["fingerprint"][:12]
    model = {name: config["model"].get(name) for name in ("shape", "levels", "parameters")}
    settings = with_defaults(config["settings"])
    return {**settings, **model, **data, **{f"version of {k}": v for k, v in config["versions"].items()}}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NOTHING if value is None else "x".join(map(str, value)) if isinstance(value, list) else str(value)
