"""Images side by side: samples and interpolations."""

from __future__ import annotations

import math
from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from nfcli.errors import UsageError

Pixels = NDArray[np.uint8]

GAP = 168
"""Grey between the tiles, far enough from black and from white that either stays separable."""

MARK = (213, 94, 0)
"""RGB of the frame around real images: vermilion of the Okabe-Ito palette."""

COMFORTABLE_SIDE = 84
"""Pixels that the longer side of a tile should have at least roughly: 28x28 images are tripled."""


def image_grid(
    images: Pixels,
    columns: int,
    *,
    levels: int = 256,
    scale: int | None = None,
    padding: int = 2,
    framed: Collection[int] = (),
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
        raise UsageError(
            f"no grid can be made of an array of shape {images.shape} and type {images.dtype}",
            hint="give uint8 pixels of shape (images, H, W, C) with 1 channel (grey) or 3 channels (RGB)",
        )
    if scale is None:
        # Half up, unlike `round`, so that the scale does not depend on whether the number below is even.
        scale = max(1, math.floor(COMFORTABLE_SIDE / max(images.shape[1:3]) + 0.5))
    if columns < 1 or padding < 0 or scale < 1:
        raise UsageError(
            f"a grid of {columns} columns with a padding of {padding} pixels and a scale of {scale} cannot be drawn",
            hint="columns and scale must be at least 1, and the padding at least 0",
        )
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


def interpolation_grid(frames: Pixels, *, levels: int = 256, scale: int | None = None, padding: int = 6) -> Pixels:
    """One row a pair of images, with a coloured frame around the first and the last: those two are real.

    Args:
        frames: (pairs, steps, H, W, C) uint8, C = 1 (grey) or 3 (RGB).
        levels, scale, padding: As in `image_grid`.

    Returns:
        As `image_grid`, in RGB.
    """
    pairs, steps = frames.shape[:2]
    ends = {index for index in range(pairs * steps) if index % steps in (0, steps - 1)}
    images = frames.reshape(-1, *frames.shape[2:])
    return image_grid(images, steps, levels=levels, scale=scale, padding=padding, framed=ends)


def spread(images: Pixels, levels: int) -> Pixels:
    """Values 0..levels-1 to 0..255."""
    if levels == 256:
        return images
    return np.round(images * (255 / (levels - 1))).clip(0, 255).astype(np.uint8)
