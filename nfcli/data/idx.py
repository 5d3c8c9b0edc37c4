"""IDX files, the format of MNIST: a magic number, big-endian dimensions, then bytes; often inside gzip.

Format: http://yann.lecun.com/exdb/mnist/ ("the IDX file format").
"""

from __future__ import annotations

import gzip
import math
import struct
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from nfcli.data.files import check_size, decoding, kind_of, read_exactly, read_rows, shown, visible_entries
from nfcli.data.splits import Part
from nfcli.data.store import AnyImages, Intake
from nfcli.errors import DataError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

PREFIXES = {"train": "train", "test": "t10k"}
UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of unsigned bytes with this shape."""
    return struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)


def read_idx(path: Path | Traversable, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, in gzip or not, whatever its name says.

    Args:
        path: The file.
        dimensions: 3 for images, 1 for labels.

    Returns:
        uint8 with that many dimensions, writable.

    Raises:
        DataError: The file cannot be read, is damaged, is something else, or is over the limits.
    """
    with decoding(path, "an IDX file"), path.open("rb") as raw, _unzipped(cast("BinaryIO", raw)) as stream:
        shape = _read_shape(stream, path, dimensions)
        check_size(path, shape, in_memory=True)
        return read_exactly(stream, math.prod(shape), path).reshape(shape)


def take_idx_images(path: Path, intake: Intake) -> AnyImages:
    """Take in an IDX file of images.

    Returns:
        (N, H, W, 1) uint8, transformed.

    Raises:
        DataError: As for `read_idx`.
    """
    with decoding(path, "an IDX file"), path.open("rb") as raw, _unzipped(cast("BinaryIO", raw)) as stream:
        shape = _read_shape(stream, path, 3)
        check_size(path, shape)
        count, height, width = shape
        rows = read_rows(stream, count, height * width, path)
        return intake.take(path, count, (block.reshape(-1, height, width, 1) for block in rows), [path])


def _unzipped(raw: BinaryIO) -> BinaryIO:
    zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
    raw.seek(0)
    return cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if zipped else raw


def _read_shape(stream: BinaryIO, path: Path | Traversable, dimensions: int) -> tuple[int, ...]:
    magic = idx_header((0,) * dimensions)[:4]
    header = stream.read(4 + 4 * dimensions)
    if header[:4] != magic:
        raise DataError(
            f"{shown(path)} starts with {header[:4].hex(' ') or 'nothing'}, "
            f"not with the IDX magic number {magic.hex(' ')}",
            hint=f"expected an IDX file of unsigned bytes with {dimensions} dimension{'s' * (dimensions > 1)}",
        )
    if len(header) < 4 + 4 * dimensions:
        raise DataError(f"{shown(path)} ends inside its IDX header", hint="get the file again")
    return struct.unpack(f">{dimensions}I", header[4:])


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds IDX images under one of their standard names.

    Raises:
        DataError: The folder cannot be read.
    """
    present = {entry.name for entry in visible_entries(folder)}
    return any(name in present for prefix in PREFIXES.values() for name in _names(prefix, "images", 3))


def load_idx_folder(folder: Path, intake: Intake) -> dict[str, Part]:
    """Read the standard files `{train,t10k}-images-idx3-ubyte` and, where present, `{train,t10k}-labels-idx1-ubyte`.

    Each may end in `.gz` and have a dot before `idx`.

    Returns:
        The parts "train" and "test"; their images have one channel.

    Raises:
        DataError: Images are missing, or a file is damaged or over the limits.
    """
    parts = {}
    for split, prefix in PREFIXES.items():
        images = _find(folder, prefix, "images", 3)
        if images is None:
            raise DataError(f"{shown(folder)} has no {prefix}-images-idx3-ubyte", hint=f"add it, for the {split} split")
        labels = _find(folder, prefix, "labels", 1)
        parts[split] = Part(
            images=take_idx_images(images, intake),
            labels=None if labels is None else read_idx(labels, 1).astype(np.int64),
        )
    return parts


def _names(prefix: str, content: str, dimensions: int) -> list[str]:
    return [f"{prefix}-{content}{dot}idx{dimensions}-ubyte{end}" for end in ("", ".gz") for dot in "-."]


def _find(folder: Path, prefix: str, content: str, dimensions: int) -> Path | None:
    paths = (folder / name for name in _names(prefix, content, dimensions))
    return next((path for path in paths if kind_of(path) == "file"), None)
