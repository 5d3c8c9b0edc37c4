"""The two halves of a packed coupling, each as an array of its own.

A masked coupling lets its network look at zeros, and throws half of its answer away. Here the halves are taken apart
first, so that the network sees and answers only what counts: half the work (Kingma, Dhariwal 2018, arXiv:1807.03039,
for channels; Ho et al. 2019, arXiv:1902.00275, for the checkerboard).
"""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from nfcli.flows.masks import MaskKind


def half_shapes(shape: tuple[int, int, int], kind: MaskKind) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """(H, W, C) of the two halves of images of `shape`.

    Raises:
        ValueError: A checkerboard has an odd width.
    """
    height, width, channels = shape
    if kind == "channel":
        return (height, width, channels // 2), (height, width, channels - channels // 2)
    if width % 2:
        raise ValueError(f"a checkerboard of width {width} has no two equal halves")
    return (height, width // 2, channels), (height, width // 2, channels)


def split_halves(x: Array, kind: MaskKind) -> tuple[Array, Array]:
    """(B, H, W, C) to the half where the mask of that kind is 1, and the other one; in the shapes of `half_shapes`."""
    if kind == "channel":
        first = x.shape[-1] // 2
        return x[..., :first], x[..., first:]
    batch, height, width, channels = x.shape
    pairs = x.reshape(batch, height, width // 2, 2, channels)
    even = _even_rows(height)
    left, right = pairs[..., 0, :], pairs[..., 1, :]
    return jnp.where(even, right, left), jnp.where(even, left, right)


def merge_halves(first: Array, second: Array, kind: MaskKind) -> Array:
    """Undo `split_halves`."""
    if kind == "channel":
        return jnp.concatenate([first, second], axis=-1)
    batch, height, width, channels = first.shape
    even = _even_rows(height)
    pairs = jnp.stack([jnp.where(even, second, first), jnp.where(even, first, second)], axis=3)
    return pairs.reshape(batch, height, 2 * width, channels)


def _even_rows(height: int) -> Array:
    """(1, H, 1, 1): where the mask `(i + j) mod 2` begins with a 0."""
    return (jnp.arange(height) % 2 == 0)[None, :, None, None]
