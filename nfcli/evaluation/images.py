"""Images that a run has never seen: loaded as in training, with labels where the model is told them, and scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from nfcli.data import ImageSplit, load_images
from nfcli.errors import DataError, UsageError
from nfcli.evaluation.bound import PerImageBound, finite
from nfcli.evaluation.config import EvalConfig, ScoredImage
from nfcli.evaluation.labels import Posterior
from nfcli.evaluation.latents import Coder, latents_file
from nfcli.files import write_bytes
from nfcli.runs.restore import TrainedModel


def load_to_score(
    config: EvalConfig, trained: TrainedModel, message: Callable[[str], None]
) -> tuple[ImageSplit, list[str]]:
    """The images to score, and a name for each.

    Raises:
        UsageError: The labels are none that the model can be told.
        DataError: They are missing, damaged, or of another shape than the model's.
    """
    run, classes = trained.run.name, trained.model.classes
    if config.label is not None and not config.label < classes:
        wanted = f"it must be between 0 and {classes - 1}" if classes else "it needs a run trained with --conditional"
        raise UsageError(f"run '{run}' knows no label {config.label}", hint=wanted)
    wanted_labels = 0 if config.label is not None else classes  # what the user says goes for all of them
    images, names, labels = load_images(str(config.images), trained.transform, classes=wanted_labels, message=message)
    if images.shape[1:] != trained.model.shape:
        got, want = ("x".join(map(str, shape)) for shape in (images.shape[1:], trained.model.shape))
        raise DataError(
            f"the images of {config.images} are {got}, and run '{run}' was trained on {want}",
            hint="scale or crop them first; a likelihood of other images would mean nothing",
        )
    if config.label is not None:
        labels = np.full(len(images), config.label)
    if classes and labels is None and (config.save_latents or not config.classify):
        raise UsageError(
            f"run '{run}' tells how likely an image is given its label, and {config.images} has no labels",
            hint="--label N names the label of all of them; --classify asks for labels, and sums over them",
        )
    split = ImageSplit("images", images, labels)
    return split.first(None if config.limit is None else min(config.limit, len(split))), names[: config.limit]


def scored(
    names: list[str], bound: PerImageBound, said: Posterior | None, labels: np.ndarray | None
) -> tuple[ScoredImage, ...]:
    """The numbers of each image; `labels` are those that the model was told."""
    columns: dict[str, Any] = {
        "name": names,
        **{name: map(finite, getattr(bound, name)) for name in ("bpd", "elbo_bpd", "effective_sample_size")},
    }
    if labels is not None:
        columns["label"] = labels.tolist()
    if said is not None:
        columns["marginal_bpd"] = map(finite, said.bpd)
        columns["predicted"] = said.predicted.tolist()
        columns["confidence"] = map(finite, said.confidence)
    return tuple(ScoredImage(**dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True))


def save_latents(
    config: EvalConfig, trained: TrainedModel, split: ImageSplit, names: list[str], warn: Callable[[str], None]
) -> None:
    """Write the latents of images, once it is seen that they give the same images again.

    Raises:
        WriteError: The file cannot be written.
    """
    assert config.save_latents is not None
    labels = split.labels if trained.model.classes else None
    coder = Coder(trained)
    latents = coder.encode(split.images, labels, config.seed)
    write_bytes(config.save_latents, latents_file(trained, latents, names, labels, config.seed))
    again = coder.decode(latents, labels)
    changed = np.flatnonzero((np.asarray(split.images[:]) != again).any(axis=(1, 2, 3)))
    if len(changed):
        first = names[changed[0]]
        warn(f"{len(changed)} images do not come back exactly from their latents, of which the first is {first}")
