"""`sample(config)`: a grid of images drawn from a model."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.data import ImageSplit
from nfcli.drawing.grid import save_grid
from nfcli.drawing.output_names import CHUNK, image_path, write_numbers
from nfcli.errors import UsageError
from nfcli.evaluation.bound import PRECISION
from nfcli.evaluation.latents import decode_file
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.limits import check_seed, check_whole
from nfcli.runs import find_run
from nfcli.runs.restore import restore

SHARED_COLUMNS = 8


@dataclass(frozen=True)
class SampleConfig:
    """What to draw.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        num: Number of images.
        columns: Of the grid; None for a square, or 8 with a shared final latent.
        temperature: Standard deviation of the latents.
        seed: Image i of a seed is the same whatever else is drawn.
        output: The PNG; None for the run's figures.
        share_final_latent: Rows of 8 that share the last level's latent and differ in the split-off ones.
        real: Show training images instead.
        labels: Of a class-conditional run, or of the training images shown: image i gets label i modulo their number;
            empty for all classes in turn, or for the first training images.
        latents: Draw the images of these, from `nf eval --save-latents`, instead of new ones.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    num: int = 16
    columns: int | None = None
    temperature: float = 1.0
    seed: int = 44
    output: Path | None = None
    share_final_latent: bool = False
    real: bool = False
    labels: tuple[int, ...] = ()
    latents: Path | None = None

    def __post_init__(self) -> None:
        check_whole("num", self.num, 1, 10_000)
        check_whole("columns", self.columns, 1, self.num)
        for label in self.labels:
            check_whole("label", label, 0)
        if not (math.isfinite(self.temperature) and self.temperature >= 0):
            raise UsageError(f"--temperature {self.temperature} is not possible", hint="it must be 0 or more")
        if self.real and self.share_final_latent:
            raise UsageError("--real and --share-final-latent exclude each other")
        for option, given in (("--real", self.real), ("--share-final-latent", self.share_final_latent)):
            if given and self.latents is not None:
                raise UsageError(f"--from-latents and {option} exclude each other")
        check_seed(self.seed)

    def labels_of(self, classes: int) -> np.ndarray | None:
        """(N,) the label of each image of a model that knows so many classes; None for one that knows none."""
        return np.resize(np.array(self.labels or range(classes)), self.num) if classes else None

    @property
    def width(self) -> int:
        """Columns of the grid."""
        if self.columns is not None:
            return self.columns
        return SHARED_COLUMNS if self.share_final_latent else math.ceil(math.sqrt(self.num))


@dataclass(frozen=True)
class SampleResult:
    """What `nf sample --json` prints."""

    run: str
    image: str
    numbers: str
    checkpoint_step: int
    num: int
    columns: int
    temperature: float
    seed: int
    share_final_latent: bool
    real: bool
    labels: list[int] | None
    latents: str | None
    mean_pixel: float


def sample(config: SampleConfig, *, warn: Callable[[str], None] = lambda _: None) -> SampleResult:
    """Draw images from a run's best checkpoint and write them as a PNG grid.

    Raises:
        UsageError: A shared final latent is asked of a model with one latent only, or a label of one that knows none.
        InputError: Run or checkpoint are missing or damaged.
        WriteError: The PNG cannot be written.
    """
    trained = restore(find_run(config.run, config.runs_dir), warn)
    decoded = None
    if config.latents is not None:
        decoded, told = decode_file(trained, config.latents)
        config = replace(config, num=len(decoded), labels=() if told is None else tuple(told.tolist()))
    name = "training-images" if config.real else "samples-shared-latent" if config.share_final_latent else "samples"
    name = "from-latents" if decoded is not None else name
    path = image_path(config.output, trained.run.figures / f"{name}.png")
    if decoded is not None:
        images, labels = decoded, told
    elif config.real:
        images, labels = _training_images(trained.dataset().train, config)
    else:
        labels = _labels(trained.model, config)
        images = draw(trained.model, trained.parameters, config)
    save_grid(images, path, columns=config.width, levels=trained.model.levels)
    numbers: dict[str, Any] = {
        "run": trained.run.name,
        "checkpoint_step": trained.checkpoint.step,
        "num": config.num,
        "columns": config.width,
        "temperature": config.temperature,
        "seed": config.seed,
        "share_final_latent": config.share_final_latent,
        "real": config.real,
        "labels": None if labels is None else labels.tolist(),
        "latents": None if config.latents is None else str(config.latents),
        "mean_pixel": float(images.mean()),
    }
    written = write_numbers(path, numbers)
    return SampleResult(image=str(path), numbers=str(written), **numbers)


def _labels(model: FlowModel, config: SampleConfig) -> np.ndarray | None:
    """(N,) the label of each image, None for a model that is told none."""
    if config.labels and not model.classes:
        raise UsageError(
            f"--label says nothing to preset '{model.preset.name}' of this run",
            hint="a run of nf train --conditional draws what a label says; --real shows training images of one",
        )
    for label in config.labels:
        if not 0 <= label < model.classes:
            raise UsageError(f"--label {label} is not possible", hint=f"labels go from 0 to {model.classes - 1}")
    return config.labels_of(model.classes)


def _training_images(train: ImageSplit, config: SampleConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """The first training images, or the first of each label that was asked for; and their labels, if they have any."""
    if not config.labels:
        first = train.first(config.num)
        return first.images[:], first.labels
    if train.labels is None:
        raise UsageError("the training images of this run have no labels", hint="leave --label out")
    wanted = np.resize(np.array(config.labels), config.num)
    rows = np.empty(config.num, np.int64)
    for label in config.labels:
        places, found = np.flatnonzero(wanted == label), np.flatnonzero(train.labels == label)
        if len(found) < len(places):
            raise UsageError(
                f"there are {len(found):,} training images of label {label}, and {len(places):,} were asked for",
                hint=f"labels: {_listed(np.unique(train.labels))}" if not len(found) else "use a smaller --num",
            )
        rows[places] = found[: len(places)]
    return train.images[rows], wanted


def _listed(labels: np.ndarray) -> str:
    few = [str(label) for label in labels[:20]]
    return ", ".join([*few, "..."] if len(labels) > len(few) else few)


def draw(model: FlowModel, parameters: Parameters, config: SampleConfig) -> np.ndarray:
    """Draw `config.num` images, (N, H, W, C) uint8."""
    if config.share_final_latent and len(model.latent_shapes) < 2:
        raise UsageError(
            f"preset '{model.preset.name}' has a single latent: there is none to share while others differ",
            hint="--share-final-latent needs a run of preset 'multiscale'",
        )
    key = stream(config.seed, Purpose.SAMPLING)

    labels = _labels(model, config)

    @jax.jit
    def decode(parameters: Parameters, index: jax.Array, labels: jax.Array | None) -> jax.Array:
        with jax.default_matmul_precision(PRECISION):
            latents = model.sample_latents(indexed_keys(key, index), temperature=config.temperature)
            if config.share_final_latent:
                first_of_row = index - index % SHARED_COLUMNS
                shared = model.sample_latents(indexed_keys(key, first_of_row), temperature=config.temperature)
                latents = (*latents[:-1], shared[-1])
            return model.decode(parameters, latents, labels)

    chunks = []
    for start in range(0, config.num, CHUNK):
        index = start + np.arange(CHUNK)
        chosen = None if labels is None else labels[np.minimum(index, config.num - 1)]
        chunks.append(decode(parameters, jnp.asarray(index), chosen))
    return np.concatenate([np.asarray(chunk) for chunk in chunks])[: config.num]
