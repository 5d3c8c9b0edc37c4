"""`evaluate(config)`: measure a run on its validation and test images, and write results.json."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.backend.mesh import device_description
from nfcli.errors import UsageError
from nfcli.evaluation.bound import PRECISION, BoundEvaluator, PerImageBound
from nfcli.evaluation.numerics import check_numerics
from nfcli.evaluation.statistics import BoundSummary, summarize
from nfcli.evaluation.timing import Timing, time_model
from nfcli.files import check_place
from nfcli.limits import check_seed, check_whole
from nfcli.process.collectives import from_first, losses_are_errors, require_same, together
from nfcli.runs import find_run
from nfcli.runs.per_image import Table, check_output, concatenate, keep_per_image, save_table
from nfcli.runs.restore import TrainedModel, restore
from nfcli.runs.results import Evaluation, load_evaluations, record
from nfcli.versions import versions


@dataclass(frozen=True)
class EvalConfig:
    """What to measure.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        importance_samples: Noise draws an image, K.
        splits: Of "train", "val", "test".
        limit: Use the first N images of each split; None for all.
        batch_size: Images at a time, at most; it does not change the result.
        seed: Of the noise.
        devices: How many devices share a batch; None for automatic.
        save_per_image: Also write each image's numbers to this .npz or .csv file.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    importance_samples: int = 8
    splits: tuple[str, ...] = ("val", "test")
    limit: int | None = None
    batch_size: int = 128
    seed: int = 42
    devices: int | None = None
    save_per_image: Path | None = None

    def __post_init__(self) -> None:
        for name in ("importance_samples", "limit", "batch_size", "devices"):
            check_whole(name, getattr(self, name))
        check_seed(self.seed)
        if not self.splits or len(set(self.splits)) != len(self.splits):
            raise UsageError("--split names no split, or one twice", hint="splits: train, val, test")
        for split in self.splits:
            if split not in ("train", "val", "test"):
                raise UsageError(f"unknown split '{split}'", hint="splits: train, val, test")
        if self.save_per_image is not None and self.save_per_image.suffix not in (".npz", ".csv"):
            raise UsageError(
                f"--save-per-image {self.save_per_image} is neither .npz nor .csv", hint="name one of these"
            )


@dataclass(frozen=True)
class EvalResult:
    """What `nf eval --json` prints; `recorded` tells whether results.json has it, as it has not of runs that ship."""

    run: str
    path: str
    preset: str
    dataset: str
    importance_samples: int
    checkpoint_step: int
    seed: int
    splits: dict[str, BoundSummary]
    inference_ms: float
    sampling_ms: float
    recorded: bool


@losses_are_errors()
def evaluate(
    config: EvalConfig,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> EvalResult:
    """Measure a run; of one that ships with nf, nothing is recorded.

    Where `nfcli.process.cluster.join` was called before, all processes measure together; the first one writes.

    Args:
        config: What to measure.
        progress: Called with (split, images done, images in all).
        warn: Called with a sentence for whatever was passed over.

    Raises:
        InputError: Run, checkpoint or data are missing or damaged.
        NumericsError: The installed jaxlib computes wrong here.
        WriteError: The result cannot be written.
        LostError: Another process is gone.
    """
    name = from_first(lambda: _find(config))
    with together():
        check_numerics()
        run = find_run(name, config.runs_dir)
        trained = restore(run, warn)
        dataset = trained.dataset()
        splits = {name: dataset.split(name).first(config.limit) for name in config.splits}
        most = max(map(len, splits.values()))
        evaluator = BoundEvaluator(trained.model, config.batch_size, devices=config.devices, images=most)
    require_same(identity(config, trained, evaluator))
    records, tables = [], []
    for name, split in splits.items():
        bound = evaluator(
            trained.parameters,
            split.images,
            samples=config.importance_samples,
            seed=config.seed,
            labels=split.labels if trained.model.classes else None,
            progress=None if progress is None else functools.partial(progress, name),
        )
        summary = summarize(bound)
        if summary.bpd is None:
            warn(f"some image of {name} has no finite bound, so there is no mean")
        records.append(_record(trained, config, name, dataset.split(name).fingerprint, summary, evaluator))
        tables.append(table_of(name, bound, split.labels))
    timing = Timing(**from_first(lambda: asdict(time_model(trained.model, trained.parameters))))
    from_first(lambda: _write(config, trained, records, tables, timing))
    return EvalResult(
        run=run.name,
        path=str(run.path),
        preset=trained.model.preset.name,
        dataset=dataset.name,
        importance_samples=config.importance_samples,
        checkpoint_step=trained.checkpoint.step,
        seed=config.seed,
        splits={entry.split: _summary(entry) for entry in records},
        inference_ms=timing.inference_ms,
        sampling_ms=timing.sampling_ms,
        recorded=not run.pretrained,
    )


def _find(config: EvalConfig) -> str:
    """The name of the run to measure, once it is clear that its result can be written: that may be hours later."""
    run = find_run(config.run, config.runs_dir)
    load_evaluations(run)
    if not run.pretrained:
        check_place(run.path / "results.json")
    if config.save_per_image is not None:
        check_output(config.save_per_image, [run.config()["data"]["source"]])
    return run.name


def identity(config: EvalConfig, trained: TrainedModel, evaluator: BoundEvaluator) -> dict[str, Any]:
    """All that the processes of one measurement must agree on."""
    return {
        "run": trained.config["id"],
        "checkpoint": trained.checkpoint.step,
        **{name: getattr(config, name) for name in ("importance_samples", "limit", "batch_size", "seed")},
        "split": list(config.splits),
        "devices": evaluator.mesh.size,
        "versions": versions(),
    }


def _write(
    config: EvalConfig, trained: TrainedModel, records: list[Evaluation], tables: list[Table], timing: Timing
) -> None:
    if not trained.run.pretrained:
        for evaluation, table in zip(records, tables, strict=True):
            keep_per_image(trained.run, evaluation, table)
        record(trained.run, trained.config, records, _timing_record(timing))
    if config.save_per_image is not None:
        save_table(config.save_per_image, concatenate(tables))


def table_of(split: str, bound: PerImageBound, labels: np.ndarray | None) -> Table:
    """A bound as columns; `labels` are those of the images from index 0 on, if known."""
    count = len(bound.index)
    return {
        "split": np.full(count, split),
        "index": bound.index,
        "label": np.full(count, -1) if labels is None else labels[bound.index],
        "log_prob": bound.log_prob,
        "elbo": bound.elbo,
        "bpd": bound.bpd,
        "effective_sample_size": bound.effective_sample_size,
    }


def _summary(evaluation: Evaluation) -> BoundSummary:
    return BoundSummary(**{field.name: getattr(evaluation, field.name) for field in fields(BoundSummary)})


def _record(
    trained: TrainedModel,
    config: EvalConfig,
    split: str,
    fingerprint: str,
    summary: BoundSummary,
    evaluator: BoundEvaluator,
) -> Evaluation:
    return Evaluation(
        split=split,
        split_fingerprint=fingerprint,
        importance_samples=config.importance_samples,
        seed=config.seed,
        checkpoint_step=trained.checkpoint.step,
        precision=f"float32, matrix products {PRECISION}",
        versions=versions(),
        device=device_description(evaluator.mesh.size),
        **asdict(summary),
    )


def _timing_record(timing: Timing) -> dict[str, Any]:
    return {**asdict(timing), "versions": versions(), "device": device_description(1)}
