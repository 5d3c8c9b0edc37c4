"""`nf eval`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nfcli.backend import runtime
from nfcli.cli.complete import complete_splits
from nfcli.cli.console import Console
from nfcli.cli.options import RUNS_DIR, Devices, Run, RunsDir
from nfcli.limits import setting
from nfcli.process.cluster import Cluster, joined

if TYPE_CHECKING:
    from nfcli.evaluation.evaluate import EvalResult
    from nfcli.evaluation.score import ScoreResult


@dataclass(frozen=True)
class EvalOptions:
    """What `nf eval` may be told besides the run."""

    importance_samples: int = setting(8, "Noise draws an image, K.", names=("--importance-samples", "-k"))
    split: str = setting("val,test", "val, test or train, or several with commas.", completion=complete_splits)
    limit: int | None = setting(None, "Use the first N images of each split; all by default.")
    batch_size: int = setting(128, "Images at a time, at most; the result does not depend on it.")
    seed: int = setting(42, "Of the noise.")
    images: Path | None = setting(
        None, "Score these images instead: a PNG or JPEG file, a folder of them, an .npz.", metavar="PATH"
    )
    save_per_image: Path | None = setting(None, "Also write each image's numbers, to .npz or .csv.", metavar="FILE")


def evaluate(
    run: Run = None,
    *,
    options: EvalOptions,
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

        nf eval multiscale --images scans/ --save-per-image scans.csv
    """
    runtime.prepare(devices)
    from nfcli.cli.progress import CountProgress
    from nfcli.evaluation.evaluate import EvalConfig
    from nfcli.evaluation.evaluate import evaluate as run_evaluation
    from nfcli.evaluation.score import score

    chosen: dict[str, Any] = {**vars(options), "devices": devices}
    images, split = chosen.pop("images"), chosen.pop("split")
    splits = tuple(dict.fromkeys(name.strip() for name in split.split(",")))
    config = EvalConfig(run=run, runs_dir=runs_dir, splits=splits, **chosen)
    with joined(cluster, console.message, console.mute), CountProgress(console) as progress:
        if images is not None:
            scored = score(config, images, progress=progress, warn=console.warning, message=console.message)
        else:
            measured = run_evaluation(config, progress=progress, warn=console.warning)
    if images is not None:
        console.message(_provenance(scored.run, scored))
        if scored.transform is not None:
            console.message(f"images as in training: {scored.transform}")
        console.result(scored, _scores(scored))
    else:
        console.message(_provenance(measured.path if measured.recorded else measured.run, measured))
        console.result(measured, _table(measured))
        if measured.recorded:
            console.detail(f"written to {measured.path}/results.json")
        else:
            console.message(f"nothing was recorded: the results that ship with {measured.run} stay as they are")


def _provenance(place: str, result: EvalResult | ScoreResult) -> str:
    return (
        f"{place}: preset {result.preset}, weights of step {result.checkpoint_step:,}, "
        f"K = {result.importance_samples}, seed {result.seed}"
    )


def _scores(result: ScoreResult) -> str:
    rows = [[image.name, *_numbers(image, bpd=4, elbo_bpd=4, effective_sample_size=2)] for image in result.images]
    return _aligned(["image", f"bpd (K={result.importance_samples})", "bpd (K=1)", "eff. samples"], rows)


def _table(result: EvalResult) -> str:
    header = ["split", "images", f"bpd (K={result.importance_samples})", "std error", "bpd (K=1)", "eff. samples"]
    digits = {"bpd": 4, "bpd_stderr": 4, "elbo_bpd": 4, "effective_sample_size": 2}
    rows = [[name, f"{found.images:,}", *_numbers(found, **digits)] for name, found in result.splits.items()]
    timing = f"inference {result.inference_ms:.1f} ms, sampling {result.sampling_ms:.1f} ms for 64 images"
    return f"{_aligned(header, rows)}\n{timing}"


def _aligned(header: list[str], rows: list[list[str]]) -> str:
    from tabulate import tabulate

    alignment = ("left", *["right"] * (len(header) - 1))
    return str(tabulate(rows, header, disable_numparse=True, colalign=alignment))


def _numbers(found: object, **digits: int) -> list[str]:
    """Attributes with so many digits each; a dash for what is not known."""
    values = {name: getattr(found, name) for name in digits}
    return ["-" if value is None else f"{value:.{digits[name]}f}" for name, value in values.items()]
