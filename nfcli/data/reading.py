"""Paths, limits, and what decoders raise put into words.

Everything read here may be hostile: sizes are checked against the limits before anything is decoded, and no reader asks
a decompressor for more than the header promised.
"""

import math
import os
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from nfcli.errors import DataError, NFError

MAX_PIXELS = 64_000_000
"""Height times width that one image may have."""

MAX_BYTES = 100 * 2**30
"""Bytes that the images of one source may have as stored."""

MAX_ARRAY_BYTES = 4 * 2**30
"""Bytes of an array that has to be in memory as a whole: labels, and images that are not stored as plain bytes."""

CHUNK = 2**24
"""Bytes, about, that are read or hashed at a time."""

AnyPath = Path | str


def shown(path: AnyPath) -> str:
    """A path fit for a terminal: line breaks, escape codes and undecodable bytes are escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(path))


def absolute(path: AnyPath) -> Path:
    """The absolute path, with `~` and `..` resolved and symbolic links kept.

    Raises:
        DataError: The path is relative, and the working directory is gone.
    """
    with decoding("the working directory", "a folder"):
        # pathlib would follow links, and raise on the home of an unknown user
        return Path(os.path.abspath(os.path.expanduser(path)))  # noqa: PTH100, PTH111


def short_name(path: Path) -> str:
    """The folder's or file's name, reduced to what is safe in any file name."""
    stem = path.stem if path.suffix.lower() == ".npz" else path.name
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem)[:40].strip("-.") or "images"


def shape_text(shape: Sequence[int]) -> str:
    """A shape as people write it: 28x28x1."""
    return "x".join(str(size) for size in shape)


def kind_of(path: Path) -> Literal["file", "folder", "other", "missing"]:
    """What is at a path, links followed.

    Raises:
        DataError: It cannot be told, because a folder on the way may not be read, for example.
    """
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the path
        return "missing"
    except OSError as error:
        raise explain(path, "path", error) from error
    return "file" if S_ISREG(mode) else "folder" if S_ISDIR(mode) else "other"


def visible_entries(folder: Path) -> list[Path]:
    """A folder's entries in order of name, without hidden ones and those that archivers leave.

    Raises:
        DataError: The folder cannot be read.
    """
    with decoding(folder, "folder"):
        entries = sorted(folder.iterdir(), key=lambda entry: entry.name)
    return [entry for entry in entries if not entry.name.startswith((".", "__MACOSX"))]


def visible_folders(folder: Path) -> list[Path]:
    """Those of a folder's `visible_entries` that are folders."""
    return [entry for entry in visible_entries(folder) if kind_of(entry) == "folder"]


def check_size(path: AnyPath, shape: Sequence[int], itemsize: int = 1, *, in_memory: bool = False) -> None:
    """Refuse arrays that are empty, or too large to be meant.

    Args:
        path: Where they come from.
        shape: (N,) of labels, or (N, H, W) or (N, H, W, C) of images.
        itemsize: Bytes an element.
        in_memory: The array has to be in memory as a whole.

    Raises:
        DataError: A dimension is below 1, an image is over `MAX_PIXELS`, or the whole over its limit.
    """
    limit = min(MAX_ARRAY_BYTES, MAX_BYTES) if in_memory else MAX_BYTES
    text, size = shape_text(shape), math.prod(shape) * itemsize
    if min(shape) < 1:
        raise DataError(f"{shown(path)} is empty: its shape is {text}", hint="give at least one image")
    if math.prod(shape[1:3]) > MAX_PIXELS:
        claim = f"{shown(path)} claims an image of {shape[1]}x{shape[2]} pixels"
        raise DataError(claim, hint=f"the limit is {MAX_PIXELS:,} pixels an image")
    if size > limit:
        hint = f"the limit is {limit:,} bytes{' in memory' * in_memory}; use fewer or smaller images"
        raise DataError(f"{shown(path)} claims {text} values, which is {size:,} bytes", hint=hint)


def read_blocks(
    stream: BufferedIOBase, shape: Sequence[int], path: AnyPath, dtype: Any = np.uint8, *, whole: bool = False
) -> Iterator[NDArray[Any]]:
    """Check the size of an array, read it block by block along its first axis, and see that the stream ends there.

    At most one byte more is read: reading up to the end also makes gzip and zip compare their checksums.

    Args:
        stream: Stands behind the header.
        shape: What the header promises, (N, ...).
        path: Where it comes from.
        dtype: What an element is.
        whole: Make one block of all, which then has to be in memory.

    Yields:
        (n, ...) of that type, writable.

    Raises:
        DataError: As of `check_size`, or there are fewer or more bytes.
    """
    (count, *row), itemsize = shape, np.dtype(dtype).itemsize
    check_size(path, shape, itemsize, in_memory=whole)
    size = math.prod(row) * itemsize
    rows = count if whole else max(1, CHUNK // size)
    for start in range(0, count, rows):
        block = np.empty((min(rows, count - start), *row), dtype)
        data, position = block.reshape(-1).view(np.uint8).data, 0
        while position < len(data):
            # A piece at a time: a decompressor makes bytes of it first.
            read = stream.readinto(data[position : position + CHUNK])
            if not read:
                there = f"its header promises {count * size:,} bytes of data, and {start * size + position:,} follow"
                raise DataError(f"{shown(path)} is cut short: {there}", hint="get the file again")
            position += read
        yield block
    if stream.read(1):
        more = f"holds more than the {count * size:,} bytes of data that its header promises"
        raise DataError(f"{shown(path)} {more}", hint="get the file again")


@contextmanager
def decoding(path: AnyPath, kind: str) -> Iterator[None]:
    """Turn whatever a decoder raises into a `DataError` that names the file; what it warns of is dealt with here.

    Args:
        path: The file.
        kind: What it should be, as in "cannot read x as `kind`".

    Raises:
        DataError: The body raised any exception; those of this package pass through.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except NFError:
        raise
    except Exception as error:  # damaged bytes make decoders raise anything: struct.error, SyntaxError, IndexError ...
        raise explain(path, kind, error) from error


def explain(path: AnyPath, kind: str, error: Exception) -> DataError:
    """The `DataError` for what an operating system call or a decoder raised."""
    if isinstance(error, OSError) and error.strerror:
        hint = "check that it exists and that you may read it"
        return DataError(f"cannot read {shown(path)}: {error.strerror}", hint=hint)
    if isinstance(error, MemoryError):
        return DataError(f"not enough memory to read {shown(path)}", hint="use fewer or smaller images")
    reason = (str(error).splitlines() or [""])[0].rstrip(". ") or type(error).__name__
    return DataError(f"cannot read {shown(path)} as {kind}: {shown(reason)}", hint="it is damaged or mislabelled")
