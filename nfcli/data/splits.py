"""Who is train, validation and test.

A source that says so is believed. Otherwise a fixed permutation of its N images, `numpy.random.default_rng(42)
.permutation(N)`, decides, so that the same images in the same order are always split the same way:

    train and test given    the last N // 6 of the permuted training images are validation (of MNIST's 60,000, the first
                            50,000 train and the last 10,000 validate)
    nothing given           the last N // 7 are test, the N // 7 before them validation, the others train

N // 6 and N // 7 are at least 1. The permuted order is also the order of the images in their split.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nfcli.data.dataset import SPLIT_NAMES, ImageDataset, ImageSplit, Labels
from nfcli.data.reading import shape_text, shown
from nfcli.data.store import AnyImages, select
from nfcli.data.transform import LEVELS
from nfcli.errors import DataError

SPLIT_SEED = 42


class Part(NamedTuple):
    """Images that a source keeps together: (N, H, W, C) uint8, and labels (N,) int64 or None."""

    images: AnyImages
    labels: Labels | None

    def take(self, indices: NDArray[np.int64]) -> Part:
        """The images and labels at `indices`."""
        return Part(select(self.images, indices), None if self.labels is None else self.labels[indices])


def assemble(name: str, source: str, parts: Mapping[str, Part], *, levels: int = LEVELS) -> ImageDataset:
    """Make a dataset of what a source gave.

    Args:
        name, source: As in `ImageDataset`.
        parts: "train" and "test", perhaps "val"; or "all" alone.
        levels: Number of values of a pixel.

    Raises:
        DataError: Parts are missing, too small to split, differ in image size, or have labels of another length.
    """
    _check_parts(source, parts)
    if "all" in parts:
        splits = _divide(source, parts["all"], SPLIT_NAMES, 7)
    elif "val" in parts:
        splits = dict(parts)
    else:
        splits = _divide(source, parts["train"], ("train", "val"), 6) | {"test": parts["test"]}
    train, val, test = (ImageSplit(split, *splits[split]) for split in SPLIT_NAMES)
    return ImageDataset(name, source, levels, train, val, test)


def _check_parts(source: str, parts: Mapping[str, Part]) -> None:
    missing = [] if "all" in parts else [name for name in ("train", "test") if name not in parts]
    if missing:
        raise DataError(
            f"{shown(source)} has {' and '.join(parts)} but no {' and no '.join(missing)} images",
            hint=f"add {' and '.join(missing)}, or give all images without a split to have them split",
        )
    first = next(iter(parts))
    for name, part in parts.items():
        shape, expected = (shape_text(images.shape[1:]) for images in (part.images, parts[first].images))
        if shape != expected:
            raise DataError(
                f"in {shown(source)} the {name} images are {shape}, but the {first} images {expected}",
                hint="all images must have the same height, width and channels",
            )
        if part.labels is not None and len(part.labels) != len(part.images):
            which = "" if name == "all" else f"{name} "
            raise DataError(
                f"{shown(source)} has {len(part.images):,} {which}images but {len(part.labels):,} labels",
                hint="labels are optional; with them, each image needs one",
            )


def _divide(source: str, part: Part, names: tuple[str, ...], fraction: int) -> dict[str, Part]:
    """Give every name but the first 1/`fraction` of the images, and the first the others."""
    count = len(part.images)
    if count < len(names):
        raise DataError(
            f"{shown(source)} has {count} image{'s' * (count > 1)}, too few to split into {', '.join(names)}",
            hint=f"it takes at least {len(names)}",
        )
    held_out = max(1, count // fraction)
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    stops = [count - held_out * later for later in reversed(range(1, len(names)))]
    return {name: part.take(indices) for name, indices in zip(names, np.split(order, stops), strict=True)}
