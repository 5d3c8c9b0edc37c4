"""`nf eval`."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from nfcli.backend import runtime
from nfcli.cli.complete import complete_splits
from nfcli.cli.console import Console
from nfcli.cli.options import RUNS_DIR, Devices, Run, RunsDir
from nfcli.evaluation.config import EvalConfig, EvalResult, Measured, ScoredImage, ScoreResult
from nfcli.process.cluster import Cluster, joined
from nfcli.runs.results import Summary

Splits = Annotated[
    str, typer.Option("--split", help="val, test or train, or several with commas.", autocompletion=complete_splits)
]


def evaluate(
    run: Run = None,
    *,
    options: EvalConfig,
    split: Splits = "val,test",
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
    from nfcli.cli.progress import CountProgress
    from nfcli.evaluation.evaluate import evaluate as run_evaluation

    splits = tuple(dict.fromkeys(name.strip() for name in split.split(",")))
    config = replace(options, run=run, runs_dir=runs_dir, splits=splits, devices=devices)
    with joined(cluster, console.message, console.mute), CountProgress(console) as progress:
        result = run_evaluation(config, progress=progress, warn=console.warning, message=console.message)
    if isinstance(result, EvalResult):
        _print_measured(result, console)
    else:
        _say_what_was_measured(result.run, result, console)
        if result.transform is not None:
            console.message(f"images as in training: {result.transform}")
        console.result(result, _scores(result))
        if result.latents is not None:
            console.message(f"nf sample {result.run} --from-latents {result.latents} draws these images again")


def _print_measured(result: EvalResult, console: Console) -> None:
    _say_what_was_measured(result.path if result.recorded else result.run, result, console)
    header = ["split", "images", *_titles(result)]
    header.insert(3, "std error")
    rows = []
    for name, split in result.splits.items():
        bpd, *others = _bounds(split, result)
        rows.append([name, f"{split.images:,}", bpd, _number(split.bpd_stderr, 4), *others])
    timing = f"inference {result.inference_ms:.1f} ms, sampling {result.sampling_ms:.1f} ms for 64 images"
    tables = [_table(header, rows), *([_classified(result)] if result.classification else [])]
    console.result(result, "\n\n".join(tables) + f"\n{timing}")
    if result.recorded:
        console.detail(f"written to {result.path}/results.json")
    else:
        console.message(f"nothing was recorded: the results that ship with {result.run} stay as they are")


def _classified(result: EvalResult) -> str:
    header = ["split", "bpd of p(x)", "std error", "accuracy", "bits of label", "calibration"]
    rows = []
    for name, said in result.classification.items():
        accuracy = "-" if said.accuracy is None else f"{said.accuracy:.2%}"
        bpd, error, bits, gap = (
            _number(value, 4) for value in (said.bpd, said.bpd_stderr, said.label_bits, said.calibration_error)
        )
        rows.append([name, bpd, error, accuracy, bits, gap])
    return (
        f"{_table(header, rows)}\np(x): summed over labels, p(label): {said.label_prior};\n"
        f"calibration: expected calibration error, {said.calibration_bins} bins of equal width"
    )


def _scores(result: ScoreResult) -> str:
    if result.classification is None:
        return _table(["image", *_titles(result)], [[image.name, *_bounds(image, result)] for image in result.images])
    rows = [
        [
            image.name,
            "-" if image.label is None else str(image.label),
            _number(image.bpd, 4),
            _number(image.marginal_bpd, 4),
            str(image.predicted),
            _number(image.confidence, 4),
        ]
        for image in result.images
    ]
    header = ["image", "label", f"bpd (K={result.importance_samples})", "bpd of p(x)", "predicted", "confidence"]
    return f"{_table(header, rows)}\np(x): summed over labels, p(label): {result.classification.label_prior}"


def _say_what_was_measured(place: str, result: Measured, console: Console) -> None:
    console.message(
        f"{place}: preset {result.preset}, weights of step {result.checkpoint_step:,}, "
        f"K = {result.importance_samples}, seed {result.seed}"
    )
    if result.conditional:
        console.message("p(x | label): each image is given its label")


def _titles(result: Measured) -> list[str]:
    names = [f"bpd (K={result.importance_samples})", "bpd (K=1)", "eff. samples"]
    return names[: _told(result)]


def _bounds(row: Summary | ScoredImage, result: Measured) -> list[str]:
    """The cells below `_titles`."""
    cells = [_number(row.bpd, 4), _number(row.elbo_bpd, 4), _number(row.effective_sample_size, 2)]
    return cells[: _told(result)]


def _told(result: Measured) -> int:
    """How many of the three say something: with one draw the last two would repeat the first, and say 1."""
    return 1 if result.importance_samples == 1 else 3


def _table(header: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    alignment = ("left", *["right"] * (len(header) - 1))
    return str(tabulate(rows, header, disable_numparse=True, colalign=alignment))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
