"""From a configuration to everything that the loop needs, with each thing that can be wrong checked first."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jax.sharding import Mesh

from nfcli.data import ImageDataset, ImageSplit, Transform, load_dataset
from nfcli.data.dataset import SPLIT_NAMES
from nfcli.data.files import shown
from nfcli.devices import data_mesh, device_description
from nfcli.distributed import from_first, together
from nfcli.errors import RunError, UsageError
from nfcli.evaluation.bound import BoundEvaluator
from nfcli.flows import FlowModel, build
from nfcli.flows.networks import Computing
from nfcli.limits import LARGEST
from nfcli.presets import get_preset
from nfcli.runs import RunDir, run_named, versions
from nfcli.runs.files import remove_tree
from nfcli.training.config import TrainConfig
from nfcli.training.precision import computing_of, devices_of, network_dtype

SEEN_SECONDS = 10
"""A network file system may show so late what another machine wrote."""


@dataclass(frozen=True)
class Job:
    """A configuration, made to fit the data, with what it resolved to."""

    config: TrainConfig
    run: RunDir
    dataset: ImageDataset
    train: ImageSplit
    val: ImageSplit
    model: FlowModel
    mesh: Mesh
    computing: Computing

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train) // self.config.batch_size

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.epochs

    def identity(self) -> dict[str, Any]:
        """All that the processes of one run must agree on."""
        # The images may lie elsewhere on another machine; their fingerprint says whether they are the same.
        settings = {name: value for name, value in self.config.settings().items() if name != "dataset"}
        operational = ("overwrite", "remat", "accumulate", "steps_per_dispatch")
        return {
            "run": self.run.name,
            **settings,
            **{name: getattr(self.config, name) for name in operational},
            "devices": self.mesh.size,
            "matrix_units": self.computing.matrix_units,
            "images": self.dataset.fingerprint,
            "versions": versions(),
        }

    def evaluator(self) -> BoundEvaluator:
        """Of the validation images."""
        return BoundEvaluator(self.model, self.config.batch_size, devices=self.config.devices, images=len(self.val))

    def labels(self, split: ImageSplit) -> np.ndarray | None:
        """What the model is told of a split's images, None for a model that is told nothing."""
        return split.labels if self.model.classes else None

    def description(self) -> dict[str, Any]:
        """What config.json holds; `continued` lists the versions and devices of later starts, where they changed."""
        return {
            "run": self.run.name,
            # Tells a run from one that replaced it under the same name and with the same settings.
            "id": secrets.token_hex(8),
            "settings": self.config.settings(),
            "model": {
                "preset": self.config.preset,
                "smoke": self.config.smoke,
                "shape": list(self.model.shape),
                "levels": self.model.levels,
                "alpha": self.model.alpha,
                "classes": self.model.classes,
                "parameters": self.model.num_parameters,
            },
            "data": {
                "name": self.dataset.name,
                "source": self.dataset.source,
                "fingerprint": self.dataset.fingerprint,
                "train_images": len(self.train),
                "val_images": len(self.val),
                "test_images": len(self.dataset.test),
            },
            "versions": versions(),
            # All that may change when a run is continued, and then changes rounding.
            "device": {
                **device_description(self.mesh.size),
                "matrix_units": self.computing.matrix_units,
                "remat": self.config.remat,
                "accumulate": self.config.accumulate,
            },
            "continued": [],
        }


def prepare_job(config: TrainConfig, message: Callable[[str], None] = lambda _: None) -> Job:
    """Load the data and build the model; no run is written.

    Args:
        config: The recipe.
        message: Called with a sentence before something takes long.

    Raises:
        UsageError: The settings do not fit the data.
        DataError: The data cannot be read.
    """
    if config.name is not None:
        run_named(config.name, config.runs_dir)  # a name that cannot be is refused before data are loaded
    transform = Transform.parse(config.crop, config.resize, config.levels)
    dataset = load_dataset(config.dataset, transform, data_dir=config.data_dir, message=message)
    config = config.fitted(len(dataset.train), len(dataset.val))
    train, val = dataset.train.first(config.train_size), dataset.val.first(config.val_size)
    if config.batch_size > len(train):
        raise UsageError(
            f"--batch-size {config.batch_size} is larger than the training set of {len(train)} images",
            hint=f"use --batch-size {len(train)} or less, or more training images",
        )
    preset = get_preset(config.preset, smoke=config.smoke)
    classes = dataset.classes() if config.conditional else 0
    model = build(preset, dataset.shape, levels=dataset.levels, classes=classes)
    if config.batch_size % config.accumulate:
        raise UsageError(
            f"a batch of {config.batch_size} cannot be cut into {config.accumulate} slices",
            hint="--accumulate must divide --batch-size",
        )
    most = LARGEST // (len(train) // config.batch_size)
    if config.epochs > most:
        raise UsageError(
            f"--epochs {config.epochs} are more than {LARGEST:,} steps", hint=f"with these images, {most} is the most"
        )
    run = run_named(config.run_name(dataset.name), config.runs_dir)
    config = replace(config, network_dtype=network_dtype(config, run))
    computing = computing_of(config)
    mesh = data_mesh(config.batch_size // config.accumulate, devices_of(config, computing))
    return Job(config, run, dataset, train, val, model, mesh, computing)


def data_in_words(job: Job) -> str:
    """What the data turned out to be, in lines that fit a terminal."""
    dataset, config = job.dataset, job.config
    where = "the bundled MNIST" if dataset.source == "mnist" else shown(_shortest(dataset.source))
    counts = ", ".join(f"{len(dataset.split(name)):,} {name}" for name in SPLIT_NAMES)
    size = "x".join(map(str, dataset.shape))
    lines = [f"{where}, fingerprint {dataset.fingerprint[:12]}", f"{counts} images of {size}, {dataset.levels} levels"]
    done = str(Transform.parse(config.crop, config.resize, config.levels))
    return "\n      ".join([*lines, *([f"after {done}"] if done else [])])


def _shortest(path: str) -> str:
    """A path as seen from the working directory, if it is below."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path


def enter_run(job: Job, message: Callable[[str], None]) -> bool:
    """Make the run directory, or check that the one there is the same run. Call with the lock held.

    Returns:
        Whether there is something to continue.

    Raises:
        UsageError: The run there has other settings.
        RunError: The run there is damaged.
    """
    if job.run.exists() and job.config.overwrite:
        message(f"deleting the earlier run {job.run.path}")
        for name in ("checkpoints", "figures", "per-image", "tensorboard"):
            remove_tree(job.run.path / name)
        for name in ("results.json", "metrics.jsonl", "config.json"):
            (job.run.path / name).unlink(missing_ok=True)
    job.run.sweep()
    if not job.run.exists():
        job.run.write_config(job.description())
        return False
    known = job.run.config()
    _check_same(job, known)
    now = {**known, "settings": {**known["settings"], "epochs": job.config.epochs}}
    if now != known:
        job.run.write_config(now)
    return True


def check_shared(run: RunDir) -> None:
    """See that all processes have the run directory that the first one entered.

    Raises:
        UsageError: One of them has not.
    """
    identity = from_first(lambda: run.config()["id"])
    with together():
        end = time.monotonic() + SEEN_SECONDS
        while not _is_seen(run, identity):
            if time.monotonic() > end:
                raise UsageError(
                    f"{run.path} is not the folder that the first process writes",
                    hint="all processes need the same --runs-dir, on a file system that they share",
                )
            time.sleep(0.2)


def _is_seen(run: RunDir, identity: str) -> bool:
    try:
        return bool(run.config()["id"] == identity)
    except RunError:
        return False


def note_where(job: Job, message: Callable[[str], None]) -> None:
    """Write down versions and devices that differ from those that trained the run last, and say so."""
    known = job.run.config()
    elsewhere = _elsewhere(job, known)
    if elsewhere is not None:
        message(f"continuing elsewhere ({elsewhere}): the result will equal an undisturbed run only within rounding")
        here = {name: job.description()[name] for name in ("versions", "device")}
        job.run.write_config({**known, "continued": [*known["continued"], here]})


def _elsewhere(job: Job, known: dict[str, Any]) -> str | None:
    """What differs, in words, from where the run was last trained; None when it continues bit for bit."""
    before, here = [known, *known["continued"]][-1], job.description()
    changed = []
    for part in ("versions", "device"):
        for name, value in here[part].items():
            earlier = before[part].get(name, {"processes": 1, "matrix_units": False}.get(name, "unknown"))
            if earlier != value:
                changed.append(f"{name} {earlier} became {value}")
    return ", ".join(changed) or None


def _check_same(job: Job, known: dict[str, Any]) -> None:
    settings, before = job.config.settings(), known.get("settings", {})
    # The images are compared below: there are many names for one place. A setting that is new has its default.
    defaults = TrainConfig(preset=job.config.preset, network_dtype="float32").settings()
    before = {**defaults, **before, "dataset": settings["dataset"]}
    changed = [name for name in settings if name != "epochs" and settings[name] != before[name]]
    if changed:
        text = ", ".join(f"--{name.replace('_', '-')} {before[name]} became {settings[name]}" for name in changed)
        raise UsageError(
            f"run '{job.run.name}' was started with other settings: {text}",
            hint="give this one another --name, or replace the earlier run with --overwrite",
        )
    if known.get("data", {}).get("fingerprint") != job.dataset.fingerprint:
        raise UsageError(
            f"run '{job.run.name}' was started on other images than {job.dataset.source} now holds",
            hint="give this one another --name, or replace the earlier run with --overwrite",
        )
    if job.config.schedule == "cosine" and job.config.epochs != before.get("epochs"):
        raise UsageError(
            f"the learning rate of run '{job.run.name}' falls along a cosine over --epochs {before.get('epochs')}",
            hint="such a run cannot be extended: give this one another --name, or replace it with --overwrite",
        )
    if job.config.epochs < before.get("epochs", 0):
        raise UsageError(
            f"run '{job.run.name}' was started with --epochs {before['epochs']}, and {job.config.epochs} is fewer",
            hint="give this one another --name, or replace the earlier run with --overwrite",
        )
