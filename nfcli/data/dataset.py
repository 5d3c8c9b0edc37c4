"""What every source of images becomes: three splits of uint8 arrays, in memory or, when they are large, in a file.

A source that says who is train, validation and test is believed. Otherwise a fixed permutation of its N images,
`numpy.random.default_rng(42).permutation(N)`, decides, so that the same images in the same order are always split the
same way:

    train and test given    the last N // 6 of the permuted training images are validation (of MNIST's 60,000, the first
                            50,000 train and the last 10,000 validate)
    nothing given           the last N // 7 are test, the N // 7 before them validation, the others train

N // 6 and N // 7 are at least 1. The permuted order is also the order of the images in their split.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nfcli.data.reading import CHUNK, shape_text, shown
from nfcli.data.store import AnyImages, Rows, select
from nfcli.data.transform import LEVELS
from nfcli.errors import DataError, UsageError
from nfcli.limits import SPLITS

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

MOST_CLASSES = 1000
"""More would be planes of an image that leave no room for the image."""

SPLIT_SEED = 42


@dataclass(frozen=True, eq=False)
class ImageSplit:
    """One split; its arrays are read-only views.

    Attributes:
        name: "train", "val" or "test".
        images: (N, H, W, C) uint8; an array, or `MappedImages`, which has its indexing.
        labels: (N,) int64, or None.

    Raises:
        ValueError: The arrays are not of these shapes and types.
    """

    name: str
    images: AnyImages
    labels: Labels | None = None

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be (N, H, W, C) uint8, not {self.images.shape} {self.images.dtype}")
        if self.labels is not None and (self.labels.shape != (len(self),) or self.labels.dtype != np.int64):
            raise ValueError(f"labels must be ({len(self)},) int64, not {self.labels.shape} {self.labels.dtype}")
        # A change in place would leave the cached fingerprint wrong; views leave the caller's own arrays writable.
        for field, array in (("images", self.images), ("labels", self.labels)):
            if isinstance(array, np.ndarray):
                view = array.view()
                view.flags.writeable = False
                object.__setattr__(self, field, view)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over type, shape and bytes of the images, in their order."""
        digest = hashlib.sha256(f"{self.images.dtype.name} {self.images.shape}\n".encode())
        step = max(1, CHUNK // math.prod(self.images.shape[1:]))
        for start in range(0, len(self), step):
            digest.update(np.ascontiguousarray(self.images[start : start + step]).data)
        return digest.hexdigest()

    def first(self, n: int | None) -> "ImageSplit":
        """The first `n` images, or all of them for None.

        Raises:
            UsageError: `n` is below 1, or more than there are.
        """
        if n is None or n == len(self):
            return self
        if not 1 <= n < len(self):
            asked = f"cannot take {n:,} images from the {self.name} split, which has {len(self):,}"
            raise UsageError(asked, hint=f"ask for 1 to {len(self)} images")
        return ImageSplit(self.name, *Part(self.images, self.labels).take(slice(n))[:2])


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one size, split for training.

    Attributes:
        name: Short, usable in a file name: "mnist", or the name of the folder or file.
        source: What to load again: "mnist", or an absolute path.
        levels: How many values a pixel can take.
        train, val, test: The splits, none of them empty.
        label_names: A word for each label from 0 on; empty where labels are just numbers.
    """

    name: str
    source: str
    levels: int
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit
    label_names: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels of an image."""
        _, height, width, channels = self.train.images.shape
        return height, width, channels

    def classes(self) -> int:
        """Number of classes, for a class-conditional model: labels are 0 up to one less.

        Raises:
            UsageError: Some split has no labels, or labels that the training images do not have.
        """
        labels = [self.split(name).labels for name in SPLITS]
        lacking = [name for name, known in zip(SPLITS, labels, strict=True) if known is None]
        if lacking:
            which = "" if len(lacking) == len(labels) else f" for its {' and '.join(lacking)} images"
            hint = (
                "sub-folders of images, IDX files and arrays of an npz (labels, or train_labels and so on) give labels"
            )
            raise UsageError(f"{self.source} has no labels{which}, and --conditional needs them", hint=hint)
        train, *others = (np.unique(known) for known in labels if known is not None)
        count = int(train[-1]) + 1
        if train[0] < 0 or count > MOST_CLASSES:
            hint = f"--conditional takes labels from 0 to {MOST_CLASSES - 1}; sub-folders by name are numbered so"
            raise UsageError(f"the labels of {self.source} go from {train[0]} to {train[-1]}", hint=hint)
        strange = next((int(label) for known in others for label in known if label not in train), None)
        if strange is not None:
            hint = "give every split the same classes"
            raise UsageError(f"label {strange} of {self.source} is in no training image", hint=hint)
        return count

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the levels and the splits' fingerprints: labels do not count."""
        parts = [str(self.levels), *(self.split(name).fingerprint for name in SPLITS)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @cached_property
    def labels_fingerprint(self) -> str:
        """SHA-256 of the labels of all splits, hexadecimal; the same images may be labelled in several ways."""
        known = [self.split(name).labels for name in SPLITS]
        return hashlib.sha256(b"\n".join(b"" if labels is None else labels.tobytes() for labels in known)).hexdigest()

    def split(self, name: str) -> ImageSplit:
        """A split by its name.

        Raises:
            UsageError: There is no such split.
        """
        if name not in SPLITS:
            raise UsageError(f"unknown split '{name}'", hint="splits: " + ", ".join(SPLITS))
        return getattr(self, name)


class Part(NamedTuple):
    """Images that a source keeps together: (N, H, W, C) uint8, and labels (N,) int64 or None with their words."""

    images: AnyImages
    labels: Labels | None
    names: tuple[str, ...] = ()

    def take(self, rows: Rows) -> "Part":
        """The images and labels at `rows`."""
        return Part(select(self.images, rows), None if self.labels is None else self.labels[rows], self.names)


def assemble(name: str, source: str, parts: Mapping[str, Part], *, levels: int = LEVELS) -> ImageDataset:
    """Make a dataset of what a source gave.

    Args:
        name, source: As in `ImageDataset`.
        parts: "train" and "test", perhaps "val"; or "all" alone.
        levels: Number of values of a pixel.

    Raises:
        DataError: Parts are missing, too small to split, differ in image size, or have labels of another length.
    """
    check_parts(source, parts)
    if "val" not in parts:
        whole, names, fraction = ("all", SPLITS, 7) if "all" in parts else ("train", SPLITS[:2], 6)
        parts = {**parts, **_divide(source, parts[whole], names, fraction)}
    train, val, test = (ImageSplit(split, *parts[split][:2]) for split in SPLITS)
    return ImageDataset(name, source, levels, train, val, test, parts["train"].names)


def check_parts(source: str, parts: Mapping[str, Part]) -> None:
    """See that parts make a dataset, as `assemble` says."""
    missing = [] if "all" in parts else [name for name in ("train", "test") if name not in parts]
    if missing:
        hint = f"add {' and '.join(missing)}, or give all images without a split to have them split"
        what = f"has {' and '.join(parts)} but no {' and no '.join(missing)} images"
        raise DataError(f"{shown(source)} {what}", hint=hint)
    first = next(iter(parts))
    for name, part in parts.items():
        shape, expected = (shape_text(images.shape[1:]) for images in (part.images, parts[first].images))
        if shape != expected:
            what = f"in {shown(source)} the {name} images are {shape}, but the {first} images {expected}"
            raise DataError(what, hint="all images must have the same height, width and channels")
        if part.labels is not None and len(part.labels) != len(part.images):
            which = "" if name == "all" else f"{name} "
            what = f"{shown(source)} has {len(part.images):,} {which}images but {len(part.labels):,} labels"
            raise DataError(what, hint="labels are optional; with them, each image needs one")


def _divide(source: str, part: Part, names: tuple[str, ...], fraction: int) -> dict[str, Part]:
    """Give every name but the first 1/`fraction` of the images, and the first the others."""
    count = len(part.images)
    if count < len(names):
        what = f"{shown(source)} has {count} image{'s' * (count > 1)}, too few to split into {', '.join(names)}"
        raise DataError(what, hint=f"it takes at least {len(names)}")
    held_out = max(1, count // fraction)
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    stops = [count - held_out * later for later in reversed(range(1, len(names)))]
    return {name: part.take(indices) for name, indices in zip(names, np.split(order, stops), strict=True)}
