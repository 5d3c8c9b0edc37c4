"""The two halves of an image that a coupling tells apart: as a mask, or each as an array of its own.

Masks are those of RealNVP (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803, figure 3): 1 passes through and
conditions, 0 is transformed. A masked coupling lets its network look at zeros, and throws half of its answer away. A
partitioned one takes the halves apart first, so that the network sees and answers only what counts: half the work
(Kingma, Dhariwal 2018, arXiv:1807.03039, for channels; Ho et al. 2019, arXiv:1902.00275, for the checkerboard).
"""

from collections.abc import Sequence
from typing import Literal

import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.presets.layers import MaskKind, Shape

PatchKind = Literal["rows", "columns", "diagonals"]
"""The three ways to halve the 2x2 patches that a squeeze made channels of: each pixel in turn meets all its neighbours
in the half that is known. The diagonals are the checkerboard that was there before the squeeze."""

PartitionKind = MaskKind | PatchKind

PATCHES: dict[PatchKind, Sequence[int]] = {"rows": (0, 1, 2, 3), "columns": (0, 2, 1, 3), "diagonals": (0, 3, 1, 2)}
"""The four pixels of a patch, those of the first half first; numbered as a squeeze lays them out, row by row."""


def make_mask(kind: MaskKind, shape: Shape, *, invert: bool = False) -> np.ndarray:
    """The mask of `kind`, of 0 and 1, for images of `shape` (H, W, C).

    Returns:
        (1, H, W, 1), `(i + j) mod 2`; or (1, 1, 1, C), of which the first C // 2 are 1. `invert` swaps 0 and 1.
    """
    if kind == "checkerboard":
        rows, columns = np.indices(shape[:2])
        mask = ((rows + columns) % 2)[None, :, :, None]
    else:
        mask = (np.arange(shape[-1]) < shape[-1] // 2).astype(int)[None, None, None]
    return 1 - mask if invert else mask


def partition(x: Array, kind: PartitionKind) -> tuple[Array, Array]:
    """(B, H, W, C) to the half where the mask of that kind is 1, and the other."""
    if kind != "checkerboard":
        x = _reordered(x, PATCHES[kind]) if kind in PATCHES else x
        first = x.shape[-1] // 2
        return x[..., :first], x[..., first:]
    batch, height, width, channels = x.shape
    pairs = x.reshape(batch, height, width // 2, 2, channels)
    even = _even_rows(height)
    left, right = pairs[..., 0, :], pairs[..., 1, :]
    return jnp.where(even, right, left), jnp.where(even, left, right)


def unpartition(first: Array, second: Array, kind: PartitionKind) -> Array:
    """Undo `partition`."""
    if kind != "checkerboard":
        whole = jnp.concatenate([first, second], axis=-1)
        return _reordered(whole, np.argsort(PATCHES[kind])) if kind in PATCHES else whole
    batch, height, width, channels = first.shape
    even = _even_rows(height)
    pairs = jnp.stack([jnp.where(even, second, first), jnp.where(even, first, second)], axis=3)
    return pairs.reshape(batch, height, 2 * width, channels)


def _reordered(x: Array, order: Sequence[int] | np.ndarray) -> Array:
    """The four pixels of each patch in another order; pieces of memory, for which XLA needs no gather."""
    pixels = jnp.split(x, 4, axis=-1)
    return jnp.concatenate([pixels[number] for number in order], axis=-1)


def _even_rows(height: int) -> Array:
    """(1, H, 1, 1): where the mask `(i + j) mod 2` begins with a 0."""
    return (jnp.arange(height) % 2 == 0)[None, :, None, None]
