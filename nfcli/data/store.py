"""Where images go that a reader delivers: into memory or, when there are many, into a file that is mapped.

The file is an ordinary .npy in the cache folder. It is used again as long as its source has not changed, so that a
large set is decoded once. Nothing depends on it: it may be deleted at any time between runs.
"""

import hashlib
import itertools
import math
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from nfcli.backend.runtime import cache_root
from nfcli.data.reading import check_size, shown
from nfcli.data.transform import Transform
from nfcli.errors import DataError, Say
from nfcli.process.signals import unfinished

IN_MEMORY = 2 * 2**30
"""Bytes of images that one part of a source may take in memory; more of them are mapped from a file."""

DECODED = 2
"""To be raised when the same files become other pixels than before: what was kept of them is stale then."""

SPARE = 2**30
"""Bytes that must stay free where the file is written."""

Blocks = Iterable[NDArray[np.uint8]]
"""(n, H, W, C) uint8 each, one after another."""


Rows = slice | NDArray[np.int64]


class MappedImages:
    """(N, H, W, C) uint8 in a file, in any order; read when they are asked for.

    Args:
        array: The file, mapped.
        rows: (N,) which of its images these are, and in which order; None for all as they are.
    """

    def __init__(self, array: np.memmap, rows: NDArray[np.int64] | None = None) -> None:
        self.array, self.rows = array, rows
        count = len(array) if rows is None else len(rows)
        self.shape, self.dtype, self.ndim = (count, *array.shape[1:]), array.dtype, array.ndim
        self.nbytes = math.prod(self.shape)  # what they would take in memory

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, index: Rows) -> NDArray[np.uint8]:
        """Read some of them, (n, H, W, C)."""
        return np.asarray(self.array[index if self.rows is None else self.rows[index]])

    def __array__(self, dtype: object = None, copy: bool | None = None) -> NDArray[np.uint8]:
        """Read all of them."""
        return self[:]

    def select(self, rows: Rows) -> "MappedImages":
        """Some of them, perhaps in another order; nothing is read."""
        return MappedImages(self.array, (np.arange(len(self.array)) if self.rows is None else self.rows)[rows])


AnyImages = NDArray[np.uint8] | MappedImages


def select(images: AnyImages, rows: Rows) -> AnyImages:
    """The images at `rows`; what is in a file stays there."""
    return images.select(rows) if isinstance(images, MappedImages) else images[rows]


class Intake:
    """Takes in the images of one source.

    Args:
        transform: What is done to every image.
        message: Called with a sentence that the user should know.
    """

    def __init__(self, transform: Transform | None = None, message: Say = lambda _: None) -> None:
        self.transform = Transform() if transform is None else transform
        self.message = message

    def take(self, path: Path | str, count: int, blocks: Blocks, files: Iterable[Path] = ()) -> AnyImages:
        """Transform the images of one part of the source, and keep them.

        Arguments, result and errors are those of `keep`, and errors of the transform; blocks may lack channels.
        """
        images = (block.reshape(*block.shape[:3], -1) for block in blocks)
        return self.keep(path, count, (self.transform(block, shown(path)) for block in images), files)

    def keep(self, path: Path | str, count: int, blocks: Blocks, files: Iterable[Path] = ()) -> AnyImages:
        """Keep images that are transformed already.

        Args:
            path: What an error calls the part, and what tells it from others.
            count: How many images follow.
            blocks: The images.
            files: Whose sizes and times tell whether the part is still the same.

        Returns:
            (N, H, W, C) uint8.

        Raises:
            DataError: From the reader, or there is no room for so many.
        """
        blocks = iter(blocks)
        first = next(blocks)
        shape = (count, *first.shape[1:])
        check_size(path, shape)
        blocks = itertools.chain([first], blocks)
        if math.prod(shape) <= IN_MEMORY:
            return _fill(np.empty(shape, np.uint8), blocks)
        digest = hashlib.sha256(f"{DECODED}\n{path}\n{self.transform!r}\n{shape}\n".encode("utf-8", "surrogateescape"))
        for file in files:
            status = file.stat()
            digest.update(f"{file}\n{status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape"))
        return MappedImages(_mapped(path, shape, blocks, digest.hexdigest()[:32]))


def _fill(images: NDArray[np.uint8], blocks: Blocks) -> NDArray[np.uint8]:
    position = 0
    for block in blocks:
        images[position : position + len(block)] = block
        position += len(block)
    if position != len(images):
        raise ValueError(f"{position} images came, not {len(images)}")
    return images


def _mapped(path: Path | str, shape: tuple[int, ...], blocks: Blocks, name: str) -> np.memmap:
    folder = cache_root() / "images"
    target = folder / f"{name}.npy"
    try:
        if not target.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _write(path, shape, blocks, target)
        mapped = np.load(target, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        hint = "NF_CACHE_DIR chooses another place; what is there may be deleted"
        raise DataError(f"cannot keep the images of {shown(path)} in {folder}: {error}", hint=hint) from error
    if mapped.shape != shape or mapped.dtype != np.uint8:
        raise DataError(f"{target} is damaged", hint="delete it: it will be written again")
    return mapped


def _write(path: Path | str, shape: tuple[int, ...], blocks: Blocks, target: Path) -> None:
    needed = math.prod(shape)
    free = shutil.disk_usage(target.parent).free
    if needed + SPARE > free:
        what = f"images of {shown(path)} take {needed / 2**30:,.1f} GiB, and {target.parent} has {free / 2**30:,.1f}"
        raise DataError(f"the {what}", hint="NF_CACHE_DIR chooses another place; or use fewer or smaller images")
    partial = target.with_name(f"{target.stem}.{os.getpid()}.part")
    with unfinished(partial):
        images = open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape)
        _fill(images, blocks)
        images.flush()
        partial.replace(target)
