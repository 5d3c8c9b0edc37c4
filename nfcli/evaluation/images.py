"""Images that a run has never seen: loaded as in training, with labels where the model is told them, and scored."""

from typing import Any

import numpy as np

from nfcli.data import ImageSplit, load_images
from nfcli.errors import DataError, Say, UsageError
from nfcli.evaluation.bound import PerImageBound
from nfcli.evaluation.config import EvalConfig, ScoredImage
from nfcli.evaluation.labels import Posterior
from nfcli.runs.restore import TrainedModel


def load_to_score(config: EvalConfig, trained: TrainedModel, message: Say) -> tuple[ImageSplit, list[str]]:
    """The images to score, and a name for each.

    Raises:
        UsageError: The labels are none that the model can be told.
        DataError: They are missing, damaged, or of another shape than the model's.
    """
    run, classes = trained.run.name, trained.model.classes
    said = None if config.label is None else trained.label(config.label)
    images, names, labels = load_images(
        str(config.images),
        trained.transform,
        classes=classes if said is None else 0,  # what the user says goes for all of them
        names=trained.label_names,
        message=message,
    )
    if images.shape[1:] != trained.model.shape:
        how = "scale or crop" if images.shape[1:3] != trained.model.shape[:2] else "convert"
        got, want = ("x".join(map(str, shape)) for shape in (images.shape[1:], trained.model.shape))
        raise DataError(
            f"the images of {config.images} are {got}, and run '{run}' was trained on {want}",
            hint=f"{how} them first; a likelihood of other images would mean nothing",
        )
    if said is not None:
        labels = np.full(len(images), said)
    if classes and labels is None and (config.save_latents or not config.classify):
        raise UsageError(
            f"run '{run}' tells how likely an image is given its label, and {config.images} has no labels",
            hint="--label N names the label of all of them; --classify asks for labels, and sums over them",
        )
    if str(trained.transform):
        message(f"images as in training: {trained.transform}")
    split = ImageSplit("images", images, labels)
    return split.first(None if config.limit is None else min(config.limit, len(split))), names[: config.limit]


def scored(
    names: list[str], bound: PerImageBound, said: Posterior | None, labels: np.ndarray | None
) -> tuple[ScoredImage, ...]:
    """The numbers of each image; `labels` are those that the model was told."""
    columns = {name: getattr(bound, name) for name in ("bpd", "elbo_bpd", "effective_sample_size")}
    if labels is not None:
        columns["label"] = labels
    if said is not None:
        columns |= {"marginal_bpd": said.bpd, "predicted": said.predicted, "confidence": said.confidence}

    def known(row: list[Any]) -> dict[str, Any]:
        return {name: value.item() if np.isfinite(value) else None for name, value in zip(columns, row, strict=True)}

    return tuple(ScoredImage(name, **known(row)) for name, *row in zip(names, *columns.values(), strict=True))
