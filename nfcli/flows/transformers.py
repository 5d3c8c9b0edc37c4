"""Scalar bijections whose parameters a network gives, for couplings: `z = f(x; raw)`, every pixel value by itself.

`raw` has shape (count, *x.shape): what the network says, before any constraint. At `raw = 0` each is close to the
identity. The parameters of one pixel lie far apart in memory, so that sums over components become sums of whole arrays.
"""

from typing import Protocol

import jax.numpy as jnp
from jax import Array


class ScalarBijection(Protocol):
    """A monotone map of the real line.

    Attributes:
        count: Numbers that it needs for each value.
    """

    count: int

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """(B, ...) and (count, B, ...) to z and log dz/dx, both (B, ...)."""
        ...

    def inverse(self, z: Array, raw: Array) -> Array:
        """Undo `forward` with the same `raw`."""
        ...


LARGEST_LOG_SCALE = 3.0


def limited(raw: Array) -> Array:
    """A log-scale that is the network's own near 0 and never leaves ±3: `3 tanh(raw / 3)`."""
    return LARGEST_LOG_SCALE * jnp.tanh(raw / LARGEST_LOG_SCALE)


class Affine:
    """`z = (x + t) exp(s)` (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803)."""

    count = 2

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        s, t = limited(raw[0]), raw[1]
        return (x + t) * jnp.exp(s), s

    def inverse(self, z: Array, raw: Array) -> Array:
        return z * jnp.exp(-limited(raw[0])) - raw[1]
