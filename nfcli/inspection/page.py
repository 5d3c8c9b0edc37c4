"""`write_page(config)`: runs side by side on one HTML page that needs nothing but itself."""

from __future__ import annotations

import base64
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from nfcli import __version__
from nfcli.errors import NFError, UsageError
from nfcli.figures import save_learning_curves
from nfcli.figures.curves import Curve
from nfcli.inspection.dequantization import InspectDequantConfig, inspect_dequantization
from nfcli.inspection.sampling import SampleConfig, sample
from nfcli.runs import RunDir, find_run
from nfcli.runs.comparison import Comparison, Row, compare
from nfcli.runs.files import check_place, write_text

WIDE, NARROW = (9.0, 4.2), (4.2, 3.6)
"""Inches of the learning curves on a screen, and on a phone."""

PHONE = "(max-width: 40rem)"

SAMPLES = 36

Say = Callable[[str], None]


@dataclass(frozen=True)
class PageConfig:
    """What the page shows.

    Attributes:
        output: The HTML file.
        runs: Names; none for all.
        runs_dir: Where runs live.
        importance_samples: Only measurements with this K; None for each run's newest.
    """

    output: Path
    runs: tuple[str, ...] = ()
    runs_dir: Path = Path("runs")
    importance_samples: int | None = None

    def __post_init__(self) -> None:
        if self.output.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{self.output} is no name of a page", hint="give a file that ends in .html")


def write_page(config: PageConfig, *, message: Say = lambda _: None, warn: Say = lambda _: None) -> Comparison:
    """Write the page: results with errors, learning curves, samples, dequantization, settings that differ.

    Pictures that a run does not have yet are drawn into its figures first.

    Returns:
        What it compares.

    Raises:
        RunError: There is no run, or a named one is missing or damaged.
        WriteError: The page cannot be written.
    """
    check_place(config.output)
    comparison = compare(list(config.runs), config.runs_dir, importance_samples=config.importance_samples, warn=warn)
    runs = {row.name: find_run(row.name, config.runs_dir) for row in comparison.rows}
    sections = [
        _results(comparison),
        _curves(runs, warn),
        _section("Runs", _div("runs", [_card(row, runs[row.name], message, warn) for row in comparison.rows])),
        _differences({name: run.config() for name, run in runs.items()}),
    ]
    names = ", ".join(escape(name) for name in runs)
    page = Template(files("nfcli.inspection").joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=f"Comparison of {len(runs)} runs" if len(runs) != 1 else f"Run {names}",
        about=f"{names}. Made by nf {__version__}.",
        body="\n".join(sections),
    )
    write_text(config.output, page)
    return comparison


def _section(title: str, *content: str) -> str:
    return "\n".join([f"<section><h2>{escape(title)}</h2>", *content, "</section>"])


def _div(name: str, content: Iterable[str]) -> str:
    return "\n".join([f'<div class="{name}">', *content, "</div>"])


def _results(comparison: Comparison) -> str:
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
    return _section("Results", *tables)


Column = tuple[str, Callable[[Row], float | None], str, Callable[[Row], float | None] | None]
"""Title, value, pattern, and standard error."""

COLUMNS: tuple[Column, ...] = (
    ("validation bpd", lambda row: row.val_bpd, "{:.4f}", lambda row: row.val_bpd_stderr),
    ("test bpd", lambda row: row.test_bpd, "{:.4f}", lambda row: row.test_bpd_stderr),
    ("test bpd, K = 1", lambda row: row.test_elbo_bpd, "{:.4f}", None),
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
    return _html_table(titles, zip(*columns, strict=True))


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


def _curves(runs: dict[str, RunDir], warn: Say) -> str:
    training: dict[str, Curve] = {}
    validation: dict[str, Curve] = {}
    for name, run in runs.items():
        try:
            rows, batch = run.metrics(), run.config()["settings"]["batch_size"]
        except NFError as error:
            warn(f"no learning curve of '{name}': {error.message}")
            continue
        for column, curves in (("train_bpd", training), ("val_bpd", validation)):
            known = [(row["step"] * batch / 1000, row[column]) for row in rows if row.get(column) is not None]
            if known:
                steps, values = np.array(known, float).T
                curves[name] = (steps, values)
    if not training and not validation:
        return _section("Learning curves", '<p class="note">Nothing was trained for a whole epoch yet.</p>')
    with tempfile.TemporaryDirectory() as folder:
        pictures = []
        for number, size in enumerate((WIDE, NARROW)):
            path = Path(folder) / f"{number}.png"
            save_learning_curves(
                path, training, validation=validation, x_label="Training images seen (thousands)", size=size
            )
            pictures.append(_embedded(path))
    return _section(
        "Learning curves",
        f'<figure><picture><source media="{PHONE}" srcset="{pictures[1]}">'
        f'<img src="{pictures[0]}" alt="Bits per dimension while training, of every run"></picture>'
        "<figcaption>Lines: mean of an epoch in training. Markers: validation, one noise draw.</figcaption></figure>",
    )


def _card(row: Row, run: RunDir, message: Say, warn: Say) -> str:
    config = run.config()
    data, settings = config["data"], config["settings"]
    facts = {
        "data": f"{data['name']}, {data['train_images']:,} images to train, fingerprint {data['fingerprint'][:12]}",
        "settings": f"--epochs {settings['epochs']} --batch-size {settings['batch_size']} --seed {settings['seed']}",
        "measured": "not yet"
        if row.images is None
        else f"weights of step {row.checkpoint_step:,}, {row.images:,} test images, K = {row.importance_samples}",
        "device": f"{config['device'].get('count', '?')} x {config['device'].get('kind', '?')}",
        "versions": ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
    }
    listing = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in facts.items())
    pictures = [
        _picture(run, "samples.png", "Samples", "samples", message, warn, lambda: sample(_samples_of(run), warn=warn)),
        _picture(
            run,
            "dequantization.png",
            "Dequantization: how integers become real numbers",
            "",
            message,
            warn,
            lambda: inspect_dequantization(InspectDequantConfig(run=run.name, runs_dir=run.path.parent), warn=warn),
        ),
    ]
    return "\n".join(
        [f'<article class="run"><h3>{escape(row.name)}</h3>', f"<dl>{listing}</dl>", *pictures, "</article>"]
    )


def _samples_of(run: RunDir) -> SampleConfig:
    return SampleConfig(run=run.name, runs_dir=run.path.parent, num=SAMPLES)


def _picture(run: RunDir, name: str, title: str, kind: str, message: Say, warn: Say, draw: Callable[[], Any]) -> str:
    """A picture of a run's figures, drawn first if it is not there."""
    path = run.figures / name
    if not path.exists():
        message(f"drawing {path}")
        try:
            draw()
        except NFError as error:
            warn(f"no {name} of run '{run.name}': {error.message}")
            return f'<p class="note">{escape(title)}: cannot be drawn ({escape(error.message)}).</p>'
    alt = escape(f"{title} of {run.name}")
    return (
        f'<figure class="{kind}"><img src="{_embedded(path)}" alt="{alt}">'
        f"<figcaption>{escape(title)}</figcaption></figure>"
    )


def _embedded(path: Path) -> str:
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


def _differences(configs: dict[str, dict[str, Any]]) -> str:
    flat = {name: _flat(config) for name, config in configs.items()}
    keys = dict.fromkeys(key for settings in flat.values() for key in settings)
    differing = [key for key in keys if len({repr(settings.get(key)) for settings in flat.values()}) > 1]
    if len(configs) < 2 or not differing:
        return _section("Settings", '<p class="note">All settings are the same.</p>' if len(configs) > 1 else "")
    rows = [
        [
            _cell("setting", escape(key.replace("_", "-"))),
            *(_cell(name, escape(_shown(settings.get(key)))) for name, settings in flat.items()),
        ]
        for key in differing
    ]
    return _section("Settings that differ", _html_table(["setting", *flat], rows, "words"))


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    data = {f"data {name}": config["data"].get(name) for name in ("fingerprint", "train_images", "val_images")}
    model = {name: config["model"].get(name) for name in ("shape", "levels", "parameters")}
    return {**config["settings"], **model, **data, **{f"version of {k}": v for k, v in config["versions"].items()}}


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)
