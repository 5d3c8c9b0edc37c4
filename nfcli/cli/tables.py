"""The table of `nf compare`: for people a table a group, in every other format one table of all runs for programs."""

import csv
from collections.abc import Sequence
from io import StringIO

from nfcli.runs.columns import (
    ABOUT_LABELS,
    COLUMNS,
    LABELS,
    PUBLISHED,
    SEEDS,
    Column,
    asked_for_labels,
    groups,
    lines,
)
from nfcli.runs.comparison import Comparison, Row
from nfcli.runs.pretrained import PREFIX
from nfcli.runs.seeds import SeedRow

DELIMITERS = {"csv": ",", "tsv": "\t"}
"""Written by Python's csv, which quotes what has to be; the tsv of tabulate fills cells up with spaces."""

CAPTION = "std err: over images; infer, sample: for 64 images"
CAPTION_OF_SEEDS = """\
bpd: mean over seeds; std err: over images, its mean;
std seeds: standard deviation of test bpd over seeds"""
CAPTION_OF_PUBLISHED = """\
published: what is in print for that preset, after 200 epochs of the full recipe
on another machine; a pretrained run had another budget, so they are not ranked"""


def formats() -> list[str]:
    """What `--format` takes."""
    from tabulate import tabulate_formats

    return sorted({*DELIMITERS, *tabulate_formats})


def for_people(comparison: Comparison) -> str:
    """A table for each question that was asked, the best of a column marked, with captions."""
    tables, classified = [], asked_for_labels(comparison.rows)
    for question, rows in groups(comparison):
        tables.append(f"{question or comparison.unmeasured}\n\n{_ranked(rows)}")
        if said := asked_for_labels(rows):
            tables.append(_table(said, LABELS))
    if comparison.questions:
        caption = CAPTION_OF_SEEDS if _is_grouped(comparison.rows) else CAPTION
        tables.append(f"{caption}; *: best of a column")
    if classified:
        tables.append(ABOUT_LABELS.replace("; cal", ";\ncal"))
    if comparison.has_published:
        tables.append(CAPTION_OF_PUBLISHED)
    return "\n\n".join(tables)


def for_programs(comparison: Comparison, table_format: str) -> tuple[str, list[str]]:
    """One table of all runs, numbers as programs read them; and what is to be known of it, for another place."""
    grouped = _is_grouped(comparison.rows)
    # Files for programs have the same columns whatever the runs are.
    every, delimited = COLUMNS + SEEDS * grouped, table_format in DELIMITERS
    every += PUBLISHED * (comparison.has_published or delimited)
    every += LABELS[1:] * (bool(asked_for_labels(comparison.rows)) or delimited)
    columns = [column for column in every if column.program is not None]
    header = [column.program for column in columns]
    body = [[column.text(row, "") for column in columns] for row in comparison.rows]
    captions = [CAPTION] * bool(comparison.questions) + [CAPTION_OF_SEEDS] * grouped
    captions += [CAPTION_OF_PUBLISHED] * comparison.has_published
    notes = [" ".join(caption.split()) for caption in captions]
    if delimited:
        text = StringIO()
        csv.writer(text, delimiter=DELIMITERS[table_format], lineterminator="\n").writerows([header, *body])
        return text.getvalue().rstrip("\n"), notes
    from tabulate import tabulate

    alignment = ["right" if column.numeric else "left" for column in columns]
    return tabulate(body, header, tablefmt=table_format, disable_numparse=True, colalign=alignment), notes


def _is_grouped(rows: Sequence[Row]) -> bool:
    return any(isinstance(row, SeedRow) for row in rows)


def _ranked(rows: list[Row]) -> str:
    grouped = _is_grouped(rows)
    # Where the names of runs say the preset, 80 columns have no room for it twice, nor for seeds beside times.
    said = all(row.run.removeprefix(PREFIX).startswith(row.preset) for row in rows)
    left_out = {"preset"} if grouped or said else set()
    left_out |= {"inference_ms", "sampling_ms"} if grouped else set()
    every = COLUMNS + SEEDS * grouped
    return _table(rows, [column for column in every if column.name not in left_out])


def _table(rows: list[Row], every: Sequence[Column]) -> str:
    import tabulate as library

    columns = [column for column in every if column.terminal is not None]
    body = [["*" * cell.best + cell.text for cell in line] for line in lines(rows, columns, nothing="-", empty="")]
    header = [column.terminal for column in columns]
    alignment = ["right" if column.numeric else "left" for column in columns]
    # 80 columns have no room for the two spaces that are added to every heading.
    padding, library.MIN_PADDING = library.MIN_PADDING, 0
    try:
        return library.tabulate(body, header, tablefmt="simple", disable_numparse=True, colalign=alignment)
    finally:
        library.MIN_PADDING = padding
