"""`nf eval`."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import typer

from nfcli.backend import runtime
from nfcli.cli.complete import complete_splits
from nfcli.cli.console import Console, CountProgress
from nfcli.cli.options import RUNS_DIR, Devices, Run, RunsDir
from nfcli.evaluation.config import EvalConfig, EvalResult, Measured, ScoreResult
from nfcli.process.cluster import Cluster, joined

Columns = list[tuple[str, str, str | Callable[[Any], str]]]
"""Title, field of a row, and how its values are written: as `format` reads it, or a function."""

CLASSIFICATION: Columns = [
    ("bpd of p(x)", "bpd", ".4f"),
    ("std error", "bpd_stderr", ".4f"),
    ("accuracy", "accuracy", ".2%"),
    ("bits of label", "label_bits", ".4f"),
    ("calibration", "calibration_error", ".4f"),
]

ABOUT_LABELS = "p(x): summed over labels, p(label): "


def evaluate(
    run: Run = None,
    *,
    options: EvalConfig,
    split: Annotated[
        str, typer.Option(help="val, test or train, or several with commas.", autocompletion=complete_splits)
    ] = "val,test",
    runs_dir: RunsDir = RUNS_DIR,
    devices: Devices = None,
    cluster: Cluster,
    console: Console,
) -> None:
    """Measure bits per dimension with K importance samples, and the time of inference and sampling.

    The weights are those that did best on validation. The result goes to results.json in the run's folder; of
    pretrained:NAME, whose results stay as they ship, it is only printed. With --images it gives the bits per dimension
    of each of your own images; beware that a low number does not make an image typical, and images of another kind,
    smooth ones above all, can score better than the training data.

    Examples:

        nf eval --importance-samples 8

        nf eval multiscale --split test --limit 1000 --json

        nf eval mixture-conditional --split test --classify

        nf eval multiscale --images scans/ --save-per-image scans.csv

        nf eval multiscale --images scans/ --save-latents scans.npz
    """
    runtime.prepare(devices)
    from nfcli.evaluation.evaluate import evaluate as run_evaluation

    splits = tuple(dict.fromkeys(name.strip() for name in split.split(",")))
    config = replace(options, run=run, runs_dir=runs_dir, splits=splits, devices=devices)
    with joined(cluster, console.message, console.mute), CountProgress(console) as progress:
        result = run_evaluation(config, progress=progress, warn=console.warning, message=console.message)
    if isinstance(result, EvalResult):
        console.result(result, _measured(result))
        if result.recorded:
            console.detail(f"written to {result.path}/results.json")
        else:
            console.message(f"nothing was recorded: the results that ship with {result.run} stay as they are")
    else:
        console.result(result, _scored(result))
        if result.latents is not None:
            console.message(f"nf sample {result.run} --from-latents {result.latents} draws these images again")


def _measured(result: EvalResult) -> str:
    bpd, *others = _bounds(result)
    columns = [("images", "images", ","), bpd, ("std error", "bpd_stderr", ".4f"), *others]
    text = _table("split", columns, result.splits.items())
    if result.classification:
        said = next(iter(result.classification.values()))
        text += f"\n\n{_table('split', CLASSIFICATION, result.classification.items())}"
        text += f"\n{ABOUT_LABELS}{said.label_prior};\nbits of label: -log2 p(label | x);"
        text += f"\ncalibration: expected calibration error, {said.calibration_bins} bins of equal width"
    return f"{text}\ninference {result.inference_ms:.1f} ms, sampling {result.sampling_ms:.1f} ms for 64 images"


def _scored(result: ScoreResult) -> str:
    from nfcli.data import in_words

    columns, rows = _bounds(result), [(image.name, image) for image in result.images]
    word = partial(in_words, names=result.label_names)
    if result.classification is not None:
        said: Columns = [("predicted", "predicted", word), ("confidence", "confidence", ".4f")]
        columns = [columns[0], ("bpd of p(x)", "marginal_bpd", ".4f"), *said]
    if result.conditional:
        columns = [("label", "label", word), *columns]
    text = _table("image", columns, rows)
    if result.bpd is not None and result.bpd_stderr is not None:
        text += f"\nmean of {len(rows):,}: {result.bpd:.4f} ± {result.bpd_stderr:.4f} (K={result.importance_samples})"
    return text if result.classification is None else f"{text}\n{ABOUT_LABELS}{result.classification.label_prior}"


def _bounds(result: Measured) -> Columns:
    bpd = (f"bpd (K={result.importance_samples})", "bpd", ".4f")
    if result.importance_samples == 1:  # the others would repeat the first, and say 1
        return [bpd]
    return [bpd, ("bpd (K=1)", "elbo_bpd", ".4f"), ("eff. samples", "effective_sample_size", ".2f")]


def _table(title: str, columns: Columns, rows: Iterable[tuple[str, Any]]) -> str:
    """A line for what each name stands for, below the title of the names."""
    from tabulate import tabulate

    def cell(value: Any, written: str | Callable[[Any], str]) -> str:
        return "-" if value is None else written(value) if callable(written) else format(value, written)

    cells = [[name, *(cell(getattr(row, field), written) for _, field, written in columns)] for name, row in rows]
    header, alignment = [title, *(column[0] for column in columns)], ("left", *["right"] * len(columns))
    return str(tabulate(cells, header, disable_numparse=True, colalign=alignment))
