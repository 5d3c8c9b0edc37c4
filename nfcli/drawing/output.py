"""PNG bytes and files: the one place of this room that touches the disk."""

from __future__ import annotations

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nfcli.errors import UsageError
from nfcli.files import write_bytes

PathLike = str | os.PathLike[str]


def encode_png(array: NDArray[np.uint8]) -> bytes:
    """Encode grey or RGB pixels; the same pixels always give the same bytes.

    Args:
        array: (H, W), (H, W, 1) or (H, W, 3) uint8.

    Raises:
        UsageError: The array is of another shape or type.
    """
    from PIL import Image

    pixels = array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array
    is_image = pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] == 3)
    if pixels.dtype != np.uint8 or not is_image or pixels.size == 0:
        raise UsageError(
            f"a PNG cannot be made of an array of shape {array.shape} and type {array.dtype}",
            hint="give uint8 pixels with 1 channel (grey) or 3 channels (RGB)",
        )
    buffer = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def save_png(array: NDArray[np.uint8], path: PathLike) -> None:
    """Write grey or RGB pixels, (H, W), (H, W, 1) or (H, W, 3) uint8, to a PNG file.

    Raises:
        UsageError: The array is of another shape or type.
        WriteError: The file cannot be written.
    """
    write_bytes(Path(path), encode_png(array))
