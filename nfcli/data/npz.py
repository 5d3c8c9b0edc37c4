"""Arrays in an npz file, read without `numpy.load`: sizes are checked before anything is decompressed.

    images                                       to be split, with `labels` or `y`
    train, test and perhaps val                  with `train_labels` ...
    train_images, test_images, val_images        the same
    x_train, x_test, x_val                       with `y_train` ...

A single array under any name counts as `images`. Images are (N, H, W) or (N, H, W, C) integers from 0 to 255, C being 1
or 3; labels are (N,) integers.
"""

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.lib import format as npy

from nfcli.data.dataset import Labels, Part
from nfcli.data.reading import MAX_BYTES, decoding, read_blocks, shown
from nfcli.data.store import AnyImages, Intake
from nfcli.errors import DataError
from nfcli.limits import SPLITS

KIND = "an npz file"
HEADER_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}
IMAGE_KEYS = {"all": ("images",)} | {name: (name, f"{name}_images", f"x_{name}") for name in SPLITS}
LABEL_KEYS = {"all": ("labels", "y")} | {name: (f"{name}_labels", f"y_{name}") for name in SPLITS}
MAX_HEADER = 2**14
"""Bytes of an npy header: numpy reads as many as a header claims to have before it finds that too long."""

MAX_RATIO, ANY_RATIO = 100, 2**30
"""How much smaller than its arrays a file may be, unless they have no more bytes than this.

Deflate makes 1000 bytes of zeros one; images take rather a fifth of their bytes.
"""

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""What numpy writes; Python's readers of the other methods decompress without a bound."""

OF_FLOATS = "save integers from 0 to 255: numpy.round(images * 255).astype('uint8') if they are in [0, 1]"
OF_OTHERS = "save an array of type uint8 with values from 0 to 255"


class _Member(NamedTuple):
    archive: zipfile.ZipFile
    info: zipfile.ZipInfo
    path: str


_Header = tuple[tuple[int, ...], bool, np.dtype[Any]]
"""Shape, whether columns come first, and type."""


def load_npz(path: Path, intake: Intake, *, splits: bool = True, labelled: bool = True) -> dict[str, Part]:
    """Read a dataset.

    Args:
        path: The file.
        intake: Takes the images.
        splits: Without them one array of images counts, `images` or the only one that is no labels.
        labelled: Whether labels are looked at.

    Returns:
        The parts "train", "test" and perhaps "val"; or "all".

    Raises:
        DataError: The file cannot be read, is damaged, holds other arrays than those above, or is over the limits.
    """
    with decoding(path, KIND), zipfile.ZipFile(path) as archive:
        arrays = {one.filename.removesuffix(".npy"): one for one in archive.infolist() if one.filename.endswith(".npy")}
        members = {key: _Member(archive, info, f"{path}[{key}]") for key, info in arrays.items()}
        images = _pick(path, members, IMAGE_KEYS if splits else {"all": ("images",)})
        labels = _pick(path, members, LABEL_KEYS if labelled else {})
        if "all" in images and len(images) > 1:
            raise DataError(f"{shown(path)} has both 'images' and splits", hint="keep one form")
        images = images or {"all": _only(path, members, "name them 'images'" + ", or 'train' and 'test'" * splits)}
        labels = {part: member for part, member in labels.items() if part in images}
        _check_total(path, [*images.values(), *labels.values()])
        return {
            part: Part(_take_images(member, path, intake), _read_labels(labels[part]) if part in labels else None)
            for part, member in images.items()
        }


def _pick(path: Path, members: dict[str, _Member], keys: Mapping[str, Sequence[str]]) -> dict[str, _Member]:
    """The array of each part that has one, under one of its keys."""
    picked: dict[str, _Member] = {}
    for part, wanted in keys.items():
        found = [key for key in wanted if key in members]
        if len(found) > 1:
            raise DataError(f"{shown(path)} has both '{found[0]}' and '{found[1]}'", hint="keep one of them")
        if found:
            picked[part] = members[found[0]]
    return picked


def _only(path: Path, members: dict[str, _Member], hint: str) -> _Member:
    images = [member for key, member in members.items() if key not in LABEL_KEYS["all"]]
    if len(images) != 1:
        listing = ", ".join(shown(key) for key in list(members)[:10]) or "no arrays at all"
        raise DataError(f"{shown(path)} does not say which of its arrays are images: it holds {listing}", hint=hint)
    return images[0]


def _check_total(path: Path, members: list[_Member]) -> None:
    total = sum(member.info.file_size for member in members)
    if total > MAX_BYTES:
        hint = f"the limit is {MAX_BYTES:,} bytes; use fewer or smaller images"
        raise DataError(f"{shown(path)} unpacks to {total:,} bytes", hint=hint)
    size = path.stat().st_size
    if total > max(ANY_RATIO, MAX_RATIO * size):
        hint = "if they are meant, save them with numpy.savez, which does not compress"
        raise DataError(f"{shown(path)} of {size:,} bytes unpacks to {total:,}: hardly images", hint=hint)


def _take_images(member: _Member, file: Path, intake: Intake) -> AnyImages:
    path = member.path
    with _opened(member, "(N, H, W) or (N, H, W, C)", dimensions=(3, 4)) as (stream, (shape, columns_first, dtype)):
        if shape[3:] not in ((), (1,), (3,)):
            hint = "channels come last, and there may be 1 or 3 of them"
            raise DataError(f"{shown(path)} has {shape[-1]} channels: its shape is {shape}", hint=hint)
        if dtype == np.uint8 and not columns_first:
            return intake.take(path, shape[0], read_blocks(stream, shape, path), [file])
        (array,) = read_blocks(stream, shape, path, dtype, whole=True)
    low, high = int(array.min()), int(array.max())
    if low < 0 or high > 255:
        raise DataError(f"{shown(path)} has values from {low} to {high}", hint="pixels must be 0 to 255")
    images = (array.reshape(shape[::-1]).T if columns_first else array).astype(np.uint8)
    return intake.take(path, shape[0], [images], [file])


def _read_labels(member: _Member) -> Labels:
    advice = "labels are integers from 0 on, one an image"
    with _opened(member, "(N,)", dimensions=(1,), advice=advice) as (stream, (shape, _, dtype)):
        (labels,) = read_blocks(stream, shape, member.path, dtype, whole=True)
    return labels.astype(np.int64)


@contextmanager
def _opened(
    member: _Member, wanted: str, dimensions: tuple[int, ...], advice: str | None = None
) -> Iterator[tuple[io.BufferedIOBase, _Header]]:
    """The bytes of an array of integers, behind its header."""
    archive, info, path = member
    if info.compress_type not in METHODS:
        raise DataError(f"{shown(path)} is compressed in a way that numpy does not use", hint="save it with numpy")
    with decoding(path, "a numpy array"), cast("io.BufferedIOBase", archive.open(info)) as stream:
        header = shape, _, dtype = _read_header(stream, path)
        if dtype.kind not in "iu":
            what = "Python objects" if dtype.hasobject else f"values of type {dtype}"
            advice = advice or (OF_FLOATS if dtype.kind == "f" else OF_OTHERS)
            raise DataError(f"{shown(path)} holds {what}, not integers", hint=advice)
        if len(shape) not in dimensions:
            raise DataError(f"{shown(path)} has the shape {shape}", hint=f"expected {wanted}")
        yield stream, header


def _read_header(stream: io.BufferedIOBase, path: str) -> _Header:
    start = io.BytesIO(stream.read(MAX_HEADER))
    version = npy.read_magic(start)
    if version not in HEADER_READERS:
        number = ".".join(map(str, version))
        raise DataError(f"{shown(path)} is no plain array (npy version {number})", hint="save an array of integers")
    header: _Header = HEADER_READERS[version](start)
    stream.seek(start.tell())
    return header
