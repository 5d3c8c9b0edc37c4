"""What a class-conditional model says of labels, by Bayes' rule: p(y | x) = p(x | y) p(y) / p(x).

p(x) = sum_y p(x | y) p(y), with p(y) the share of label y among the images that the model was trained on. In the place
of each log p(x | y) stands its importance-weighted bound, of the same noise for every label; the sum is a bound too.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nfcli.data import ImageDataset
from nfcli.errors import UsageError
from nfcli.evaluation.bound import PerImageBound, finite, mean_and_error, to_bpd
from nfcli.runs.restore import TrainedModel
from nfcli.runs.results import Classification

BINS = 15
"""Of equal width, for the calibration error (Guo, Pleiss, Sun, Weinberger 2017, arXiv:1706.04599)."""


@dataclass(frozen=True)
class Posterior:
    """What a model says of the labels of images.

    Attributes:
        log_prob: (N,) bound on log p(x), natural logarithm.
        predicted: (N,) the most probable label.
        confidence: (N,) its probability, p(y | x).
        label_log_prob: (N,) natural logarithm of that of each image's own label; NaN where it is unknown.
        dimensions: Of one image.
    """

    log_prob: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    label_log_prob: np.ndarray
    dimensions: int

    @property
    def bpd(self) -> np.ndarray:
        """(N,) bits per dimension of p(x)."""
        return to_bpd(self.log_prob, self.dimensions)

    @property
    def label_probability(self) -> np.ndarray:
        """(N,) p(y | x) of each image's own label; NaN where it is unknown."""
        return np.asarray(np.exp(self.label_log_prob))

    def columns(self) -> dict[str, np.ndarray]:
        """For a table of images."""
        names = ("predicted", "confidence", "label_probability")
        return {"marginal_bpd": self.bpd, **{name: getattr(self, name) for name in names}}

    def summary(self, labels: np.ndarray | None) -> Classification:
        """Means over images, in float64; what needs their labels only where these are known."""
        unknown = np.full(len(self.predicted), np.nan)
        correct = unknown if labels is None else (self.predicted == labels).astype(float)
        with np.errstate(invalid="ignore"):
            bits = -np.mean(self.label_log_prob) / np.log(2)
        return Classification(
            *mean_and_error(self.bpd),
            accuracy=finite(np.mean(correct)),
            label_bits=finite(bits),
            calibration_error=finite(expected_calibration_error(self.confidence, correct)),
            calibration_bins=BINS,
            label_prior="shares of the training images",
        )


def label_shares(trained: TrainedModel, dataset: ImageDataset | None) -> np.ndarray:
    """(classes,) p(y): the share of each label among the images that the model was trained on.

    Args:
        trained: The model.
        dataset: They and others; None if they have not been loaded.

    Raises:
        UsageError: The model knows no labels.
        DataError: They cannot be read, or are not the same any more.
    """
    if not trained.model.classes:
        raise UsageError(
            f"run '{trained.run.name}' knows no labels, so it has nothing to classify by",
            hint="--classify needs a run that was trained with --conditional",
        )
    labels = (dataset or trained.dataset()).train.labels
    assert labels is not None, "a class-conditional run was trained on labels"
    counts = np.bincount(labels[: trained.config["data"]["train_images"]], minlength=trained.model.classes)
    return np.asarray(counts / counts.sum())


def posterior(bounds: list[PerImageBound], shares: np.ndarray, labels: np.ndarray | None) -> Posterior:
    """Bayes' rule.

    Args:
        bounds: Of the same images given label 0, 1, ...
        shares: (classes,) p(y).
        labels: (N,) of the images, if known.
    """
    with np.errstate(divide="ignore"):
        joint = np.stack([bound.log_prob for bound in bounds], axis=1) + np.log(shares)
    with np.errstate(invalid="ignore"):
        log_prob = np.logaddexp.reduce(joint, axis=1)
        said = joint - log_prob[:, None]
    rows = np.arange(len(joint))
    return Posterior(
        log_prob=log_prob,
        predicted=joint.argmax(axis=1),
        confidence=np.exp(said.max(axis=1)),
        label_log_prob=np.full(len(joint), np.nan) if labels is None else said[rows, labels],
        dimensions=bounds[0].dimensions,
    )


def given_label(bounds: list[PerImageBound], labels: np.ndarray | None) -> PerImageBound:
    """Of bounds given label 0, 1, ..., each image's given its own; NaN where labels are unknown."""
    own: dict[str, Any] = {}
    for name in ("log_prob", "elbo", "effective_sample_size"):
        given = np.stack([getattr(bound, name) for bound in bounds], axis=1)
        own[name] = np.full(len(given), np.nan) if labels is None else given[np.arange(len(given)), labels]
    return replace(bounds[0], **own)


def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray) -> float:
    """Mean distance of the share of correct answers from the confidence, over `BINS` bins weighted by their images.

    Args:
        confidence: (N,) in [0, 1].
        correct: (N,) 1 or 0.
    """
    if not np.all(np.isfinite(confidence)):
        return np.nan
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = np.bincount(places, weights=correct - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(confidence))
