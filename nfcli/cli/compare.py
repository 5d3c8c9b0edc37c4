"""`nf compare`."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from nfcli.backend import runtime
from nfcli.cli.complete import complete_format, complete_run
from nfcli.cli.console import Console, fitted
from nfcli.cli.options import RUNS_DIR, RunsDir, argument
from nfcli.errors import UsageError
from nfcli.limits import check_settings, refuse_together, setting, whole

if TYPE_CHECKING:
    from nfcli.runs.comparison import Comparison

TERMINAL_FORMAT = "simple"


@dataclass(frozen=True)
class CompareOptions:
    """What `nf compare` may be told besides the runs."""

    importance_samples: int | None = setting(
        None,
        "Only measurements with this K; by default the one of most images, and of these the newest.",
        whole(),
        names=("--importance-samples", "-k"),
    )
    paired: bool = setting(False, "Compare two runs image by image, and say whether the images decide between them.")
    group_seeds: bool = setting(
        False, "One row for runs that differ in the seed alone: mean and spread over the seeds."
    )
    format: str = setting(
        TERMINAL_FORMAT,
        "csv, or a format of tabulate: simple, github, latex, html, tsv, ...",
        completion=complete_format,
    )
    html: Path | None = setting(
        None, "Write a page with results, learning curves and pictures instead.", metavar="FILE"
    )


def compare(
    runs: Annotated[
        list[str] | None, argument("RUN", "Names of runs, or pretrained:NAME; all of yours by default.", complete_run)
    ] = None,
    *,
    options: CompareOptions,
    runs_dir: RunsDir = RUNS_DIR,
    console: Console,
) -> None:
    """Print the results table: bits per dimension, time for 64 images, parameters.

    Only runs measured on the same test images with the same K are ranked together; * marks the best of a column.
    Before you have trained a run, it shows those that ship with nf, beside the published results of their presets.
    Every --format but simple is one plain table of all runs, with columns that say what each was measured on.

    Examples:

        nf compare

        nf compare simple multiscale --format github

        nf compare --group-seeds

        nf compare --paired pretrained:mixture mixture

        nf compare --html results.html
    """
    # Here, because what completes the words of a command line imports every command.
    from nfcli.cli.tables import for_people, for_programs, formats
    from nfcli.runs.comparison import compare as compare_runs
    from nfcli.runs.seeds import group_seeds

    check_settings(options)
    names, samples = runs or [], options.importance_samples
    if options.format not in formats():
        raise UsageError(f"unknown --format '{options.format}'", hint="formats: " + ", ".join(formats()))
    refuse_together(options, "paired", "group_seeds", "html")
    refuse_together(options, "group_seeds", "html")
    if options.format != TERMINAL_FORMAT:
        others = (("--paired", options.paired), ("--html", options.html), ("--json", console.as_json))
        wrong = [name for name, given in others if given]
        if wrong:
            raise UsageError(f"--format and {wrong[0]} exclude each other", hint="give one of them")
    if options.paired:
        if len(names) != 2:
            hint = "for example: nf compare --paired A B"
            raise UsageError(f"--paired compares two runs, not {len(names)}", hint=hint)
        from nfcli.runs.paired import compare_paired

        result = compare_paired(names[0], names[1], runs_dir, importance_samples=samples)
        console.result(result, fitted(result.sentence, sys.stdout))
        console.detail("the interval is of the images' spread; another training seed is another question")
    elif options.html is not None:
        runtime.prepare()
        from nfcli.drawing.page import PageConfig, write_page

        config = PageConfig(options.html, tuple(names), runs_dir, samples)
        comparison = write_page(config, message=console.message, warn=console.warning)
        console.result({"page": str(options.html), **_content(comparison)}, str(options.html))
        console.message(*comparison.notes)
    else:
        comparison = compare_runs(names, runs_dir, importance_samples=samples, warn=console.warning)
        if not names and all(row.shipped for row in comparison.rows):
            console.message(f"there is no run in {runs_dir} yet; these ship with nf")
        missing = [row.run for row in comparison.rows if row.group is None and not row.shipped]
        comparison = group_seeds(comparison, runs_dir) if options.group_seeds else comparison
        if options.format == TERMINAL_FORMAT:
            console.result(_content(comparison), for_people(comparison))
        else:
            text, notes = for_programs(comparison, options.format)
            console.result(None, text)
            console.message(*(f"note: {note}" for note in notes))
        console.message(*comparison.notes)
        if len(comparison.questions) > 1 and (names or not all(row.shipped for row in comparison.rows)):
            console.warning("the groups differ in images, K or given labels: they must not be ranked together")
        if missing:
            wanted = "" if samples is None else f" -k {samples}"
            console.hint(f"{comparison.unmeasured}: {', '.join(missing)}; for example: nf eval {missing[0]}{wanted}")


def _content(comparison: "Comparison") -> dict[str, Any]:
    questions = comparison.questions
    return {"rankable": len(questions) <= 1, "groups": questions, "rows": comparison.rows}
