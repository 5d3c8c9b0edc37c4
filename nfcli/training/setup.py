"""From a configuration to everything that the loop needs, with each thing that can be wrong checked first."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from nfcli.backend.mesh import data_mesh, device_description
from nfcli.backend.probe import onednn_is_faster, onednn_is_right
from nfcli.config import TrainConfig
from nfcli.data import ImageDataset, ImageSplit, Transform, listed, load_dataset
from nfcli.data.reading import shape_text, shown
from nfcli.data.store import AnyImages
from nfcli.errors import Say, UsageError
from nfcli.evaluation.bound import BoundEvaluator
from nfcli.flows import FlowModel, build
from nfcli.flows.networks import ComputePolicy
from nfcli.flows.randomness import Purpose
from nfcli.limits import LARGEST, SPLITS, settings_of
from nfcli.process.collectives import exchange
from nfcli.runs import RunDir, run_named
from nfcli.runs.restore import TrainedModel, description
from nfcli.training.initial import settled_init, take_weights, taken
from nfcli.versions import versions


@dataclass(frozen=True)
class Job:
    """A configuration, made to fit the data, with what it resolved to.

    `init` are the weights that a new run starts from, None for fresh ones.
    """

    config: TrainConfig
    run: RunDir
    dataset: ImageDataset
    train: ImageSplit
    val: ImageSplit
    model: FlowModel
    mesh: Mesh
    policy: ComputePolicy
    init: TrainedModel | None = None

    @property
    def steps_per_epoch(self) -> int:
        return len(self.train) // self.config.batch_size

    @property
    def total_steps(self) -> int:
        return self.steps_per_epoch * self.config.epochs

    def identity(self) -> dict[str, Any]:
        """All that the processes of one run must agree on."""
        shared = [name for name, of in settings_of(self.config).items() if not of.local]
        return {
            "run": self.run.name,
            **{name: getattr(self.config, name) for name in shared},
            "devices": self.mesh.size,
            "model": hashlib.sha256(repr(self.model.cache_key()).encode()).hexdigest()[:12],
            "images": self.dataset.fingerprint,
            "versions": versions(),
        }

    def agreed(self) -> "Job":
        """The same, by oneDNN only where all processes are on machines for it; waits for them."""
        return replace(self, policy=replace(self.policy, onednn=all(exchange(self.policy.onednn))))

    def evaluator(self) -> BoundEvaluator:
        """Of the validation images."""
        return BoundEvaluator(self.model, self.config.batch_size, devices=self.config.devices, images=len(self.val))

    def batches(self, epoch: int) -> np.ndarray:
        """The training images of each step of an epoch (counted from 0), (steps, batch) indices."""
        steps, batch = self.steps_per_epoch, self.config.batch_size
        return epoch_order(self.config.seed, epoch, len(self.train))[: steps * batch].reshape(steps, batch)

    def labels(self, split: ImageSplit) -> np.ndarray | None:
        """What the model is told of a split's images, None for a model that is told nothing."""
        return split.labels if self.model.classes else None

    @property
    def examples(self) -> tuple[AnyImages, ...]:
        """The training images and, for a class-conditional model, their labels."""
        labels = self.labels(self.train)
        return (self.train.images,) if labels is None else (self.train.images, labels.astype(np.int32))

    def description(self) -> dict[str, Any]:
        """What config.json holds; `init` says whose weights training started from, if it did."""
        device = {
            **device_description(self.mesh.size),
            "onednn": self.policy.onednn,
            "remat": self.config.remat,
            "accumulate": self.config.accumulate,
        }
        init = {} if self.init is None else {"init": taken(self.init)}
        return {**description(self.run.name, self.config, self.model, self.dataset, device), **init}


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """A fresh permutation each epoch that follows from the seed and the epoch alone, (size,) indices."""
    return np.random.default_rng([seed, int(Purpose.ORDER), epoch]).permutation(size)


def prepare_job(config: TrainConfig, message: Say = lambda _: None, warn: Say = lambda _: None) -> Job:
    """Load the data and build the model; no run is written.

    Args:
        config: The recipe.
        message: Called with a sentence before something takes long.
        warn: Called with a sentence of what is passed over.

    Raises:
        UsageError: The settings do not fit the data, the devices or the weights to start from.
        InputError: The data, the run there, or the run to start from is missing or damaged.
    """
    if config.name is not None:
        run_named(config.name, config.runs_dir)  # a name that cannot be is refused before data are loaded
    transform = Transform.parse(config.crop, config.resize, config.levels)
    dataset = load_dataset(config.dataset, transform, data_dir=config.data_dir, message=message)
    config = config.fitted(len(dataset.train), len(dataset.val))
    train, val = dataset.train.first(config.train_size), dataset.val.first(config.val_size)
    _check_steps(config, len(train))
    classes = dataset.classes() if config.conditional else 0
    model = build(config.model_preset(), dataset.shape, levels=dataset.levels, classes=classes)
    run = run_named(config.run_name(dataset.name), config.runs_dir)
    known = run.config() if run.exists() and not config.overwrite else None
    begun = None if known is None else known["settings"]
    config = replace(config, network_dtype=network_dtype(config, begun), init=settled_init(config, run.name, begun))
    policy = policy_of(config, None if known is None else known["device"])
    mesh = data_mesh(config.batch_size // config.accumulate, config.devices)
    job = Job(config, run, dataset, train, val, model, mesh, policy)
    if begun is not None:
        return job
    # Weights that do not fit are refused before anything is written.
    return replace(job, init=take_weights(config, job.description()["model"], warn))


def _check_steps(config: TrainConfig, images: int) -> None:
    """Raise `UsageError` for batches or epochs that cannot be, with so many training images."""
    if config.batch_size > images:
        raise UsageError(
            f"--batch-size {config.batch_size} is larger than the training set of {images} images",
            hint=f"use --batch-size {images} or less, or more training images",
        )
    if config.batch_size % config.accumulate:
        raise UsageError(
            f"a batch of {config.batch_size} cannot be cut into {config.accumulate} slices",
            hint="--accumulate must divide --batch-size",
        )
    most = LARGEST // (images // config.batch_size)
    if config.epochs > most:
        raise UsageError(
            f"--epochs {config.epochs} are more than {LARGEST:,} steps", hint=f"with these images, {most} is the most"
        )


def data_in_words(job: Job) -> str:
    """What the data turned out to be, in lines that fit a terminal."""
    dataset, config = job.dataset, job.config
    path, here = Path(dataset.source), Path.cwd()
    short = path.relative_to(here) if path.is_relative_to(here) else path
    where = "the bundled MNIST" if dataset.source == "mnist" else shown(short)
    all_ = {name: len(dataset.split(name)) for name in SPLITS}
    used = {**all_, "train": len(job.train), "val": len(job.val)}
    counts = ", ".join(
        f"{used[name]:,}{f' of {count:,}' * (used[name] < count)} {name}" for name, count in all_.items()
    )
    kind = f"{shape_text(dataset.shape)}, {dataset.levels} levels"
    images = [f"{counts} images of {kind}"] if used == all_ else [f"{counts} images", f"of {kind}"]
    done = str(Transform.parse(config.crop, config.resize, config.levels))
    lines = [f"{where}, fingerprint {dataset.fingerprint[:12]}", *images, *([f"after {done}"] if done else [])]
    if job.model.classes:
        unused = job.description()["data"]["unused_labels"]
        none = f"; no training image has {listed(unused, dataset.label_names)}" if unused else ""
        lines.append(f"labels {listed(range(job.model.classes), dataset.label_names)}{none}")
    return "\n      ".join(lines)


def network_dtype(config: TrainConfig, begun: dict[str, Any] | None) -> str:
    """What "auto" becomes; a run that is continued has settled it in the settings with which it has `begun`."""
    if config.network_dtype != "auto":
        return config.network_dtype
    if begun is not None:
        return str(begun.get("network_dtype", "float32"))
    # In this order: oneDNN is tried in a process, which --smoke need not wait for.
    fast = not config.smoke and (multiplies_bfloat16(jax.local_devices()[0]) or onednn_is_faster("bfloat16"))
    return "bfloat16" if fast else "float32"


def multiplies_bfloat16(device: Any) -> bool:
    """Whether this is an NVIDIA GPU with bfloat16 in its tensor cores, as Ampere and later have: multiscale trains 1.5
    times as fast on an H200."""
    generation = str(getattr(device, "compute_capability", "")).partition(".")[0]  # "9.0"; AMD's are words
    return device.platform == "gpu" and generation.isdigit() and int(generation) >= 8


def policy_of(config: TrainConfig, begun: dict[str, Any] | None = None) -> ComputePolicy:
    """How the networks of a configuration, whose "auto" is resolved, are computed on this machine.

    Args:
        config: The recipe.
        begun: The device on which a run that is continued began, as config.json has it. What began on a CPU stays with
            oneDNN or without it, bit for bit.
    """
    dtype, half = config.network_dtype, config.network_dtype == "bfloat16"
    if config.smoke or (begun is not None and begun.get("platform") != "gpu" and not began_with_onednn(begun)):
        onednn = False
    elif half or (begun is not None and began_with_onednn(begun)):
        onednn = onednn_is_right(dtype)  # XLA is slowest in bfloat16
    else:
        onednn = onednn_is_faster(dtype)
    return ComputePolicy(jnp.dtype(dtype) if half else None, onednn=onednn, remat=config.remat)


def began_with_onednn(device: dict[str, Any]) -> bool:
    """Of a device in config.json; runs of earlier versions have another word, or none."""
    return bool(device.get("onednn", device.get("matrix_units", False)))


def policy_in_words(policy: ComputePolicy) -> str:
    """How the networks are computed, for a line at the start."""
    dtype = "float32" if policy.dtype is None else str(policy.dtype)
    return f"{dtype}, by oneDNN" if policy.onednn else dtype
