"""PNG and JPEG files to arrays.

Grayscale files (with or without transparency) have one channel; everything else, palettes included, becomes RGB.
Transparency is dropped, images are turned as their EXIF says, and of several pictures in a file the first counts: what
was converted is counted and said.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from nfcli.data.dataset import Images
from nfcli.data.reading import MAX_PIXELS, check_size, decoding, kind_of, shape_text, shown
from nfcli.data.store import AnyImages, Intake
from nfcli.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg")
KIND = "a PNG or JPEG image"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_DEPTH = 24
"""Where a PNG file says how many bits a sample has."""

GRAY = {"1": "1-bit to 8-bit", "L": "", "LA": "gray with transparency to gray"}
PALETTE = dict.fromkeys(("P", "PA"), "palette to RGB")
COLOUR = {"RGB": "", **PALETTE, **{mode: f"{mode} to RGB" for mode in ("RGBA", "CMYK", "YCbCr")}}
"""Pillow's modes that become one channel and three, and what is said of those that are not taken as they are."""

ORIENTATION = 0x0112
"""The tag of EXIF."""

TURNS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"]
"""What makes an image upright, as Pillow calls it, whose tag says 2, 3 and so on up to 8."""


def is_image_file(path: Path) -> bool:
    """Whether a path is to be read as an image, by its name; sub-folders are not.

    Raises:
        DataError: It is named like an image but is no file, a broken link for example.
    """
    if path.suffix.lower() not in SUFFIXES:
        return False
    kind = kind_of(path)
    if kind in ("missing", "other"):
        what = "a broken link" if kind == "missing" else "not a regular file"
        raise DataError(f"{shown(path)} is {what}", hint="remove it, or restore the image")
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
    return intake.keep(paths[0].parent, len(paths), _blocks(paths, intake), paths)


def _blocks(paths: Sequence[Path], intake: Intake) -> Iterator[Images]:
    """Each file as (1, H, W, C), transformed one by one because only then they have one size."""
    first: tuple[int, ...] | None = None
    converted, done = 0, Counter[str]()
    for path in paths:
        with decoding(path, KIND), path.open("rb") as stream:
            image = _open(stream, path)
            upright = _upright(image)
            changes = _changes(image, turned=upright is not image)
            pixels = _pixels(upright)
        if first is None:
            first = pixels.shape
            check_size(path.parent, (len(paths), *first))
        alike = pixels.shape[-1] == first[-1]
        if pixels.shape != first and not (alike and intake.transform.fixes_size):
            what = f"{shown(path)} is {shape_text(pixels.shape)}, but {shown(paths[0].name)} is {shape_text(first)}"
            sizes = "--resize and --crop of nf train make one size of many"
            advice = sizes if alike else "convert them to all gray or all colour"
            raise DataError(what, hint=f"all images must have the same height, width and channels; {advice}")
        converted += bool(changes)
        done.update(changes)
        yield intake.transform(pixels[None], shown(path))
    if converted:
        listing = ", ".join(f"{count:,} {what}" for what, count in done.most_common())
        intake.message(f"note: {converted:,} of {len(paths):,} images converted: {listing}")


def _upright(image: "Image") -> "Image":
    """The image turned as its EXIF says; itself if that is not at all."""
    from PIL.Image import Transpose

    image.load()  # a PNG may say so behind its pixels
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    except Exception:  # damaged EXIF: like any viewer of images, take them as they are
        return image
    return image.transpose(Transpose[TURNS[int(orientation) - 2]]) if orientation in range(2, 9) else image


def _changes(image: "Image", *, turned: bool) -> list[str]:
    """What is done to an image on its way in, in words."""
    keyed = "transparency" in image.info and image.mode not in ("LA", "PA", "RGBA")
    several = getattr(image, "n_frames", 1) > 1
    done = [(GRAY | COLOUR)[image.mode], "with a transparent colour made opaque" * keyed]
    done += ["turned as EXIF says" * turned, "of several pictures to the first" * several]
    return [words for words in done if words]


def decode(stream: BinaryIO, source: str) -> Images:
    """One PNG or JPEG file to (H, W, C) uint8.

    Raises:
        DataError: It is damaged, has 16 bits a sample, or is over the limits.
    """
    with decoding(source, KIND):
        return _pixels(_open(stream, source))


def _pixels(image: "Image") -> Images:
    gray = image.mode in GRAY
    return np.asarray(image.convert("L" if gray else "RGB")).reshape(image.height, image.width, 1 if gray else 3)


def _open(stream: BinaryIO, path: Path | str) -> "Image":
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
    if image.mode not in GRAY | COLOUR:
        raise DataError(f"{shown(path)} has pixels of an unknown kind ({image.mode})", hint="convert it to 8-bit RGB")
    check_size(path, (1, image.height, image.width, 1 if image.mode in GRAY else 3))
    return image
