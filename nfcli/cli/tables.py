"""The table of `nf compare`: for people a table a group, in every other format one table of all runs for programs."""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from io import StringIO

from nfcli.runs.comparison import Comparison, Row
from nfcli.runs.seeds import SeedRow

TERMINAL_FORMAT = "simple"
DELIMITERS = {"csv": ",", "tsv": "\t"}
"""Written by Python's csv, which quotes what has to be; the tsv of tabulate fills cells up with spaces."""

HEADER = ("run", "preset", "params", "val\nbpd", "test\nbpd", "std\nerr", "infer\nms", "sample\nms")
CAPTION = "std err: over images; infer, sample: for 64 images"
CAPTION_OF_SEEDS = """\
bpd: mean over seeds; std err: over images, its mean;
std seeds: standard deviation of test bpd over seeds"""
CAPTION_OF_PUBLISHED = """\
published: what is in print for that preset, after 200 epochs of the full recipe
on another machine; a pretrained run had another budget, so they are not ranked"""

Column = tuple[str, Callable[[Row], str | int | float | None], str]
"""Title, value, and how a value is written."""

PLAIN: tuple[Column, ...] = (
    ("run", lambda row: row.name, ""),
    ("preset", lambda row: row.preset, ""),
    ("params", lambda row: row.parameters, "d"),
    ("data", lambda row: row.dataset, ""),
    ("test set", lambda row: row.test_fingerprint and row.test_fingerprint[:8], ""),
    ("conditional", lambda row: "yes" if row.conditional else "no", ""),
    ("images", lambda row: row.images, "d"),
    ("K", lambda row: row.importance_samples, "d"),
    ("val bpd", lambda row: row.val_bpd, ".4f"),
    ("test bpd", lambda row: row.test_bpd, ".4f"),
    ("std err", lambda row: row.test_bpd_stderr, ".4f"),
    ("infer ms", lambda row: row.inference_ms, ".1f"),
    ("sample ms", lambda row: row.sampling_ms, ".1f"),
)
SEEDS: tuple[Column, ...] = (
    ("seeds", lambda row: len(row.seeds) if isinstance(row, SeedRow) else None, "d"),
    ("val bpd std seeds", lambda row: row.val_bpd_seed_std if isinstance(row, SeedRow) else None, ".4f"),
    ("test bpd std seeds", lambda row: row.test_bpd_seed_std if isinstance(row, SeedRow) else None, ".4f"),
)
PUBLISHED: tuple[Column, ...] = (
    ("published val bpd", lambda row: row.published_val_bpd, ".3f"),
    ("published test bpd", lambda row: row.published_test_bpd, ".3f"),
)


def formats() -> list[str]:
    """What `--format` takes."""
    from tabulate import tabulate_formats

    return sorted({*DELIMITERS, *tabulate_formats})


def for_people(comparison: Comparison) -> str:
    """A table for each question that was asked, the best of a column marked, with captions."""
    tables = []
    for number, question in enumerate(comparison.questions):
        rows = [row for row in comparison.rows if row.group == number]
        tables.append(f"{question}\n\n{_ranked(rows)}")
    unmeasured = [row for row in comparison.rows if row.group is None]
    if unmeasured:
        tables.append(f"not measured yet\n\n{_ranked(unmeasured)}")
    if comparison.questions:
        caption = CAPTION_OF_SEEDS if _is_grouped(comparison.rows) else CAPTION
        tables.append(f"{caption}; *: best of a column")
    if comparison.has_published:
        tables.append(CAPTION_OF_PUBLISHED)
    return "\n\n".join(tables)


def for_programs(comparison: Comparison, table_format: str) -> tuple[str, list[str]]:
    """One table of all runs, numbers as programs read them; and what is to be known of it, for another place."""
    grouped = _is_grouped(comparison.rows)
    columns = PLAIN + SEEDS * grouped + PUBLISHED * comparison.has_published
    header = [title for title, _, _ in columns]
    body = [[_plain(value(row), pattern) for _, value, pattern in columns] for row in comparison.rows]
    notes = [CAPTION] * bool(comparison.questions) + [" ".join(CAPTION_OF_SEEDS.split())] * grouped
    notes += [" ".join(CAPTION_OF_PUBLISHED.split())] * comparison.has_published
    if table_format in DELIMITERS:
        text = StringIO()
        csv.writer(text, delimiter=DELIMITERS[table_format], lineterminator="\n").writerows([header, *body])
        return text.getvalue().rstrip("\n"), notes
    from tabulate import tabulate

    alignment = ["right" if pattern else "left" for _, _, pattern in columns]
    return tabulate(body, header, tablefmt=table_format, disable_numparse=True, colalign=alignment), notes


def _plain(value: str | float | None, pattern: str) -> str:
    return "" if value is None else format(value, pattern)


def _is_grouped(rows: Sequence[Row]) -> bool:
    return any(isinstance(row, SeedRow) for row in rows)


def _ranked(rows: list[Row]) -> str:
    from tabulate import tabulate

    header, grouped = list(HEADER), _is_grouped(rows)
    columns = [
        [row.name for row in rows],
        [row.preset for row in rows],
        [f"{row.parameters:,}" for row in rows],
        _column(rows, lambda row: row.val_bpd, "{:.4f}"),
        _column(rows, lambda row: row.test_bpd, "{:.4f}"),
        ["-" if row.test_bpd_stderr is None else f"{row.test_bpd_stderr:.4f}" for row in rows],
    ]
    if grouped:  # in the place of times, for which 80 columns have no room
        header[6:] = ["seeds", "std\nseeds"]
        columns += [[_plain(value(row), pattern) or "-" for row in rows] for _, value, pattern in SEEDS[::2]]
    else:
        columns += [_column(rows, lambda row: row.inference_ms, "{:.1f}")]
        columns += [_column(rows, lambda row: row.sampling_ms, "{:.1f}")]
    alignment = ["left", "left", *["right"] * 6]
    body = [line for row, *cells in zip(rows, *columns, strict=True) for line in (cells, *_published(row))]
    if grouped or all(row.shipped for row in rows):
        # The name says the preset, and 80 columns have no room for it twice.
        for line in (alignment, header, *body):
            del line[HEADER.index("preset")]
    return tabulate(body, header, tablefmt=TERMINAL_FORMAT, disable_numparse=True, colalign=alignment)


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
