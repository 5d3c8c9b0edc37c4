"""Latents as data: images encoded with one array a scale, in an npz file, and back to exactly the same pixels."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import is_zipfile

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.data import ImageSplit
from nfcli.data.reading import kind_of
from nfcli.data.store import AnyImages
from nfcli.errors import DataError, Say, UsageError, one_line
from nfcli.evaluation.batches import in_batches
from nfcli.evaluation.bound import PRECISION, images_at_once
from nfcli.files import write_bytes
from nfcli.flows import Parameters
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.limits import LARGEST
from nfcli.runs.per_image import NPZ_ERRORS, npz_bytes
from nfcli.runs.restore import TrainedModel


class Coder:
    """A trained model as functions of numpy arrays on one device, compiled when they are first called.

    Where a method takes `labels`, a class-conditional model must be given (N,) integers, and another one None.
    """

    def __init__(self, trained: TrainedModel) -> None:
        self._model = model = trained.model
        self._parameters = jax.device_put(trained.parameters, jax.local_devices()[0])
        self._encode, self._decode = jax.jit(model.encode), jax.jit(model.decode)
        self._sample = jax.jit(self._sample_one_chunk)

    def encode(
        self, images: AnyImages, labels: np.ndarray | None, seed: int, indices: np.ndarray | None = None
    ) -> tuple[np.ndarray, ...]:
        """The latents of images, (N, ...) float32 a scale; `decode` gives exactly the same images again.

        Args:
            images: (N, H, W, C) uint8.
            labels: (N,) integers or (N, classes) weights, or None.
            seed: Of the dequantization noise.
            indices: (N,) on which an image's noise depends too; 0..N-1 by default.
        """
        key, count = stream(seed, Purpose.ENCODING), len(images)
        indices = np.arange(count) if indices is None else indices

        def of_rows(rows: np.ndarray) -> tuple[Any, ...]:
            return images[rows], indexed_keys(key, jnp.asarray(indices[rows]))

        return self._in_chunks(self._encode, of_rows, count, labels)

    def decode(self, latents: Sequence[np.ndarray], labels: np.ndarray | None) -> np.ndarray:
        """The images of latents, (N, H, W, C) uint8."""
        return self._in_chunks(self._decode, lambda rows: (tuple(z[rows] for z in latents),), len(latents[0]), labels)

    def sample(
        self, count: int, labels: np.ndarray | None, *, temperature: float, seed: int, sharing: int = 1
    ) -> np.ndarray:
        """New images, (count, H, W, C) uint8; image i of a seed is the same whatever the count.

        Args:
            count: How many.
            labels: (count,) integers, or None.
            temperature: Standard deviation of the latents.
            seed: Of the latents.
            sharing: So many images in a row have the last latent of the first of them.
        """
        key = stream(seed, Purpose.SAMPLING)

        def own_and_last(rows: np.ndarray) -> list[jax.Array]:
            return [indexed_keys(key, jnp.asarray(indices)) for indices in (rows, rows - rows % sharing)]

        return self._in_chunks(partial(self._sample, temperature=temperature), own_and_last, count, labels)

    def _sample_one_chunk(
        self, parameters: Parameters, keys: jax.Array, last: jax.Array, labels: jax.Array | None, *, temperature: float
    ) -> jax.Array:
        latents, shared = (self._model.sample_latents(which, temperature=temperature) for which in (keys, last))
        return self._model.decode(parameters, (*latents[:-1], shared[-1]), labels)

    def _in_chunks(
        self, program: Any, of_rows: Callable[[np.ndarray], Sequence[Any]], count: int, labels: np.ndarray | None
    ) -> Any:
        """What a program gives for rows 0 to `count - 1`: for the parameters, what `of_rows` says, and the labels."""

        def call(rows: np.ndarray) -> Any:
            return program(self._parameters, *of_rows(rows), None if labels is None else labels[rows])

        with jax.default_matmul_precision(PRECISION):
            return in_batches(call, count, images_at_once(self._model.dimensions))


def save_latents(path: Path, trained: TrainedModel, split: ImageSplit, names: list[str], seed: int, warn: Say) -> None:
    """Write the latents of images, and see that they give the same images again.

    An npz with `level0`, `level1`, ..., `name`, `label` where there are some, and whose latents they are as JSON.

    Raises:
        WriteError: The file cannot be written.
    """
    coder, labels = Coder(trained), split.labels if trained.model.classes else None
    latents = coder.encode(split.images, labels, seed)
    arrays = {f"level{level}": values for level, values in enumerate(latents)}
    about = {**_identity(trained), "run": trained.run.name, "seed": seed}
    known = {} if labels is None else {"label": labels}
    write_bytes(path, npz_bytes({**arrays, "name": np.array(names), **known, "about": np.array(json.dumps(about))}))
    again = coder.decode(latents, labels)
    changed = np.flatnonzero((np.asarray(split.images[:]) != again).any(axis=(1, 2, 3)))
    if len(changed):
        first = names[changed[0]]
        warn(f"{len(changed)} images do not come back exactly from their latents, of which the first is {first}")


def decode_file(trained: TrainedModel, path: Path, most: int = LARGEST) -> tuple[np.ndarray, np.ndarray | None]:
    """The images of latents in a file of `save_latents`, (N, H, W, C) uint8; labels too if the model was told them.

    Raises:
        DataError: The file is missing or damaged.
        UsageError: Its latents are of another run, or of other weights, or of more than `most` images.
    """
    try:
        if kind_of(path) == "other":
            raise ValueError("it is not a regular file")
        if path.exists() and not is_zipfile(path):
            raise ValueError("it is no npz file")
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            arrays = {name: content[name] for name in content.files}
        about = json.loads(str(arrays["about"]))
        if any(about.get(name) != value for name, value in _identity(trained).items()):
            raise UsageError(
                f"{path} holds latents of run '{about.get('run')}' with the weights of step "
                f"{about.get('checkpoint_step')}, not of '{trained.run.name}' with those of step "
                f"{trained.checkpoint.step}",
                hint="name the run that made them; other weights would give other images",
            )
        latents = tuple(arrays[f"level{level}"] for level in range(len(trained.model.latent_shapes)))
        labels = arrays["label"] if trained.model.classes else None
        _check(trained, latents, labels)
        count = len(latents[0])
        if count > most:
            raise UsageError(f"{path} has {count:,} images, and {most:,} are drawn at most", hint="save fewer of them")
    except NPZ_ERRORS as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else one_line(error)
        what = "does not exist" if isinstance(error, FileNotFoundError) else f"holds no latents: {reason}"
        raise DataError(
            f"{path} {what}", hint="nf eval RUN --images X --save-latents FILE writes such a file"
        ) from error
    return Coder(trained).decode(latents, labels), labels


def _check(trained: TrainedModel, latents: tuple[np.ndarray, ...], labels: np.ndarray | None) -> None:
    count = len(latents[0])
    for level, (values, shape) in enumerate(zip(latents, trained.model.latent_shapes, strict=True)):
        if values.shape != (count, *shape) or values.dtype != np.float32 or not np.isfinite(values).all():
            raise ValueError(f"level{level} is not (N, {', '.join(map(str, shape))}) finite numbers of float32")
    known = np.arange(trained.model.classes)
    told = labels is None or (labels.shape == (count,) and labels.dtype.kind in "iu" and np.isin(labels, known).all())
    if count == 0 or not told:
        raise ValueError("it has no images, or no label for each")


def _identity(trained: TrainedModel) -> dict[str, Any]:
    return {"run_id": trained.config["id"], "checkpoint_step": trained.checkpoint.step}
