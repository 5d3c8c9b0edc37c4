"""PNG and JPEG files to arrays.

Grayscale files (with or without transparency) have one channel; everything else, palettes included, becomes RGB.
Transparency is dropped, rotation tags are not applied, and of an animation the first picture counts.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nfcli.data.dataset import Images
from nfcli.data.files import MAX_PIXELS, check_size, decoding, kind_of, shape_text, shown
from nfcli.data.intake import AnyImages, Intake
from nfcli.data.transform import Transform
from nfcli.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
KIND = "a PNG or JPEG image"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24
"""Where a PNG file says how many bits a sample has."""

CHANNELS = {"1": 1, "L": 1, "LA": 1, "P": 3, "PA": 3, "RGB": 3, "RGBA": 3, "CMYK": 3, "YCbCr": 3}
"""Channels to read from each of Pillow's modes."""


def is_image_file(path: Path) -> bool:
    """Whether a path is to be read as an image, by its name; sub-folders are not.

    Raises:
        DataError: It is named like an image but is no file, a broken link for example.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    kind = kind_of(path)
    if kind in ("missing", "other"):
        raise DataError(
            f"{shown(path)} is {'a broken link' if kind == 'missing' else 'not a regular file'}",
            hint="remove it, or restore the image",
        )
    return kind == "file"


def read_images(paths: Sequence[Path], intake: Intake) -> AnyImages:
    """Read PNG and JPEG files of one size, or of any size if the intake makes them one.

    Args:
        paths: At least one file.
        intake: Takes them.

    Returns:
        (N, H, W, C) uint8 in the order of `paths`, C being 1 or 3.

    Raises:
        DataError: A file cannot be read, is damaged, has 16 bits a sample, differs from the first in size or channels,
            or the images are over the limits.
    """
    return intake.keep(paths[0].parent, len(paths), _blocks(paths, intake.transform), paths)


def _blocks(paths: Sequence[Path], transform: Transform) -> Iterator[Images]:
    """Each file as (1, H, W, C), transformed one by one because only then they have one size."""
    first: tuple[int, ...] | None = None
    for path in paths:
        # What Pillow warns of (huge sizes, odd transparency) is dealt with here.
        with warnings.catch_warnings(), decoding(path, KIND), path.open("rb") as stream:
            warnings.simplefilter("ignore")
            image, shape = _open(stream, path)
            if first is None:
                check_size(path.parent, (len(paths), *shape))
                first = shape
            if shape[-1] != first[-1] or (shape != first and not transform.fixes_size):
                raise _odd_one(path, shape, paths[0], first)
            pixels = _pixels(image, shape)
        yield transform(pixels[None], shown(path))


def decode(stream: BinaryIO, source: str) -> Images:
    """One PNG or JPEG file to (H, W, C) uint8.

    Raises:
        DataError: It is damaged, has 16 bits a sample, or is over the limits.
    """
    with warnings.catch_warnings(), decoding(source, KIND):
        warnings.simplefilter("ignore")
        return _pixels(*_open(stream, source))


def _pixels(image: Image, shape: tuple[int, int, int]) -> Images:
    return np.asarray(image.convert("L" if shape[-1] == 1 else "RGB")).reshape(shape)


def _open(stream: BinaryIO, path: Path | str) -> tuple[Image, tuple[int, int, int]]:
    """Read the header of an image: nothing is decoded yet."""
    from PIL import Image, UnidentifiedImageError

    header = stream.read(PNG_DEPTH + 1)
    if header.startswith(PNG_MAGIC) and header[PNG_DEPTH:] == b"\x10":
        raise DataError(f"{shown(path)} has 16 bits a sample", hint="convert it to 8 bits")
    stream.seek(0)
    try:
        image = Image.open(stream, formats=("PNG", "JPEG"))
    except UnidentifiedImageError as error:
        raise DataError(f"{shown(path)} is not {KIND}", hint="it is damaged or mislabelled") from error
    except Image.DecompressionBombError as error:
        hint = f"the limit is {MAX_PIXELS:,} pixels an image"
        raise DataError(f"{shown(path)} claims an image of absurd size", hint=hint) from error
    if image.mode not in CHANNELS:
        raise DataError(f"{shown(path)} has pixels of an unknown kind ({image.mode})", hint="convert it to 8-bit RGB")
    shape = (image.height, image.width, CHANNELS[image.mode])
    check_size(path, (1, *shape))
    return image, shape


def _odd_one(path: Path, shape: tuple[int, ...], first: Path, expected: tuple[int, ...]) -> DataError:
    hint = "all images must have the same height, width and channels"
    if shape[-1] == expected[-1]:
        hint += "; --resize and --crop make one size of many"
    else:
        hint += "; convert them to all gray or all colour"
    return DataError(
        f"{shown(path)} is {shape_text(shape)}, but {shown(first.name)} is {shape_text(expected)}", hint=hint
    )
