"""`evaluate(config)`: measure a run on its own images and write results.json, or score images it has never seen."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from nfcli.backend.mesh import device_description
from nfcli.backend.probe import onednn_is_faster
from nfcli.data import ImageDataset, ImageSplit
from nfcli.errors import Say
from nfcli.evaluation.bound import PRECISION, BoundEvaluator, PerImageBound
from nfcli.evaluation.config import EvalConfig, EvalResult, ScoreResult
from nfcli.evaluation.images import load_to_score, scored
from nfcli.evaluation.labels import Posterior, given_label, label_shares, posterior
from nfcli.evaluation.latents import save_latents
from nfcli.evaluation.numerics import check_numerics
from nfcli.evaluation.timing import time_model
from nfcli.files import check_place
from nfcli.process.collectives import exchange, from_first, losses_are_errors, require_same, together
from nfcli.runs import find_run
from nfcli.runs.outputs import check_output
from nfcli.runs.per_image import Table, concatenate, keep_per_image, save_table
from nfcli.runs.restore import TrainedModel, restore
from nfcli.runs.results import Classification, Evaluation, load_results, record
from nfcli.versions import versions

MANY_DRAWS = 2**15
"""Noise draws of images, minutes on two cores: then it pays to compile a program that cannot be kept, as oneDNN's."""


class _Measured(NamedTuple):
    """What was measured of a split: the bound of each image and, if asked for, what it says of labels."""

    split: ImageSplit
    bound: PerImageBound
    said: Posterior | None

    def table(self) -> Table:
        return table_of(self.split.name, self.bound, self.said, self.split.labels)

    def classification(self) -> Classification | None:
        return self.said.summary(self.split.labels) if self.said else None


@losses_are_errors()
def evaluate(
    config: EvalConfig,
    *,
    progress: Callable[[str, int, int], None] = lambda *_: None,
    warn: Say = lambda _: None,
    message: Say = lambda _: None,
) -> EvalResult | ScoreResult:
    """Measure a run, or images with it; nothing is recorded of `config.images`, nor of a run that ships with nf.

    Where `nfcli.process.cluster.join` was called before, all processes measure together; the first one writes.

    Args:
        config: What to measure.
        progress: Called with (split, images done, images in all).
        warn: Called with a sentence for whatever was passed over.
        message: Called with sentences on what is measured, before it begins.

    Returns:
        A `ScoreResult` of `config.images`, and else an `EvalResult`.

    Raises:
        UsageError: The run has no labels to classify by, too few images or devices, or what should be written would
            replace something else.
        InputError: Run, checkpoint or images are missing, damaged or of another shape than the model's.
        NumericsError: The installed jaxlib computes wrong here.
        WriteError: The result cannot be written.
        LostError: Another process is gone.
    """
    run_name = from_first(lambda: _find(config))
    with together():
        check_numerics()
        trained = restore(find_run(run_name, config.runs_dir), warn)
        dataset = trained.dataset() if config.images is None else None
        if dataset is None:
            split, names = load_to_score(config, trained, message)
            splits = [split]
        else:
            splits, names = [dataset.split(name).first(config.limit) for name in config.splits], []
        most = max(map(len, splits))
        shares = label_shares(trained, dataset) if config.classify else None
        draws = sum(map(len, splits)) * config.importance_samples * (1 if shares is None else len(shares))
        fast = draws >= MANY_DRAWS and onednn_is_faster("float32")
    onednn = all(exchange(fast))  # one program for all processes, of whatever machines they are
    with together():
        evaluator = BoundEvaluator(trained.model, config.batch_size, devices=config.devices, images=most, onednn=onednn)
    require_same(_identity(config, trained, evaluator.mesh.size, names))
    _announce(config, trained, message)
    # Before what may take hours: if there is no memory for it, or it is interrupted, nothing is lost.
    timing = {} if dataset is None else from_first(lambda: time_model(trained.model, trained.parameters))
    measured = [_measure(config, trained, evaluator, split, shares, partial(progress, split.name)) for split in splits]
    if dataset is None:
        return _scored(config, trained, names, measured[0], warn)
    for of_split in measured:
        if of_split.bound.summary().bpd is None:
            warn(f"some image of {of_split.split.name} has no finite bound, so there is no mean")
    return _recorded(config, trained, dataset, evaluator, measured, timing)


def _announce(config: EvalConfig, trained: TrainedModel, message: Say) -> None:
    place = trained.run.name if trained.run.pretrained or config.images is not None else trained.run.path
    how = f"weights of step {trained.checkpoint.step:,}, K = {config.importance_samples}, seed {config.seed}"
    given = "; p(x | label): each image is given its label" if trained.model.classes else ""
    message(f"{place}: preset {trained.model.preset.name}, {how}{given}")


def _measure(
    config: EvalConfig,
    trained: TrainedModel,
    evaluator: BoundEvaluator,
    split: ImageSplit,
    shares: np.ndarray | None,
    progress: Callable[[int, int], None],
) -> _Measured:
    """Each image given its label where the model knows labels; given every label where `shares` of them are there."""
    count, kinds = len(split), 1 if shares is None else len(shares)
    measure = partial(evaluator, trained.parameters, split.images, samples=config.importance_samples, seed=config.seed)

    def given(labels: np.ndarray | None, kind: int = 0) -> PerImageBound:
        return measure(labels=labels, progress=lambda done, _: progress(kind * count + done, kinds * count))

    if shares is None:
        return _Measured(split, given(split.labels if trained.model.classes else None), None)
    bounds = [given(np.full(count, label), label) for label in range(kinds)]
    return _Measured(split, given_label(bounds, split.labels), posterior(bounds, shares, split.labels))


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
    run = {"run": trained.config["id"], "checkpoint": trained.checkpoint.step}
    here = {"split": list(config.splits), "devices": devices, "versions": versions(), "images": names}
    return {**run, **{name: getattr(config, name) for name in shared}, **here}


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


def _scored(config: EvalConfig, trained: TrainedModel, names: list[str], measured: _Measured, warn: Say) -> ScoreResult:
    def save() -> None:
        if config.save_per_image is not None:
            save_table(config.save_per_image, {"name": np.array(names), **measured.table()})
        if config.save_latents is not None:
            save_latents(config.save_latents, trained, measured.split, names, config.seed, warn)

    from_first(save)
    summary = measured.bound.summary()
    return ScoreResult(
        **_described(config, trained),
        source=str(config.images),
        transform=str(trained.transform) or None,
        bpd=summary.bpd,
        bpd_stderr=summary.bpd_stderr,
        classification=measured.classification(),
        latents=str(config.save_latents) if config.save_latents else None,
        label_names=trained.label_names,
        images=scored(names, measured.bound, measured.said, measured.split.labels),
    )


def _recorded(
    config: EvalConfig,
    trained: TrainedModel,
    dataset: ImageDataset,
    evaluator: BoundEvaluator,
    measured: list[_Measured],
    timing: dict[str, Any],
) -> EvalResult:
    summaries = {split.name: bound.summary() for split, bound, _ in measured}
    said = {of_split.split.name: of_split.classification() for of_split in measured}
    evaluations = [
        Evaluation(
            **asdict(summary),
            split=name,
            split_fingerprint=dataset.split(name).fingerprint,
            importance_samples=config.importance_samples,
            seed=config.seed,
            checkpoint_step=trained.checkpoint.step,
            precision=f"float32, matrix products {PRECISION}{', networks by oneDNN' * evaluator.onednn}",
            versions=versions(),
            device=device_description(evaluator.mesh.size),
            classification=asdict(classification) if (classification := said[name]) else None,
        )
        for name, summary in summaries.items()
    ]

    def write() -> None:
        tables = [of_split.table() for of_split in measured]
        if not trained.run.pretrained:
            for evaluation, table in zip(evaluations, tables, strict=True):
                keep_per_image(trained.run, evaluation, table)
            record(trained.run, trained.config, evaluations, timing)
        if config.save_per_image is not None:
            save_table(config.save_per_image, concatenate(tables))

    from_first(write)
    return EvalResult(
        **_described(config, trained),
        path=str(trained.run.path),
        dataset=dataset.name,
        splits=summaries,
        classification={name: classification for name, classification in said.items() if classification},
        inference_ms=timing["inference_ms"],
        sampling_ms=timing["sampling_ms"],
        recorded=not trained.run.pretrained,
    )
