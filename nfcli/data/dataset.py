"""What every source of images becomes: three splits of uint8 arrays, in memory or, when they are large, in a file."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nfcli.data.store import AnyImages, select
from nfcli.errors import UsageError

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

HASHED_AT_ONCE = 2**24
"""Bytes, about."""

MOST_CLASSES = 1000
"""More would be planes of an image that leave no room for the image."""

SPLIT_NAMES = ("train", "val", "test")


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
        for field in ("images", "labels"):
            if isinstance(getattr(self, field), np.ndarray):
                view = getattr(self, field).view()
                view.setflags(write=False)
                object.__setattr__(self, field, view)

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over type, shape and bytes of the images, in their order."""
        digest = hashlib.sha256(f"{self.images.dtype.name} {self.images.shape}\n".encode())
        step = max(1, HASHED_AT_ONCE // math.prod(self.images.shape[1:]))
        for start in range(0, len(self), step):
            digest.update(np.ascontiguousarray(self.images[start : start + step]).data)
        return digest.hexdigest()

    def first(self, n: int | None) -> ImageSplit:
        """The first `n` images, or all of them for None.

        Raises:
            UsageError: `n` is below 1, or more than there are.
        """
        if n is None or n == len(self):
            return self
        if not 1 <= n < len(self):
            raise UsageError(
                f"cannot take {n:,} images from the {self.name} split, which has {len(self):,}",
                hint=f"ask for 1 to {len(self)} images",
            )
        labels = None if self.labels is None else self.labels[:n]
        return replace(self, images=select(self.images, slice(n)), labels=labels)


@dataclass(frozen=True, eq=False)
class ImageDataset:
    """Images of one size, split for training.

    Attributes:
        name: Short, usable in a file name: "mnist", or the name of the folder or file.
        source: What to load again: "mnist", or an absolute path.
        levels: How many values a pixel can take.
        train, val, test: The splits, none of them empty.
    """

    name: str
    source: str
    levels: int
    train: ImageSplit
    val: ImageSplit
    test: ImageSplit

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
        labels = [self.split(name).labels for name in SPLIT_NAMES]
        if any(known is None for known in labels):
            raise UsageError(
                f"{self.source} has no labels, and --conditional needs them",
                hint="sub-folders of PNG or JPEG files, IDX files and the arrays labels of an npz give labels",
            )
        train, *others = (np.unique(known) for known in labels if known is not None)
        count = int(train[-1]) + 1
        if train[0] < 0 or count > MOST_CLASSES:
            raise UsageError(
                f"the labels of {self.source} go from {train[0]} to {train[-1]}",
                hint=f"--conditional takes labels from 0 to {MOST_CLASSES - 1}; sub-folders by name are numbered so",
            )
        strange = next((int(label) for known in others for label in known if label not in train), None)
        if strange is not None:
            raise UsageError(
                f"label {strange} of {self.source} is in no training image", hint="give every split the same classes"
            )
        return count

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over the levels and the splits' fingerprints: labels do not count."""
        parts = [str(self.levels), *(self.split(name).fingerprint for name in SPLIT_NAMES)]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def split(self, name: str) -> ImageSplit:
        """A split by its name.

        Raises:
            UsageError: There is no such split.
        """
        if name not in SPLIT_NAMES:
            raise UsageError(f"unknown split '{name}'", hint="splits: " + ", ".join(SPLIT_NAMES))
        split: ImageSplit = getattr(self, name)
        return split
