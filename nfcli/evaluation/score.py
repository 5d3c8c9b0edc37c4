"""`score(config)`: bits per dimension of images that a run has never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nfcli.data import load_images
from nfcli.data.store import AnyImages, select
from nfcli.errors import DataError, UsageError
from nfcli.evaluation.bound import BoundEvaluator
from nfcli.evaluation.evaluate import EvalConfig, identity, table_of
from nfcli.evaluation.numerics import check_numerics
from nfcli.evaluation.statistics import summarize
from nfcli.process.collectives import from_first, losses_are_errors, require_same, together
from nfcli.runs import find_run
from nfcli.runs.per_image import check_output, save_table
from nfcli.runs.restore import TrainedModel, restore


@dataclass(frozen=True)
class ScoredImage:
    """One image; bits per dimension are None when its bound is not finite."""

    name: str
    bpd: float | None
    elbo_bpd: float | None
    effective_sample_size: float | None


@dataclass(frozen=True)
class ScoreResult:
    """What `nf eval --images --json` prints; `transform` is what was done to the images, as in training."""

    run: str
    preset: str
    source: str
    transform: str | None
    importance_samples: int
    checkpoint_step: int
    seed: int
    bpd: float | None
    bpd_stderr: float | None
    images: tuple[ScoredImage, ...]


@losses_are_errors()
def score(
    config: EvalConfig,
    source: Path,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    warn: Callable[[str], None] = lambda _: None,
    message: Callable[[str], None] = lambda _: None,
) -> ScoreResult:
    """Measure each image of a PNG or JPEG file, a folder of them, or an npz; nothing is added to results.json.

    Raises:
        InputError: Run, checkpoint or images are missing, damaged or of another shape than the model's.
        WriteError: The per-image file cannot be written.
    """
    name = from_first(lambda: _find(config, source))
    with together():
        check_numerics()
        run = find_run(name, config.runs_dir)
        trained = restore(run, warn)
        if trained.model.classes:
            raise UsageError(
                f"run '{trained.run.name}' tells how likely an image is given its label, and --images has no labels",
                hint="use a run that was trained without --conditional",
            )
        images, names, _ = load_images(source, trained.transform, classes=0, message=message)
        images, names = select(images, slice(config.limit)), names[: config.limit]
        _check_fit(trained, images, source)
        evaluator = BoundEvaluator(trained.model, config.batch_size, devices=config.devices, images=len(images))
    require_same({**identity(config, trained, evaluator), "images": names})
    bound = evaluator(
        trained.parameters,
        images,
        samples=config.importance_samples,
        seed=config.seed,
        progress=None if progress is None else lambda done, total: progress("images", done, total),
    )
    if config.save_per_image is not None:
        path, table = config.save_per_image, {"name": np.array(names), **table_of("images", bound, None)}
        from_first(lambda: save_table(path, table))
    summary = summarize(bound)
    scored = tuple(
        ScoredImage(name, _finite(bpd), _finite(elbo), _finite(size))
        for name, bpd, elbo, size in zip(names, bound.bpd, bound.elbo_bpd, bound.effective_sample_size, strict=True)
    )
    return ScoreResult(
        run=trained.run.name,
        preset=trained.model.preset.name,
        source=str(source),
        transform=str(trained.transform) or None,
        importance_samples=config.importance_samples,
        checkpoint_step=trained.checkpoint.step,
        seed=config.seed,
        bpd=summary.bpd,
        bpd_stderr=summary.bpd_stderr,
        images=scored,
    )


def _find(config: EvalConfig, source: Path) -> str:
    """The name of the run to measure with, if the result can be written."""
    run = find_run(config.run, config.runs_dir)
    if config.save_per_image is not None:
        check_output(config.save_per_image, [source, run.config()["data"]["source"]])
    return run.name


def _check_fit(trained: TrainedModel, images: AnyImages, source: Path) -> None:
    if images.shape[1:] != trained.model.shape:
        got, want = ("x".join(map(str, shape)) for shape in (images.shape[1:], trained.model.shape))
        raise DataError(
            f"the images of {source} are {got}, and run '{trained.run.name}' was trained on {want}",
            hint="scale or crop them first; a likelihood of other images would mean nothing",
        )


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
