"""The tables of the page: results, and the settings that differ."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from html import escape
from typing import Any

from nfcli.config import SMOKE, TrainConfig
from nfcli.presets import PRESETS
from nfcli.runs.comparison import Comparison, Row


def section(title: str, *content: str) -> str:
    """A part of the page with a heading; the content is HTML, the title is not."""
    return "\n".join([f"<section><h2>{escape(title)}</h2>", *content, "</section>"])


def results_section(comparison: Comparison) -> str:
    """A table for each question that was asked."""
    tables = []
    for number, question in enumerate(comparison.questions):
        rows = [row for row in comparison.rows if row.group == number]
        tables += [f"<p>{escape(question)}</p>", _table(rows)]
    unmeasured = [row for row in comparison.rows if row.group is None]
    if unmeasured:
        tables += ["<p>Not measured yet: <code>nf eval NAME</code> does it.</p>", _table(unmeasured)]
    if len(comparison.questions) > 1:
        tables.insert(0, "<p><strong>The groups differ in images or K: they must not be ranked together.</strong></p>")
    tables.append(
        '<p class="note">Bits per dimension (bpd): lower is better. Every number is an upper bound on the true value; '
        "± is the standard error over images. K = 1 is the same bound with one noise draw. Effective samples "
        "near K mean that the bound is tight. Times are for 64 images. * marks the best of a column.</p>"
    )
    if comparison.has_published:
        tables.append(
            '<p class="note">Published: what is in print for that preset, after 200 epochs of the full recipe on '
            "another machine. A pretrained run had another budget, and so the two are not ranked.</p>"
        )
    return section("Results", *tables)


Column = tuple[str, Callable[[Row], float | None], str, Callable[[Row], float | None] | None]
"""Title, value, pattern, and standard error."""

COLUMNS: tuple[Column, ...] = (
    ("validation bpd", lambda row: row.val_bpd, "{:.4f}", lambda row: row.val_bpd_stderr),
    ("test bpd", lambda row: row.test_bpd, "{:.4f}", lambda row: row.test_bpd_stderr),
    ("test bpd, K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1", lambda row: row.test_elbo_bpd, "{:.4f}", None),
    ("inference, ms", lambda row: row.inference_ms, "{:.1f}", None),
    ("sampling, ms", lambda row: row.sampling_ms, "{:.1f}", None),
)


def _table(rows: list[Row]) -> str:
    titles = ["run", "preset", "parameters", *(title for title, *_ in COLUMNS), "effective samples"]
    columns = [
        [_cell("run", escape(row.name)) for row in rows],
        [_cell("preset", escape(row.preset)) for row in rows],
        [_cell("parameters", f"{row.parameters:,}") for row in rows],
        *(_numbers(rows, column) for column in COLUMNS),
        [_cell(titles[-1], _number(row.effective_sample_size, "{:.2f}")) for row in rows],
    ]
    lines = [line for row, *cells in zip(rows, *columns, strict=True) for line in (cells, *_published(row, titles))]
    return _html_table(titles, lines)


def _published(row: Row, titles: list[str]) -> list[list[str]]:
    """The line below a run that ships: what is in print for its preset; none where nothing is."""
    if row.published_test_bpd is None:
        return []
    known = {
        "run": f"published {escape(row.preset)}",
        "preset": escape(row.preset),
        "validation bpd": _number(row.published_val_bpd, "{:.3f}"),
        "test bpd": _number(row.published_test_bpd, "{:.3f}"),
    }
    return [[_cell(title, known.get(title, "–")) for title in titles]]


def _numbers(rows: list[Row], column: Column) -> list[str]:
    title, value, pattern, error = column
    known = [number for row in rows if (number := value(row)) is not None]
    best = min(known) if len(known) > 1 else None
    cells = []
    for row in rows:
        text = _number(value(row), pattern)
        if error is not None and error(row) is not None:
            text += f' <span class="error">± {_number(error(row), pattern)}</span>'
        cells.append(_cell(title, text, best=best is not None and value(row) == best))
    return cells


def _number(value: float | None, pattern: str) -> str:
    return "–" if value is None else pattern.format(value)


def _cell(title: str, content: str, *, best: bool = False) -> str:
    marked = ' class="best"' if best else ""
    return f'<td data-label="{escape(title)}"{marked}><span>{content}</span></td>'


def _html_table(titles: Iterable[str], rows: Iterable[Iterable[str]], kind: str = "") -> str:
    head = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table>'
    return f'<div class="table">{table}</div>'


def settings_section(configs: dict[str, dict[str, Any]]) -> str:
    """What differs between the config.json of runs; nothing for a single one."""
    if len(configs) < 2:
        return ""
    flat = {name: _flat(config) for name, config in configs.items()}
    keys = dict.fromkeys(key for settings in flat.values() for key in settings)
    differing = [key for key in keys if len({repr(settings.get(key)) for settings in flat.values()}) > 1]
    if not differing:
        return section("Settings", '<p class="note">All settings are the same.</p>')
    rows = [
        [
            _cell("setting", escape(key.replace("_", "-"))),
            *(_cell(name, escape(_shown(settings.get(key)))) for name, settings in flat.items()),
        ]
        for key in differing
    ]
    return section("Settings that differ", _html_table(["setting", *flat], rows, "words"))


def options(settings: dict[str, Any]) -> list[str]:
    """The settings of a run as options of nf train: the main ones, and what its preset does not bring by itself."""
    preset = PRESETS.get(settings["preset"])
    usual = {field.name: field.default for field in fields(TrainConfig)}
    usual |= {**(preset.recipe if preset else {}), **(SMOKE if settings.get("smoke") else {})}
    elsewhere = ("preset", "dataset")
    chosen = {
        name: value
        for name, value in settings.items()
        if name in ("epochs", "batch_size", "seed") or (name not in elsewhere and value != usual.get(name))
    }
    return [f"--{name.replace('_', '-')}{'' if value is True else f' {value}'}" for name, value in chosen.items()]


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    data = {f"data {name}": config["data"].get(name) for name in ("train_images", "val_images")}
    data["data fingerprint"] = config["data"]["fingerprint"][:12]
    model = {name: config["model"].get(name) for name in ("shape", "levels", "parameters")}
    return {**config["settings"], **model, **data, **{f"version of {k}": v for k, v in config["versions"].items()}}


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "–" if value is None else "x".join(map(str, value)) if isinstance(value, list) else str(value)
