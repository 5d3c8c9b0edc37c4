"""`nf compare`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from nfcli import runtime
from nfcli.cli.complete import complete_run
from nfcli.cli.console import Console
from nfcli.cli.options import RUNS_DIR, Json, Quiet, RunsDir, Verbose
from nfcli.errors import UsageError
from nfcli.limits import check_whole
from nfcli.runs.comparison import Comparison, Row
from nfcli.runs.comparison import compare as compare_runs

TERMINAL_FORMAT = "simple"
HEADER = ("run", "preset", "params", "val\nbpd", "test\nbpd", "std\nerr", "infer\nms", "sample\nms")
CAPTION = "std err: over images; infer, sample: for 64 images; *: best of a column"
CAPTION_OF_PUBLISHED = """\
published: what is in print for that preset, after 200 epochs of the full recipe
on another machine; a pretrained run had another budget, so they are not ranked"""


def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="Names of runs, or pretrained:NAME; all of yours by default.",
            autocompletion=complete_run,
        ),
    ] = None,
    importance_samples: Annotated[
        int | None,
        typer.Option(
            "--importance-samples",
            "-k",
            help="Only measurements with this K; by default the one of most images, and of these the newest.",
        ),
    ] = None,
    paired: Annotated[
        bool,
        typer.Option(
            "--paired", help="Compare two runs image by image, and say whether the images decide between them."
        ),
    ] = False,
    table_format: Annotated[
        str, typer.Option("--format", help="A format of tabulate: simple, github, latex, html, tsv, ...")
    ] = TERMINAL_FORMAT,
    html: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write a page with results, learning curves and pictures instead.", show_default=False
        ),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Print the results table: bits per dimension, time for 64 images, parameters.

    Only runs measured on the same test images with the same K are ranked together; * marks the best of a column.
    Before you have trained a run, it shows those that ship with nf, beside the published results of their presets.

    Examples:

        nf compare

        nf compare simple multiscale --format github

        nf compare --paired pretrained:mixture mixture

        nf compare --html results.html
    """
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)
    check_whole("importance_samples", importance_samples)
    if paired:
        if html is not None:
            raise UsageError("--paired and --html exclude each other", hint="give one of them")
        _paired(runs or [], runs_dir, importance_samples, console)
        return
    _check_format(table_format)
    if html is not None:
        _page(html, runs or [], runs_dir, importance_samples, console)
        return
    comparison = compare_runs(runs or [], runs_dir, importance_samples=importance_samples, warn=console.warning)
    if not runs and comparison.shipped:
        console.message(f"there is no run in {runs_dir} yet; these ship with nf")
    console.result(_content(comparison), _text(comparison, table_format))
    _say_notes(comparison, console)
    if not comparison.rankable:
        console.warning("the groups differ in images or K, so their numbers must not be ranked together")
    missing = [row.name for row in comparison.rows if row.group is None and not row.shipped]
    if missing:
        wanted = "" if importance_samples is None else f" -k {importance_samples}"
        console.hint(f"not measured yet: {', '.join(missing)}; for example: nf eval {missing[0]}{wanted}")


def _content(comparison: Comparison) -> dict[str, Any]:
    return {
        "rankable": comparison.rankable,
        "groups": list(comparison.questions),
        "rows": [asdict(row) for row in comparison.rows],
    }


def _page(path: Path, names: list[str], runs_dir: Path, importance_samples: int | None, console: Console) -> None:
    runtime.prepare()
    from nfcli.inspection.page import PageConfig, write_page

    config = PageConfig(path, tuple(names), runs_dir, importance_samples)
    comparison = write_page(config, message=console.message, warn=console.warning)
    console.result({"page": str(path), **_content(comparison)}, str(path))
    _say_notes(comparison, console)


def _say_notes(comparison: Comparison, console: Console) -> None:
    for note in comparison.notes:
        console.message(note)


def _paired(names: list[str], runs_dir: Path, importance_samples: int | None, console: Console) -> None:
    if len(names) != 2:
        raise UsageError(f"--paired compares two runs, not {len(names)}", hint="for example: nf compare --paired A B")
    from nfcli.evaluation.paired import compare_paired

    result = compare_paired(names[0], names[1], runs_dir, importance_samples=importance_samples)
    console.result(result, result.sentence)
    console.detail("the interval is of the images' spread; another training seed is another question")


def _check_format(name: str) -> None:
    from tabulate import tabulate_formats

    if name not in tabulate_formats:
        raise UsageError(f"unknown --format '{name}'", hint="formats: " + ", ".join(tabulate_formats))


def _text(comparison: Comparison, table_format: str) -> str:
    tables = []
    for number, question in enumerate(comparison.questions):
        rows = [row for row in comparison.rows if row.group == number]
        tables.append(f"{question}\n\n{_table(rows, table_format)}")
    unmeasured = [row for row in comparison.rows if row.group is None]
    if unmeasured:
        tables.append(f"not measured yet\n\n{_table(unmeasured, table_format)}")
    if comparison.questions and table_format == TERMINAL_FORMAT:
        tables.append(CAPTION)
    if any(row.published_test_bpd is not None for row in comparison.rows):
        tables.append(CAPTION_OF_PUBLISHED)
    return "\n\n".join(tables)


def _table(rows: list[Row], table_format: str) -> str:
    from tabulate import tabulate

    columns = [
        [row.name for row in rows],
        [row.preset for row in rows],
        [f"{row.parameters:,}" for row in rows],
        _column(rows, lambda row: row.val_bpd, "{:.4f}"),
        _column(rows, lambda row: row.test_bpd, "{:.4f}"),
        ["-" if row.test_bpd_stderr is None else f"{row.test_bpd_stderr:.4f}" for row in rows],
        _column(rows, lambda row: row.inference_ms, "{:.1f}"),
        _column(rows, lambda row: row.sampling_ms, "{:.1f}"),
    ]
    alignment = ["left", "left", *["right"] * 6]
    body = [line for row, *cells in zip(rows, *columns, strict=True) for line in (cells, *_published(row))]
    # In 80 columns the headers need two lines; elsewhere a cell of two lines would break the table.
    header = list(HEADER) if table_format == TERMINAL_FORMAT else [title.replace("\n", " ") for title in HEADER]
    if table_format == TERMINAL_FORMAT and all(row.shipped for row in rows):
        # The name says the preset, and 80 columns have no room for it twice.
        for line in (alignment, header, *body):
            del line[HEADER.index("preset")]
    return tabulate(body, header, tablefmt=table_format, disable_numparse=True, colalign=alignment)


def _published(row: Row) -> list[list[str]]:
    """The line below a run that ships: what is in print for its preset; none where nothing is."""
    if row.published_test_bpd is None:
        return []
    val = "-" if row.published_val_bpd is None else f"{row.published_val_bpd:.3f}"
    return [[f"published {row.preset}", row.preset, "", val, f"{row.published_test_bpd:.3f}", "", "", ""]]


def _column(rows: list[Row], value: Callable[[Row], float | None], pattern: str) -> list[str]:
    """Cells of a column, the smallest marked when there is something to compare."""
    values = [value(row) for row in rows]
    known = [entry for entry in values if entry is not None]
    best = min(known) if len(known) > 1 else None
    return ["-" if entry is None else ("* " if entry == best else "") + pattern.format(entry) for entry in values]
