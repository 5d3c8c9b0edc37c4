"""The two binary masks of RealNVP (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803, figure 3).

1 passes through and conditions, 0 is transformed.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

MaskKind = Literal["checkerboard", "channel"]


def checkerboard_mask(height: int, width: int) -> np.ndarray:
    """(1, H, W, 1) of 0 and 1: `(i + j) mod 2`."""
    rows, columns = np.indices((height, width))
    return ((rows + columns) % 2)[None, :, :, None]


def channel_mask(channels: int) -> np.ndarray:
    """(1, 1, 1, C) of 0 and 1: the first C // 2 channels are 1."""
    return (np.arange(channels) < channels // 2).astype(int)[None, None, None, :]


def make_mask(kind: MaskKind, shape: tuple[int, int, int], *, invert: bool = False) -> np.ndarray:
    """The mask of `kind` for images of `shape` (H, W, C), broadcastable against (B, H, W, C)."""
    height, width, channels = shape
    mask = checkerboard_mask(height, width) if kind == "checkerboard" else channel_mask(channels)
    return 1 - mask if invert else mask
