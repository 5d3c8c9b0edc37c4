"""IDX files: a magic number, big-endian dimensions, then bytes; often inside gzip. And MNIST itself, which ships.

Format: http://yann.lecun.com/exdb/mnist/ ("the IDX file format"). See `mnist/NOTICE.md` for MNIST's authors and
licence.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from nfcli.data.dataset import Part
from nfcli.data.reading import check_size, decoding, kind_of, read_exactly, read_rows, shown, visible_entries
from nfcli.data.store import AnyImages, Intake
from nfcli.errors import DataError

PREFIXES = {"train": "train", "test": "t10k"}
UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"

MNIST = Path(__file__).with_name("mnist")

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Published sums of MNIST's decompressed files."""

REINSTALL = "the installation is damaged; install the package again"


def load_mnist(intake: Intake) -> dict[str, Part]:
    """Load MNIST (LeCun, Cortes): 60,000 training and 10,000 test images of 28x28x1, with labels.

    Raises:
        DataError: A file of the package is missing or differs from the published one.
    """
    parts = {}
    for split, prefix in PREFIXES.items():
        images, labels = _published(f"{prefix}-images-idx3-ubyte", 3), _published(f"{prefix}-labels-idx1-ubyte", 1)
        parts[split] = Part(intake.take("mnist", len(images), [images[..., None]]), labels.astype(np.int64))
    return parts


def _published(name: str, dimensions: int) -> NDArray[np.uint8]:
    path = MNIST / f"{name}.gz"
    try:
        array = read_idx(path, dimensions)
    except DataError as error:
        raise DataError(error.message, hint=REINSTALL) from error
    digest = hashlib.md5(idx_header(array.shape), usedforsecurity=False)  # a header is its shape and nothing else
    digest.update(array.data)
    if digest.hexdigest() != MD5[name]:
        raise DataError(f"{shown(path)} differs from the published file (md5 of its content)", hint=REINSTALL)
    return array


def idx_header(shape: tuple[int, ...]) -> bytes:
    """The header of an IDX file of unsigned bytes with this shape."""
    return struct.pack(f">HBB{len(shape)}I", 0, UNSIGNED_BYTE, len(shape), *shape)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read one IDX file of unsigned bytes, in gzip or not, whatever its name says.

    Args:
        path: The file.
        dimensions: 3 for images, 1 for labels.

    Returns:
        uint8 with that many dimensions, writable.

    Raises:
        DataError: The file cannot be read, is damaged, is something else, or is over the limits.
    """
    with _opened(path, dimensions) as (stream, shape):
        check_size(path, shape, in_memory=True)
        return read_exactly(stream, math.prod(shape), path).reshape(shape)


def take_idx_images(path: Path, intake: Intake) -> AnyImages:
    """Take in an IDX file of images.

    Returns:
        (N, H, W, 1) uint8, transformed.

    Raises:
        DataError: As for `read_idx`.
    """
    with _opened(path, 3) as (stream, (count, height, width)):
        check_size(path, (count, height, width))
        rows = read_rows(stream, count, height * width, path)
        return intake.take(path, count, (block.reshape(-1, height, width, 1) for block in rows), [path])


@contextmanager
def _opened(path: Path, dimensions: int) -> Iterator[tuple[BinaryIO, tuple[int, ...]]]:
    """The bytes behind the header, and the shape that it promises."""
    with decoding(path, "an IDX file"), path.open("rb") as raw:
        zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        stream = cast("BinaryIO", gzip.GzipFile(fileobj=raw) if zipped else raw)
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
        yield stream, struct.unpack(f">{dimensions}I", header[4:])


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
