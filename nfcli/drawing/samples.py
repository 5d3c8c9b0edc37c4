"""`sample(config)`: images drawn from a model, as a grid or as data."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.data import ImageSplit
from nfcli.drawing.grid import check_size, image_grid, save_grid, spread
from nfcli.drawing.output import LOOK, Drawn, GridConfig, image_path, write_numbers
from nfcli.drawing.single_images import MOST_IMAGES, check_data_path, is_data, save_images
from nfcli.errors import UsageError
from nfcli.evaluation.latents import Coder, decode_file
from nfcli.flows import FlowModel
from nfcli.limits import check_seed, check_temperature, check_whole, refuse_together
from nfcli.runs.restore import TrainedModel

SHARED_COLUMNS = 8

NOT_DRAWN: dict[str, Any] = {"temperature": None, "seed": None}
"""Of images that are not new ones."""


@dataclass(frozen=True)
class SampleConfig(GridConfig):
    """What to draw; `output` may also be an .npz file or a folder, for single images.

    Attributes:
        num: Number of images.
        columns: Of the grid; None for a square, or 8 with a shared final latent.
        temperature: Standard deviation of the latents.
        seed: Image i of a seed is the same whatever else is drawn.
        share_final_latent: Rows of 8 that share the last level's latent and differ in the split-off ones.
        real: Show training images instead.
        labels: Of a class-conditional run, or of the training images shown: image i gets label i modulo their number;
            empty for all classes in turn, or for the first training images.
        latents: Draw the images of these, from `nf eval --save-latents`, instead of new ones.
    """

    num: int = 16
    columns: int | None = None
    temperature: float = 1.0
    seed: int = 44
    share_final_latent: bool = False
    real: bool = False
    labels: tuple[int, ...] = ()
    latents: Path | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("num", self.num, 1, MOST_IMAGES)
        check_whole("columns", self.columns, 1, self.num if self.latents is None else MOST_IMAGES)
        for label in self.labels:
            check_whole("label", label, 0)
        check_temperature(self.temperature)
        refuse_together(self, "share_final_latent", "columns")
        refuse_together(self, "real", "share_final_latent", "temperature", "seed")
        refuse_together(self, "latents", "real", "share_final_latent", "labels", "num", "temperature", "seed")
        check_seed(self.seed)
        for name in ("columns", *LOOK) if is_data(self.output) else ():
            if getattr(self, name):
                raise UsageError(
                    f"--{name} says nothing to {self.output}, which holds single images",
                    hint="leave it out, or draw a grid, for example -o digits.png",
                )

    def place(self, default: Path) -> Path:
        if self.output is None or not is_data(self.output):
            return image_path(self.output, default, others=", .npz, or nothing for a folder")
        check_data_path(self.output)
        return self.output

    def labels_of(self, classes: int) -> np.ndarray | None:
        """(N,) the label of each image of a model that knows so many classes; None for one that knows none."""
        return np.resize(np.array(self.labels or range(classes)), self.num) if classes else None

    def options(self, labels: list[int] | None) -> dict[str, Any]:
        """What the numbers beside the picture say of it; (N,) labels of the images, if they have any."""
        names = ("num", "temperature", "seed", "share_final_latent", "real")
        facts = {**{name: getattr(self, name) for name in names}, "columns": self.width, "labels": labels}
        return {**facts, **(NOT_DRAWN if self.real else {})}

    @property
    def width(self) -> int:
        """Columns of the grid."""
        if self.columns is not None:
            return self.columns
        return SHARED_COLUMNS if self.share_final_latent else math.ceil(math.sqrt(self.num))


def sample(config: SampleConfig, *, warn: Callable[[str], None] = lambda _: None) -> Drawn:
    """Draw images from a run's best checkpoint and write them as a grid or, by the name of the output, as data.

    Raises:
        UsageError: A shared final latent is asked of a model with one latent only, or a label of one that knows none.
        InputError: Run or checkpoint are missing or damaged.
        WriteError: They cannot be written.
    """
    decoded = told = None
    source = config.latents
    name = "training-images" if config.real else "samples-shared-latent" if config.share_final_latent else "samples"
    trained, path = config.restore(f"{'from-latents' if config.latents is not None else name}.png", warn)
    model, data = trained.model, is_data(config.output)
    if config.latents is not None:
        decoded, told = decode_file(trained, config.latents)
        config = replace(config, num=len(decoded), latents=None)
    if not data:
        check_size(config.num, config.width, model.shape, config.scale)
    if decoded is not None:
        images, known = decoded, told
    elif config.real:
        images, known = _training_images(trained.dataset().train, config)
    else:
        images, known = None, _labels(model, config)
    labels = None if known is None else known.tolist()
    captions = _captions(labels, config) if config.captions else {}
    if images is None:
        images = _draw(trained, config, known)
    facts = {
        "run": trained.run.name,
        "checkpoint_step": trained.checkpoint.step,
        "latents": None if source is None else str(source),
        **config.options(labels),
        **(NOT_DRAWN if source is not None else {}),
        **config.look(),
        "mean_pixel": float(images.mean()),
    }
    if data:
        facts |= {"run_id": trained.config["id"], "preset": model.preset.name}
        del facts["columns"]
        left_out = ("labels", "mean_pixel")
        said = {name: value for name, value in facts.items() if value is not None and name not in left_out}
        save_images(path, spread(images, model.levels), labels, said)
    else:
        grid = image_grid(images, config.width, levels=model.levels, scale=config.scale)
        save_grid(grid, path, dpi=config.dpi, **captions)
    return Drawn(path, write_numbers(path, facts), facts)


def _captions(labels: list[int] | None, config: SampleConfig) -> dict[str, list[str]]:
    """The label of each row, or else of each column."""
    if labels is None:
        raise UsageError("--captions has no labels to write", hint="leave it out; class-conditional runs have labels")
    width = min(config.width, config.num)
    lines = {
        "rows": [labels[start : start + width] for start in range(0, config.num, width)],
        "columns": [labels[column::width] for column in range(width)],
    }
    for name, found in lines.items():
        if all(len(set(line)) == 1 for line in found):
            return {name: [str(line[0]) for line in found]}
    in_turn = len(config.labels) or (0 if config.real else len(set(labels)))
    hint = f"--columns {min(in_turn, config.num)} gives each a column" if in_turn else "--label says which to show"
    raise UsageError("--captions needs one label a row or a column", hint=hint)


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


def _draw(trained: TrainedModel, config: SampleConfig, labels: np.ndarray | None) -> np.ndarray:
    if config.share_final_latent and len(trained.model.latent_shapes) < 2:
        raise UsageError(
            f"preset '{trained.model.preset.name}' has a single latent: there is none to share while others differ",
            hint="--share-final-latent needs a run of preset 'multiscale'",
        )
    sharing = SHARED_COLUMNS if config.share_final_latent else 1
    return Coder(trained).sample(config.num, labels, temperature=config.temperature, seed=config.seed, sharing=sharing)
