"""The columns of `nf compare`, said once for terminals, programs and the page. No jax here."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter

from nfcli.runs.comparison import Comparison, Row


@dataclass(frozen=True)
class Column:
    """A number or a word of each run.

    Attributes:
        name: Of the field of `Row`.
        pattern: How a value is written, as `format` reads it.
        terminal, program, page: What each of the three calls it; None where it is not shown.
        ranked: Whether the smallest is marked as the best.
    """

    name: str
    pattern: str
    terminal: str | None = None
    program: str | None = None
    page: str | None = None
    ranked: bool = False

    @property
    def numeric(self) -> bool:
        """Whether it holds numbers."""
        return self.pattern[-1:] in ("d", "f", ",", "%")

    def text(self, row: Row, nothing: str) -> str:
        """The value of a row, or `nothing`."""
        value = getattr(row, self.name)
        if isinstance(value, bool):
            return "yes" if value else "no"
        return nothing if value is None else format(value, self.pattern)


COLUMNS = (
    Column("run", "", "run", "run", "run"),
    Column("preset", "", "preset", "preset", "preset"),
    Column("parameters", ",", "params", None, "parameters"),
    Column("parameters", "d", None, "params"),
    Column("dataset", "", None, "data"),
    Column("test_fingerprint", ".8", None, "test set"),
    Column("conditional", "", None, "conditional"),
    Column("images", "d", None, "images"),
    Column("importance_samples", "d", None, "K"),
    Column("val_images", "d", None, "val images"),
    Column("val_bpd", ".4f", "val\nbpd", "val bpd", "validation bpd", ranked=True),
    Column("test_bpd", ".4f", "test\nbpd", "test bpd", "test bpd", ranked=True),
    Column("test_bpd_stderr", ".4f", "std\nerr", "std err"),
    Column(
        "test_elbo_bpd",
        ".4f",
        program="test bpd K=1",
        page="test bpd, K\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}1",
        ranked=True,
    ),
    Column("inference_ms", ".1f", "infer\nms", "infer ms", "inference, ms"),
    Column("sampling_ms", ".1f", "sample\nms", "sample ms", "sampling, ms"),
    Column("effective_sample_size", ".2f", program="eff samples", page="effective samples"),
    Column("timed_on", "", None, "timed on"),
)

LABELS = (
    Column("run", "", "run", page="run"),
    Column("marginal_bpd", ".4f", "bpd of p(x)", "test bpd of p(x)", "bpd of p(x)", ranked=True),
    Column("marginal_bpd_stderr", ".4f", "std err", "std err of p(x)"),
    Column("accuracy", ".2%", "accuracy", None, "accuracy"),
    Column("accuracy", ".4f", None, "accuracy"),
    Column("label_bits", ".4f", "bits of label", "label bits", "bits of label"),
    Column("calibration_error", ".4f", "calibration", "calibration error", "calibration error"),
)
"""What runs say of the labels of the same images; a table of its own for people."""

ABOUT_LABELS = "p(x): summed over labels; bits of label: -log2 p(label | x); calibration: expected calibration error"

PUBLISHED = (
    Column("published_val_bpd", ".3f", program="published val bpd"),
    Column("published_test_bpd", ".3f", program="published test bpd"),
)
"""What is in print for the preset of a run; people see it in a line of its own."""


SEEDS = (
    Column("seed_count", "d", "seeds", "seeds"),
    Column("val_bpd_seed_std", ".4f", program="val bpd std seeds"),
    Column("test_bpd_seed_std", ".4f", "std\nseeds", "test bpd std seeds"),
)
"""Of rows that are each a `SeedRow`."""


@dataclass(frozen=True)
class Cell:
    """What stands in a column.

    Attributes:
        text: Its value.
        best: Whether it is the best of the column.
        error: The standard error of the value, if it has one.
    """

    text: str
    best: bool = False
    error: str | None = None


def groups(comparison: Comparison) -> list[tuple[str | None, list[Row]]]:
    """Each question with its rows, which may be ranked; last those that were not measured yet, of the question None."""
    by_number = groupby(comparison.rows, attrgetter("group"))
    return [(None if number is None else comparison.questions[number], list(rows)) for number, rows in by_number]


def lines(rows: list[Row], columns: Sequence[Column], *, nothing: str, empty: str) -> list[list[Cell]]:
    """Cells of a table for people: a line a run, and below a run that ships what is in print for its preset.

    Args:
        rows: The runs.
        columns: Of the table.
        nothing: For a value that there is not yet.
        empty: For what is not in print.
    """
    best = {column.name: _best(rows, column) for column in columns}
    table = []
    for row in rows:
        table.append([_cell(row, column, best[column.name], nothing) for column in columns])
        if row.published_test_bpd is not None:
            val, test = (column.text(row, nothing) for column in PUBLISHED)
            known = {"run": f"published {row.preset}", "preset": row.preset, "val_bpd": val, "test_bpd": test}
            table.append([Cell(known.get(column.name, empty)) for column in columns])
    return table


def asked_for_labels(rows: Sequence[Row]) -> list[Row]:
    """Those that were measured with --classify."""
    return [row for row in rows if row.marginal_bpd is not None]


def _best(rows: list[Row], column: Column) -> float | None:
    """The smallest value, where there is something to compare: validation bounds of as many images."""
    known = [value for row in rows if (value := getattr(row, column.name)) is not None]
    alike = column.name != "val_bpd" or len({row.val_images for row in rows} - {None}) == 1
    return min(known) if column.ranked and alike and len(known) > 1 else None


def _cell(row: Row, column: Column, best: float | None, nothing: str) -> Cell:
    error = getattr(row, f"{column.name}_stderr", None)
    return Cell(
        column.text(row, nothing),
        best is not None and getattr(row, column.name) == best,
        None if error is None else format(error, column.pattern),
    )
