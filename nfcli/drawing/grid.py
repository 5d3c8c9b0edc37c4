"""Images side by side, samples and interpolations: as pixels, and as a picture with captions."""

import math
from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfcli.drawing import style
from nfcli.errors import UsageError
from nfcli.files import write_bytes
from nfcli.runs.outputs import SIGNATURE

Pixels = NDArray[np.uint8]

Places = Collection[int]
"""Of images in a grid, by index."""

MOST_PIXELS = 2**28
"""Of a grid."""

GAP = 168
"""Grey between the tiles, far enough from black and from white that either stays separable."""

MARK = (213, 94, 0)
"""RGB of the frame around real images: vermilion of the Okabe-Ito palette."""

COMFORTABLE_SIDE = 84
"""Pixels that the longer side of a tile should have at least roughly: 28x28 images are tripled."""

LETTER = 18
"""Pixels that letters of a caption are high, where the tiles leave room for them."""

LETTER_WIDTH = 0.68
"""Of its height, about, for the wider ones."""


def image_grid(
    images: Pixels, columns: int, *, levels: int = 256, scale: int | None = None, padding: int = 2, framed: Places = ()
) -> Pixels:
    """Lay images out row by row on grey ground; places left over in the last row stay grey.

    Args:
        images: (N, H, W, C) uint8, C = 1 (grey) or 3 (RGB).
        columns: Images a row; fewer images than that make a narrower grid.
        levels: Number of values of a pixel; the highest is drawn in white.
        scale: Pixels along each side that one pixel becomes; None picks what is comfortable to look at.
        padding: Pixels between the tiles and around the grid.
        framed: Which images get a coloured frame; it lies in the padding, so that every pixel remains visible.

    Returns:
        (rows * (H * scale + padding) + padding, columns * (W * scale + padding) + padding, C or, with frames, 3) uint8.

    Raises:
        UsageError: The array is no stack of images, or a number makes no sense.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.size == 0 or images.shape[3] not in (1, 3):
        hint = "give uint8 pixels of shape (images, H, W, C) with 1 channel (grey) or 3 channels (RGB)"
        raise UsageError(f"no grid can be made of an array of shape {images.shape} and type {images.dtype}", hint=hint)
    if scale is None:
        # Half up, unlike `round`, so that the scale does not depend on whether the number below is even.
        scale = max(1, math.floor(COMFORTABLE_SIDE / max(images.shape[1:3]) + 0.5))
    if columns < 1 or padding < 0 or scale < 1:
        raise UsageError(
            f"a grid of {columns} columns with a padding of {padding} pixels and a scale of {scale} cannot be drawn",
            hint="columns and scale must be at least 1, and the padding at least 0",
        )
    check_size(len(images), columns, images.shape[1:], scale)
    tiles = spread(images, levels).repeat(scale, axis=1).repeat(scale, axis=2)
    if framed:
        tiles = tiles.repeat(3 // tiles.shape[3], axis=3)
    count, height, width, channels = tiles.shape
    columns = min(columns, count)
    rows, border = -(-count // columns), padding // 3
    shape = (rows * (height + padding) + padding, columns * (width + padding) + padding, channels)
    canvas = np.full(shape, GAP, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, columns)
        top, left = padding + row * (height + padding), padding + column * (width + padding)
        if index in framed:
            canvas[top - border : top + height + border, left - border : left + width + border] = MARK
        canvas[top : top + height, left : left + width] = tile
    return canvas


def interpolation_grid(frames: Pixels, *, levels: int = 256, scale: int | None = None) -> Pixels:
    """One row a pair of images, with a coloured frame around the first and the last: those two are real.

    Args:
        frames: (pairs, steps, H, W, C) uint8, C = 1 (grey) or 3 (RGB).
        levels, scale: As in `image_grid`.

    Returns:
        As `image_grid`, in RGB.
    """
    pairs, steps = frames.shape[:2]
    ends = {index for index in range(pairs * steps) if index % steps in (0, steps - 1)}
    images = frames.reshape(-1, *frames.shape[2:])
    return image_grid(images, steps, levels=levels, scale=scale, padding=6, framed=ends)


def check_size(count: int, columns: int, shape: tuple[int, ...], scale: int | None) -> None:
    """Refuse a grid that no viewer would open, as soon as its numbers are known.

    Args:
        count, columns: Images in all and in a row.
        shape: Of an image, (H, W, C).
        scale: Pixels along each side that one pixel becomes.

    Raises:
        UsageError: It would have more than `MOST_PIXELS`.
    """
    pixels = -(-count // columns) * columns * shape[0] * shape[1] * (scale or 1) ** 2
    if pixels > MOST_PIXELS:
        hint = f"use a smaller --scale or fewer images, for at most {MOST_PIXELS:,}"
        raise UsageError(f"a grid of {pixels:,} pixels is not possible", hint=hint)


def save_grid(
    pixels: Pixels, path: Path, *, dpi: int | None = None, rows: Sequence[str] = (), columns: Sequence[str] = ()
) -> None:
    """Write a grid; the same grid always gives the same bytes, and no pixel is blurred.

    Args:
        pixels: (H, W, C) from `image_grid`.
        path: A .png, .pdf or .svg file.
        dpi: Pixels an inch.
        rows: Captions left of the rows, one each; none for no captions.
        columns: The same above the columns.

    Raises:
        WriteError: The file cannot be written.
    """
    if path.suffix.lower() == ".png" and not rows and not columns:
        write_bytes(path, encode_png(pixels, dpi))
        return
    height, width, channels = pixels.shape
    dpi = dpi or style.DPI
    room = [height / len(rows)] if rows else []
    room += [width / len(columns) / (LETTER_WIDTH * max(map(len, columns)))] if columns else []
    letter = min([LETTER, *(0.8 * pixels for pixels in room)])
    left = math.ceil(letter * (LETTER_WIDTH * max(map(len, rows)) + 1)) if rows else 0
    top = math.ceil(2 * letter) if columns else 0
    # A little more than whole numbers, which dividing and multiplying must not fall short of.
    size = ((left + width + 1e-3) / dpi, (top + height + 1e-3) / dpi)
    font = {"fontsize": letter * 72 / dpi, "color": style.INK}
    with style.figure(path, *size, dpi=dpi, constrained=False) as figure:
        axes = figure.add_axes((left / (left + width), 0, width / (left + width), height / (top + height)))
        axes.set_axis_off()
        axes.imshow(pixels.repeat(3 // channels, axis=2), interpolation="none", aspect="auto")
        for row, text in enumerate(rows):
            at = (-0.5 * letter / width, 1 - (row + 0.5) / len(rows))
            axes.text(*at, text, transform=axes.transAxes, ha="right", va="center", **font)
        for column, text in enumerate(columns):
            at = ((column + 0.5) / len(columns), 1 + 0.5 * letter / height)
            axes.text(*at, text, transform=axes.transAxes, ha="center", va="bottom", **font)


def encode_png(pixels: Pixels, dpi: int | None = None) -> bytes:
    """(H, W, 1) grey or (H, W, 3) RGB pixels as a PNG; the same pixels always give the same bytes."""
    from PIL import Image, PngImagePlugin

    buffer, said = BytesIO(), PngImagePlugin.PngInfo()
    said.add_text("Software", SIGNATURE)
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.save(buffer, format="PNG", optimize=True, pnginfo=said, **({"dpi": (dpi, dpi)} if dpi else {}))
    return buffer.getvalue()


def spread(images: Pixels, levels: int) -> Pixels:
    """Values 0..levels-1 to 0..255."""
    if levels == 256:
        return images
    evenly = np.round(images * (255 / (levels - 1))).astype(np.uint16)
    # Not below the first value that `--levels` reads as this level.
    return np.maximum(evenly, -(images.astype(np.int32) * -256 // levels)).clip(0, 255).astype(np.uint8)
