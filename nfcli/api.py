"""A trained run on numpy arrays: all that a notebook needs.

import nfcli

flow = nfcli.load("pretrained:mixture")
images, labels = flow.images("test")
print(flow.bpd(images[:100], samples=8).mean(), flow.sample(16).shape)
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nfcli.errors import UsageError
from nfcli.evaluation.bound import BoundEvaluator, to_bpd
from nfcli.evaluation.latents import Coder
from nfcli.limits import SEED, TEMPERATURE, require, whole
from nfcli.runs.directory import known_labels
from nfcli.runs.restore import TrainedModel

Labels = np.ndarray | None
"""(N,) integers of a class-conditional model, None of another one."""


class TrainedFlow:
    """A model with the weights that did best on validation, as functions of numpy arrays. `nfcli.load` makes one.

    Images are (N, H, W, C) integers from 0 to `levels` - 1; (N, H, W) will do where C is 1. A class-conditional model
    takes `labels`, (N,) integers from 0 to `classes` - 1, wherever they can be given, and another one takes none. Noise
    follows from the seed and an image's position alone, as in the commands: `log_prob` and `bpd` give what `nf eval`
    says of the same images and seed, within rounding, and `sample` what `nf sample` draws.

    Attributes:
        name: Of the run.
        shape: (H, W, C) of an image.
        levels: Number of values of a pixel.
        classes: Of the labels that it was told in training, 0 for none.
        latent_shapes: Shape of each latent, without the batch axis; one a scale, the coarsest last.
        config: The run's config.json.
        step: Of training, whose weights these are.
    """

    def __init__(self, trained: TrainedModel) -> None:
        self._trained, self._model = trained, trained.model
        self.name, self.config, self.step = trained.run.name, trained.config, trained.checkpoint.step
        self.shape, self.levels, self.classes = self._model.shape, self._model.levels, self._model.classes
        self.latent_shapes = self._model.latent_shapes
        self._coder, self._evaluators = Coder(trained), dict[int, BoundEvaluator]()

    def __repr__(self) -> str:
        return f"<nf run '{self.name}', weights of step {self.step:,}, images of {'x'.join(map(str, self.shape))}>"

    def images(self, split: str = "test") -> tuple[np.ndarray, np.ndarray | None]:
        """Images and labels that the run was trained, validated or tested on.

        Args:
            split: "train", "val" or "test".

        Returns:
            (N, H, W, C) uint8, and (N,) integers or None where there are no labels.

        Raises:
            UsageError: There is no such split.
            DataError: They cannot be read, or are not the same any more.
            RunError: config.json names images or a transform that cannot be.
        """
        found = self._trained.dataset().split(split)
        return np.asarray(found.images[:]), found.labels

    def log_prob(
        self, images: np.ndarray, labels: Labels = None, *, samples: int = 1, seed: int = 42, batch_size: int = 128
    ) -> np.ndarray:
        """A lower bound on log p(x), or log p(x | label), that tightens with `samples` in expectation.

        Args:
            images: (N, H, W, C) integers.
            labels: (N,) integers, of a class-conditional model.
            samples: Noise draws an image, K (Burda et al. 2015, arXiv:1509.00519).
            seed: Of the noise.
            batch_size: Images at a time; it does not change the result.

        Returns:
            (N,) natural logarithms, float64.

        Raises:
            UsageError: Images, labels or numbers do not fit the model.
        """
        require("samples", samples, whole())
        require("batch_size", batch_size, whole())
        require("seed", seed, SEED)
        images, labels = self._checked(images), self._checked_labels(labels, len(images))
        made = BoundEvaluator(self._model, batch_size, images=len(images))
        evaluator = self._evaluators.setdefault(made.batch_size, made)  # the first of a size has compiled its program
        return evaluator(self._trained.parameters, images, samples=samples, seed=seed, labels=labels).log_prob

    def bpd(self, images: np.ndarray, labels: Labels = None, **options: Any) -> np.ndarray:
        """The same in bits per dimension, (N,) float64: `-log2 p(x) / (H W C)`; lower is better."""
        return to_bpd(self.log_prob(images, labels, **options), self._model.dimensions)

    def sample(
        self, count: int = 16, labels: Sequence[int] | Labels = None, *, temperature: float = 1.0, seed: int = 44
    ) -> np.ndarray:
        """Draw images.

        Args:
            count: How many.
            labels: Of a class-conditional model: image i gets label i modulo their number; by default those of
                training images in turn.
            temperature: Standard deviation of the latents; below 1 gives tamer images.
            seed: Image i of a seed is always the same.

        Returns:
            (count, H, W, C) uint8.

        Raises:
            UsageError: Labels or numbers do not fit the model.
        """
        require("count", count, whole())
        require("seed", seed, SEED)
        require("temperature", temperature, TEMPERATURE)
        if labels is not None and not np.size(labels):
            raise UsageError("there are no labels", hint="leave them out for all in turn")
        if labels is None and self.classes:
            labels = known_labels(self.config)
        given = None if labels is None else np.resize(np.asarray(labels), count)
        return self._coder.sample(count, self._checked_labels(given, count), temperature=temperature, seed=seed)

    def encode(self, images: np.ndarray, labels: Labels = None, *, seed: int = 42) -> tuple[np.ndarray, ...]:
        """Images to latents that `decode` turns back into exactly the same images.

        Args:
            images: (N, H, W, C) integers.
            labels: (N,) integers, of a class-conditional model.
            seed: Of the dequantization noise, which is kept away from the edges of a pixel value.

        Returns:
            One float32 array a scale, (N, ...), in the shapes of `latent_shapes`.

        Raises:
            UsageError: Images, labels or seed do not fit the model.
        """
        require("seed", seed, SEED)
        images, known = self._checked(images), self._checked_labels(labels, len(images))
        return self._coder.encode(images, known, seed)

    def decode(self, latents: Sequence[np.ndarray], labels: Labels = None) -> np.ndarray:
        """Latents to images: arrays as of `encode` to (N, H, W, C) uint8.

        Raises:
            UsageError: The arrays are not of the model's `latent_shapes` or not finite, or there are labels too many or
                too few.
        """
        arrays = [np.asarray(array, np.float32) for array in latents]
        count = len(arrays[0]) if arrays and arrays[0].ndim else 0
        if not all(np.isfinite(array).all() for array in arrays):
            raise UsageError("latents that are not finite have no image", hint="look where they come from")
        if not count or [array.shape for array in arrays] != [(count, *shape) for shape in self.latent_shapes]:
            raise UsageError(
                f"latents of shapes {[array.shape for array in arrays]} do not fit '{self.name}'",
                hint=f"give arrays of {['(N, ' + ', '.join(map(str, shape)) + ')' for shape in self.latent_shapes]}",
            )
        return self._coder.decode(arrays, self._checked_labels(labels, count))

    def _checked(self, images: np.ndarray) -> np.ndarray:
        images = given = np.asarray(images)
        if images.ndim == 3 and self.shape[-1] == 1:
            images = images[..., None]
        if images.shape[1:] != self.shape or not len(images) or not np.issubdtype(images.dtype, np.integer):
            raise UsageError(
                f"images of shape {given.shape} and type {given.dtype} do not fit '{self.name}'",
                hint=f"give integers of shape (N, {', '.join(map(str, self.shape))})",
            )
        if images.min() < 0 or images.max() >= self.levels:
            raise UsageError(
                f"pixels from {images.min()} to {images.max()} do not fit '{self.name}'",
                hint=f"it knows values from 0 to {self.levels - 1}",
            )
        return images.astype(np.uint8)

    def _checked_labels(self, labels: Labels, count: int) -> Labels:
        if (labels is not None) != bool(self.classes):
            what, how = ("needs labels", "with") if self.classes else ("takes no labels", "without")
            raise UsageError(f"'{self.name}' {what}", hint=f"it was trained {how} them")
        if labels is None:
            return None
        labels = np.asarray(labels)
        what, hint = "", f"give one integer from 0 to {self.classes - 1} an image"
        if labels.shape != (count,) or not np.issubdtype(labels.dtype, np.integer):
            what = f"labels of shape {labels.shape} and type {labels.dtype} do not fit {count} images of"
        elif labels.min() < 0 or labels.max() >= self.classes:
            what = f"labels from {labels.min()} to {labels.max()} do not fit"
        if what:
            raise UsageError(f"{what} '{self.name}'", hint=hint)
        return labels.astype(np.int32)
