"""IDX files: a magic number, big-endian dimensions, then bytes; often inside gzip. And MNIST itself, which ships.

Format: http://yann.lecun.com/exdb/mnist/ ("the IDX file format"). See `mnist/NOTICE.md` for MNIST's authors and
licence.
"""

import gzip
import hashlib
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfcli.data.dataset import Part
from nfcli.data.reading import decoding, kind_of, read_blocks, shown, visible_entries
from nfcli.data.store import Intake
from nfcli.errors import REINSTALL, DataError

PREFIXES = {"train": "train", "test": "t10k"}
IMAGES, LABELS = "images-idx3-ubyte", "labels-idx1-ubyte"
"""A file's standard name is its prefix and one of these; it may end in `.gz` and have a dot before `idx`."""

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


def load_mnist(intake: Intake) -> dict[str, Part]:
    """Load MNIST (LeCun, Cortes): 60,000 training and 10,000 test images of 28x28x1, with labels.

    Raises:
        DataError: A file of the package is missing or differs from the published one.
    """
    parts = {}
    for split, prefix in PREFIXES.items():
        images, labels = _published(f"{prefix}-{IMAGES}", 3), _published(f"{prefix}-{LABELS}", 1)
        parts[split] = Part(intake.take("mnist", len(images), [images]), labels.astype(np.int64))
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
        (array,) = read_blocks(stream, shape, path, whole=True)  # takes it to its end, where it looks for more bytes
    return array


@contextmanager
def _opened(path: Path, dimensions: int) -> Iterator[tuple[BufferedIOBase, tuple[int, ...]]]:
    """The bytes behind the header, and the shape that it promises."""
    with decoding(path, "an IDX file"), path.open("rb") as raw:
        zipped = raw.read(len(GZIP_MAGIC)) == GZIP_MAGIC
        raw.seek(0)
        stream = gzip.GzipFile(fileobj=raw) if zipped else raw
        magic = idx_header((0,) * dimensions)[:4]
        header = stream.read(4 + 4 * dimensions)
        if header[:4] != magic:
            found = f"starts with {header[:4].hex(' ') or 'nothing'}, not with the IDX magic number {magic.hex(' ')}"
            hint = f"expected an IDX file of unsigned bytes with {dimensions} dimension{'s' * (dimensions > 1)}"
            raise DataError(f"{shown(path)} {found}", hint=hint)
        if len(header) < 4 + 4 * dimensions:
            raise DataError(f"{shown(path)} ends inside its IDX header", hint="get the file again")
        yield stream, struct.unpack(f">{dimensions}I", header[4:])


def is_idx_folder(folder: Path) -> bool:
    """Whether a folder holds IDX images under one of their standard names.

    Raises:
        DataError: The folder cannot be read.
    """
    names = re.compile(rf"({'|'.join(PREFIXES.values())})-images[-.]idx3-ubyte(\.gz)?")
    return any(names.fullmatch(entry.name) for entry in visible_entries(folder))


def load_idx_folder(folder: Path, intake: Intake) -> dict[str, Part]:
    """Read the standard files of images and, where present, of their labels.

    Returns:
        The parts "train" and "test"; their images have one channel.

    Raises:
        DataError: Images are missing, or a file is damaged or over the limits.
    """
    parts = {}
    for split, prefix in PREFIXES.items():
        path, labels = _find(folder, f"{prefix}-{IMAGES}"), _find(folder, f"{prefix}-{LABELS}")
        if path is None:
            raise DataError(f"{shown(folder)} has no {prefix}-{IMAGES}", hint=f"add it, for the {split} split")
        with _opened(path, 3) as (stream, shape):
            images = intake.take(path, shape[0], read_blocks(stream, shape, path), [path])
        parts[split] = Part(images, None if labels is None else read_idx(labels, 1).astype(np.int64))
    return parts


def _find(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{one}{end}" for end in ("", ".gz") for one in (name, name.replace("-idx", ".idx")))
    return next((path for path in paths if kind_of(path) == "file"), None)
