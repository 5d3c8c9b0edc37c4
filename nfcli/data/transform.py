"""What is done to images on their way in, if the user asks for it: cut out the middle, rescale, reduce the levels."""

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nfcli.data.reading import shape_text
from nfcli.errors import DataError, UsageError
from nfcli.limits import require, whole

LEVELS = 256
"""How many values a pixel has as stored."""

LARGEST_SIDE = 4096

Size = tuple[int, int]
"""Height and width."""


@dataclass(frozen=True)
class Transform:
    """First `crop`, then `resize`, then `levels`; by default nothing.

    Attributes:
        crop: Height and width to cut out of the middle; None for all.
        resize: Height and width to rescale to, each new pixel being the mean of the area that it covers (Chrabaszcz,
            Loshchilov, Hutter 2017, arXiv:1707.08819); None for none.
        levels: Number of values of a pixel, 2 to 256: `floor(x levels / 256)`.
    """

    crop: Size | None = None
    resize: Size | None = None
    levels: int = LEVELS

    @staticmethod
    def parse(crop: str | None, resize: str | None, levels: int) -> "Transform":
        """Read sizes as people write them: `32`, or `48x32` for height 48 and width 32.

        Raises:
            UsageError: A size is none, or `levels` is not in 2..256.
        """
        require("levels", levels, whole(2, LEVELS))
        return Transform(_size("--crop", crop), _size("--resize", resize), levels)

    def __call__(self, images: NDArray[np.uint8], source: str) -> NDArray[np.uint8]:
        """Transform (N, H, W, C) uint8 to the same of another size, with values 0..levels-1.

        Args:
            images: Of one size.
            source: What an error calls them.

        Raises:
            DataError: The images are smaller than `crop`.
        """
        if self.crop is not None:
            images = _middle(images, self.crop, source)
        if self.resize is not None and images.shape[1:3] != self.resize:
            images = _rescaled(images, self.resize)
        if self.levels != LEVELS:
            images = (images.astype(np.uint16) * self.levels // LEVELS).astype(np.uint8)
        return images

    def __str__(self) -> str:
        """In words: `crop 20x20, resize 8x8, 4 levels`; empty when nothing is done."""
        sizes = {"crop": self.crop, "resize": self.resize}
        parts = [f"{name} {size[0]}x{size[1]}" for name, size in sizes.items() if size is not None]
        return ", ".join(parts + [f"{self.levels} levels"] * (self.levels != LEVELS))

    @property
    def fixes_size(self) -> bool:
        """Whether images of different sizes have one size afterwards."""
        return self.crop is not None or self.resize is not None


def _size(option: str, text: str | None) -> Size | None:
    if text is None:
        return None
    found = re.fullmatch(r"(\d{1,5})(?:[xX](\d{1,5}))?", text.strip())
    size = None if found is None else (int(found[1]), int(found[2] or found[1]))
    if size is None or not all(1 <= side <= LARGEST_SIDE for side in size):
        hint = f"give one number, or HEIGHTxWIDTH, of 1 to {LARGEST_SIDE} pixels"
        raise UsageError(f"{option} {text} is not a size", hint=hint)
    return size


def _middle(images: NDArray[np.uint8], size: Size, source: str) -> NDArray[np.uint8]:
    top, left = ((have - want) // 2 for have, want in zip(images.shape[1:3], size, strict=True))
    if min(top, left) < 0:
        have, want = (shape_text(sides) for sides in (images.shape[1:3], size))
        raise DataError(f"{source} is {have}, too small for --crop {want}", hint="crop less, or give --resize alone")
    return images[:, top : top + size[0], left : left + size[1]]


def _rescaled(images: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    from PIL import Image

    height, width = size
    rescaled = np.empty((len(images), height, width, images.shape[-1]), np.uint8)
    for index, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
        rescaled[index] = np.asarray(picture.resize((width, height), Image.Resampling.BOX)).reshape(rescaled.shape[1:])
    return rescaled
