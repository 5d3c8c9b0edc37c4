"""Images side by side: samples and interpolations."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nfcli.drawing.output import PathLike, save_png
from nfcli.errors import UsageError

Pixels = NDArray[np.uint8]

GAP = 168
"""Grey between the tiles, far enough from black and from white that either stays separable."""

MARK = (213, 94, 0)
"""RGB of the frame around real images: vermilion of the Okabe-Ito palette."""

COMFORTABLE_SIDE = 84
"""Pixels that the longer side of a tile should have at least roughly: 28x28 images are tripled."""


def image_grid(
    images: Pixels, columns: int, *, levels: int = 256, scale: int | None = None, padding: int = 2
) -> Pixels:
    """Lay images out row by row on grey ground; places left over in the last row stay grey.

    Args:
        images: (N, H, W, C) uint8, C = 1 (grey) or 3 (RGB).
        columns: Images a row; fewer images than that make a narrower grid.
        levels: Number of values of a pixel; the highest is drawn in white.
        scale: Pixels along each side that one pixel becomes; None picks what is comfortable to look at.
        padding: Pixels between the tiles and around the grid.

    Returns:
        (rows * (H * scale + padding) + padding, columns * (W * scale + padding) + padding, C) uint8.

    Raises:
        UsageError: The array is no stack of images, or a number makes no sense.
    """
    _check_images(images, ndim=4)
    if columns < 1 or padding < 0:
        raise UsageError(
            f"a grid of {columns} columns with a padding of {padding} pixels cannot be drawn",
            hint="columns must be at least 1 and the padding at least 0",
        )
    return _lay_out(_enlarge(_spread(images, levels), scale), min(columns, len(images)), padding)


def interpolation_grid(frames: Pixels, *, levels: int = 256, scale: int | None = None, padding: int = 6) -> Pixels:
    """One row a pair of images, with a coloured frame around the first and the last: those two are real.

    The frame lies in the padding, so that every pixel of every image remains visible.

    Args:
        frames: (pairs, steps, H, W, C) uint8, C = 1 (grey) or 3 (RGB).
        levels, scale: As in `image_grid`.
        padding: Pixels between the tiles and around the grid; a third of it is the coloured frame.

    Returns:
        (pairs * (H * scale + padding) + padding, steps * (W * scale + padding) + padding, 3) uint8.

    Raises:
        UsageError: The array is no stack of pairs, or a number makes no sense.
    """
    _check_images(frames, ndim=5)
    if padding < 0:
        raise UsageError(f"a padding of {padding} pixels cannot be drawn", hint="the padding must be at least 0")
    pairs, steps = frames.shape[:2]
    tiles = _enlarge(_spread(frames, levels).reshape(-1, *frames.shape[2:]), scale)
    canvas = _lay_out(np.repeat(tiles, 3 // tiles.shape[3], axis=3), steps, padding)
    border = padding // 3
    height, width = tiles.shape[1:3]
    for index in (pair * steps + step for pair in range(pairs) for step in {0, steps - 1}):
        top, left = _corner(index, steps, (height, width), padding)
        framed = canvas[top - border : top + height + border, left - border : left + width + border]
        tile = canvas[top : top + height, left : left + width].copy()
        framed[:] = MARK
        framed[border : border + height, border : border + width] = tile
    return canvas


def save_grid(
    images: Pixels, path: PathLike, *, columns: int, levels: int = 256, scale: int | None = None, padding: int = 2
) -> None:
    """Write `image_grid` to a PNG file.

    Raises:
        UsageError: As in `image_grid`.
        WriteError: The file cannot be written.
    """
    save_png(image_grid(images, columns, levels=levels, scale=scale, padding=padding), path)


def save_interpolation(
    frames: Pixels, path: PathLike, *, levels: int = 256, scale: int | None = None, padding: int = 6
) -> None:
    """Write `interpolation_grid` to a PNG file.

    Raises:
        UsageError: As in `interpolation_grid`.
        WriteError: The file cannot be written.
    """
    save_png(interpolation_grid(frames, levels=levels, scale=scale, padding=padding), path)


def _check_images(images: Pixels, ndim: int) -> None:
    if images.dtype != np.uint8 or images.ndim != ndim or images.size == 0 or images.shape[-1] not in (1, 3):
        axes = "(images, H, W, C)" if ndim == 4 else "(pairs, steps, H, W, C)"
        raise UsageError(
            f"no grid can be made of an array of shape {images.shape} and type {images.dtype}",
            hint=f"give uint8 pixels of shape {axes} with 1 channel (grey) or 3 channels (RGB)",
        )


def _spread(images: Pixels, levels: int) -> Pixels:
    """Values 0..levels-1 to 0..255."""
    if levels == 256:
        return images
    return np.round(images * (255 / (levels - 1))).clip(0, 255).astype(np.uint8)


def _enlarge(images: Pixels, scale: int | None) -> Pixels:
    """Repeat pixels: (N, H, W, C) to (N, H * scale, W * scale, C)."""
    if scale is None:
        # Half up, unlike `round`, so that the scale does not depend on whether the number below is even.
        scale = max(1, math.floor(COMFORTABLE_SIDE / max(images.shape[1:3]) + 0.5))
    if scale < 1:
        raise UsageError(f"images cannot be enlarged {scale} times", hint="the scale must be at least 1")
    return images.repeat(scale, axis=1).repeat(scale, axis=2)


def _lay_out(tiles: Pixels, columns: int, padding: int) -> Pixels:
    count, height, width, channels = tiles.shape
    rows = -(-count // columns)
    shape = (rows * (height + padding) + padding, columns * (width + padding) + padding, channels)
    canvas = np.full(shape, GAP, dtype=np.uint8)
    for index, tile in enumerate(tiles):
        top, left = _corner(index, columns, (height, width), padding)
        canvas[top : top + height, left : left + width] = tile
    return canvas


def _corner(index: int, columns: int, size: tuple[int, int], padding: int) -> tuple[int, int]:
    row, column = divmod(index, columns)
    return padding + row * (size[0] + padding), padding + column * (size[1] + padding)
