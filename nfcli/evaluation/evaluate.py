"""`evaluate(config)`: measure a run on its own images and write results.json, or score images it has never seen."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from nfcli.backend.mesh import device_description
from nfcli.data import ImageDataset, ImageSplit
from nfcli.evaluation.bound import PRECISION, BoundEvaluator, PerImageBound
from nfcli.evaluation.config import EvalConfig, EvalResult, ScoreResult
from nfcli.evaluation.images import load_to_score, save_latents, scored
from nfcli.evaluation.labels import Posterior, given_label, label_shares, posterior
from nfcli.evaluation.numerics import check_numerics
from nfcli.evaluation.timing import time_model
from nfcli.files import check_place
from nfcli.process.collectives import from_first, losses_are_errors, require_same, together
from nfcli.runs import find_run
from nfcli.runs.outputs import check_output
from nfcli.runs.per_image import Table, concatenate, keep_per_image, save_table
from nfcli.runs.restore import TrainedModel, restore
from nfcli.runs.results import Evaluation, load_results, record
from nfcli.versions import versions

Say = Callable[[str], None]


@losses_are_errors()
def evaluate(
    config: EvalConfig,
    *,
    progress: Callable[[str, int, int], None] | None = None,
    warn: Say = lambda _: None,
    message: Say = lambda _: None,
) -> EvalResult | ScoreResult:
    """Measure a run, or images with it; nothing is recorded of `config.images`, nor of a run that ships with nf.

    Where `nfcli.process.cluster.join` was called before, all processes measure together; the first one writes.

    Args:
        config: What to measure.
        progress: Called with (split, images done, images in all).
        warn: Called with a sentence for whatever was passed over.
        message: Called with a sentence of images that were converted.

    Returns:
        A `ScoreResult` of `config.images`, and else an `EvalResult`.

    Raises:
        InputError: Run, checkpoint or images are missing, damaged or of another shape than the model's.
        NumericsError: The installed jaxlib computes wrong here.
        WriteError: The result cannot be written.
        LostError: Another process is gone.
    """
    run_name = from_first(lambda: _find(config))
    with together():
        check_numerics()
        trained = restore(find_run(run_name, config.runs_dir), warn)
        dataset: ImageDataset | None = None
        names: list[str] = []
        if config.images is None:
            dataset = trained.dataset()
            splits = {name: dataset.split(name).first(config.limit) for name in config.splits}
        else:
            split, names = load_to_score(config, trained, message)
            splits = {"images": split}
        most = max(map(len, splits.values()))
        evaluator = BoundEvaluator(trained.model, config.batch_size, devices=config.devices, images=most)
        shares = label_shares(trained, dataset) if config.classify else None
    require_same(_identity(config, trained, evaluator.mesh.size, names))
    measured = {
        name: _measure(config, trained, evaluator, split, shares, progress and functools.partial(progress, name))
        for name, split in splits.items()
    }
    tables = [table_of(name, *measured[name], split.labels) for name, split in splits.items()]
    if dataset is None:
        from_first(lambda: _save_scored(config, trained, split, names, tables[0], warn))
        return _scored(config, trained, names, *measured["images"], split.labels)
    for name, (bound, _) in measured.items():
        if bound.summary().bpd is None:
            warn(f"some image of {name} has no finite bound, so there is no mean")
    return _recorded(config, trained, dataset, evaluator.mesh.size, measured, tables)


def _measure(
    config: EvalConfig,
    trained: TrainedModel,
    evaluator: BoundEvaluator,
    split: ImageSplit,
    shares: np.ndarray | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[PerImageBound, Posterior | None]:
    """The bound of each image, given its label where the model knows labels; and what it says of them if asked."""
    measure = functools.partial(
        evaluator, trained.parameters, split.images, samples=config.importance_samples, seed=config.seed
    )
    if shares is None:
        return measure(labels=split.labels if trained.model.classes else None, progress=progress), None
    bounds, count = [], len(split)
    for label in range(len(shares)):

        def told(now: int, _: int, before: int = label * count) -> None:
            if progress is not None:
                progress(before + now, len(shares) * count)

        bounds.append(measure(labels=np.full(count, label), progress=told))
    return given_label(bounds, split.labels), posterior(bounds, shares, split.labels)


def _find(config: EvalConfig) -> str:
    """The name of the run to measure, once it is clear that its result can be written: that may be hours later."""
    run = find_run(config.run, config.runs_dir)
    inputs = [run.config()["data"]["source"]]
    if config.images is None:
        load_results(run)
        if not run.pretrained:
            check_place(run.path / "results.json")
    else:
        inputs.append(config.images)
    for option, path in (("--save-per-image", config.save_per_image), ("--save-latents", config.save_latents)):
        if path is not None:
            check_output(option, path, inputs)
            check_place(path)
    return run.name


def _identity(config: EvalConfig, trained: TrainedModel, devices: int, names: list[str]) -> dict[str, Any]:
    """All that the processes of one measurement must agree on."""
    shared = ("importance_samples", "limit", "batch_size", "seed", "classify", "label")
    settings = {name: getattr(config, name) for name in shared}
    run = {"run": trained.config["id"], "checkpoint": trained.checkpoint.step}
    here = {"split": list(config.splits), "devices": devices, "versions": versions(), "images": names}
    return {**run, **settings, **here}


def table_of(split: str, bound: PerImageBound, said: Posterior | None, labels: np.ndarray | None) -> Table:
    """A bound, and what is said of labels, as columns; `labels` are those of the images from index 0 on, if known."""
    return {
        "split": np.full(len(bound.index), split),
        "index": bound.index,
        "label": np.full(len(bound.index), -1) if labels is None else labels[bound.index],
        **{name: getattr(bound, name) for name in ("log_prob", "elbo", "bpd", "effective_sample_size")},
        **(said.columns() if said else {}),
    }


def _described(config: EvalConfig, trained: TrainedModel) -> dict[str, Any]:
    """The fields of `Measured`."""
    return {
        "run": trained.run.name,
        "preset": trained.model.preset.name,
        "conditional": bool(trained.model.classes),
        "importance_samples": config.importance_samples,
        "checkpoint_step": trained.checkpoint.step,
        "seed": config.seed,
    }


def _save_scored(
    config: EvalConfig, trained: TrainedModel, split: ImageSplit, names: list[str], table: Table, warn: Say
) -> None:
    if config.save_per_image is not None:
        save_table(config.save_per_image, {"name": np.array(names), **table})
    if config.save_latents is not None:
        save_latents(config, trained, split, names, warn)


def _scored(
    config: EvalConfig,
    trained: TrainedModel,
    names: list[str],
    bound: PerImageBound,
    said: Posterior | None,
    labels: np.ndarray | None,
) -> ScoreResult:
    summary = bound.summary()
    return ScoreResult(
        **_described(config, trained),
        source=str(config.images),
        transform=str(trained.transform) or None,
        bpd=summary.bpd,
        bpd_stderr=summary.bpd_stderr,
        classification=said.summary(labels) if said else None,
        latents=str(config.save_latents) if config.save_latents else None,
        images=scored(names, bound, said, labels),
    )


def _recorded(
    config: EvalConfig,
    trained: TrainedModel,
    dataset: ImageDataset,
    devices: int,
    measured: dict[str, tuple[PerImageBound, Posterior | None]],
    tables: list[Table],
) -> EvalResult:
    run, summaries = trained.run, {name: bound.summary() for name, (bound, _) in measured.items()}
    labels = {name: table["label"] for name, table in zip(measured, tables, strict=True)}
    classification = {name: said.summary(labels[name]) for name, (_, said) in measured.items() if said}
    evaluations = [
        Evaluation(
            **asdict(summary),
            split=name,
            split_fingerprint=dataset.split(name).fingerprint,
            importance_samples=config.importance_samples,
            seed=config.seed,
            checkpoint_step=trained.checkpoint.step,
            precision=f"float32, matrix products {PRECISION}",
            versions=versions(),
            device=device_description(devices),
            classification=asdict(classification[name]) if classification else None,
        )
        for name, summary in summaries.items()
    ]
    timing = from_first(lambda: time_model(trained.model, trained.parameters))

    def write() -> None:
        if not run.pretrained:
            for evaluation, table in zip(evaluations, tables, strict=True):
                keep_per_image(run, evaluation, table)
            record(run, trained.config, evaluations, timing)
        if config.save_per_image is not None:
            save_table(config.save_per_image, concatenate(tables))

    from_first(write)
    return EvalResult(
        **_described(config, trained),
        path=str(run.path),
        dataset=dataset.name,
        splits=summaries,
        classification=classification,
        inference_ms=timing["inference_ms"],
        sampling_ms=timing["sampling_ms"],
        recorded=not run.pretrained,
    )
