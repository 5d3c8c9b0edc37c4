"""`sample(config)`: images drawn from a model, as a grid or as data."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.data import ImageDataset, in_words, label_number, listed
from nfcli.drawing.config import MOST_IMAGES, SHARED_COLUMNS, SampleConfig, is_data
from nfcli.drawing.grid import check_size, image_grid, save_grid, spread
from nfcli.drawing.output import Drawn, image_path, restored, write_numbers
from nfcli.drawing.single_images import check_data_path, save_images
from nfcli.errors import Say, UsageError
from nfcli.evaluation.latents import Coder, decode_file
from nfcli.runs.directory import known_labels
from nfcli.runs.restore import TrainedModel

NOT_DRAWN: dict[str, Any] = {"temperature": None, "seed": None}
"""Of images that are not new ones."""


def sample(config: SampleConfig, *, warn: Say = lambda _: None) -> Drawn:
    """Draw images from a run's best checkpoint and write them as a grid or, by the name of the output, as data.

    Raises:
        UsageError: A shared final latent is asked of a model with one latent only, or a label of one that knows none.
        InputError: Run or checkpoint are missing or damaged.
        WriteError: They cannot be written.
    """
    source, data = config.latents, is_data(config.output)
    name = "training-images" if config.real else "samples-shared-latent" if config.share_final_latent else "samples"
    place = partial(_place, inputs=[] if source is None else [source])
    trained, path = restored(config, f"{name if source is None else 'from-latents'}.png", warn, place)
    model, words = trained.model, trained.label_names
    images: np.ndarray | None
    if source is not None:
        images, known = decode_file(trained, source, MOST_IMAGES)
        config = replace(config, num=len(images), latents=None)
    elif config.real:
        dataset = trained.dataset()
        words = list(dataset.label_names)
        images, known = _training_images(dataset, config)
    else:
        images, known = None, _labels(trained, config, warn)
    if not data:
        check_size(config.num, config.width, model.shape, config.scale)
    labels = None if known is None else known.tolist()
    captions = _captions(labels, words, config) if config.captions else {}
    if images is None:
        sharing = SHARED_COLUMNS if config.share_final_latent else 1
        images = Coder(trained).sample(config.num, known, **config.chosen("temperature", "seed"), sharing=sharing)
    facts = {
        "run": trained.run.name,
        "checkpoint_step": trained.checkpoint.step,
        "latents": source and str(source),
        **config.options(labels),
        **(NOT_DRAWN if config.real or source else {}),
        **config.look(),
        "mean_pixel": float(images.mean()),
    }
    if data:
        facts |= {"run_id": trained.config["id"], "preset": model.preset.name}
        left_out = ("labels", "mean_pixel")
        said = {name: value for name, value in facts.items() if value is not None and name not in left_out}
        save_images(path, spread(images, model.levels), labels, said)
    else:
        grid = image_grid(images, config.width, levels=model.levels, scale=config.scale)
        save_grid(grid, path, dpi=config.dpi, **captions)
    return Drawn(path, write_numbers(path, facts), facts)


def _place(output: Path | None, default: Path, inputs: list[Path]) -> Path:
    if output is None or not is_data(output):
        return image_path(output, default, endings=".png, .pdf, .svg, .npz, or nothing for a folder")
    check_data_path(output, inputs)
    return output


def _captions(labels: list[int] | None, words: list[str], config: SampleConfig) -> dict[str, list[str]]:
    """The label of each row, or else of each column."""
    if labels is None:
        raise UsageError("--captions has no labels to write", hint="leave it out; class-conditional runs have labels")
    width = config.width
    rows = [labels[start : start + width] for start in range(0, config.num, width)]
    columns = [labels[column::width] for column in range(width)]
    for name, lines in (("rows", rows), ("columns", columns)):
        if all(len(set(line)) == 1 for line in lines):
            return {name: [in_words(line[0], words) for line in lines]}
    in_turn = len(config.labels or ()) or (0 if config.real else len(set(labels)))
    hint = f"--columns {min(in_turn, config.num)} gives each a column" if in_turn else "--label says which to show"
    raise UsageError("--captions needs one label a row or a column", hint=hint)


def _labels(trained: TrainedModel, config: SampleConfig, warn: Say) -> np.ndarray | None:
    """(N,) the label of each new image, None for a model that is told none; refuses what the model cannot draw."""
    model, known = trained.model, known_labels(trained.config)
    if config.share_final_latent and len(model.latent_shapes) < 2:
        raise UsageError(
            f"preset '{model.preset.name}' has a single latent: there is none to share while others differ",
            hint="--share-final-latent needs a run of a preset with a split, such as 'multiscale'",
        )
    if config.labels and not model.classes:
        hint = "a run of nf train --conditional draws what a label says; --real shows training images of one"
        raise UsageError(f"--label says nothing to preset '{model.preset.name}' of this run", hint=hint)
    wanted = [trained.label(label) for label in config.labels or ()]
    for label in wanted:
        if label not in known:
            which = f"label {in_words(label, trained.label_names)}"
            warn(f"no training image of run '{trained.run.name}' has {which}: what is drawn of it means nothing")
    return np.resize(wanted or known, config.num) if model.classes else None


def _training_images(dataset: ImageDataset, config: SampleConfig) -> tuple[np.ndarray, np.ndarray | None]:
    """The first training images, or the first of each label that was asked for; and their labels, if they have any."""
    train, words = dataset.train, dataset.label_names
    if not config.labels:
        first = train.first(config.num)
        return first.images[:], first.labels
    if train.labels is None:
        raise UsageError("the training images of this run have no labels", hint="leave --label out")
    numbers = [label_number(label, words) for label in config.labels]
    rows, turn = np.empty(config.num, np.int64), np.arange(config.num) % len(numbers)
    for label, number in zip(config.labels, numbers, strict=True):
        places = np.flatnonzero(np.isin(turn, [i for i, each in enumerate(numbers) if each == number]))
        found = np.flatnonzero(train.labels == (-1 if number is None else number))
        if len(found) < len(places):
            raise UsageError(
                f"there are {len(found):,} training images of label {label}, and {len(places):,} were asked for",
                hint="use a smaller --num"
                if len(found)
                else f"labels: {listed(np.unique(train.labels).tolist(), words)}",
            )
        rows[places] = found[: len(places)]
    return train.images[rows], train.labels[rows]
