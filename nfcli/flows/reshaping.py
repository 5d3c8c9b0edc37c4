"""Layers that only move numbers: their log-determinant is zero."""

import jax.numpy as jnp
from jax import Array

from nfcli.flows.base import Bijection


class Squeeze(Bijection):
    """Each 2x2xC patch becomes 1x1x4C (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803, section 3.6)."""

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:  # noqa: ARG002
        batch, height, width, channels = x.shape
        patches = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        return patches.reshape(batch, height // 2, width // 2, 4 * channels), jnp.zeros(batch, x.dtype)

    def inverse(self, z: Array, context: Array | None = None) -> Array:  # noqa: ARG002
        batch, height, width, channels = z.shape
        patches = z.reshape(batch, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
        return patches.reshape(batch, 2 * height, 2 * width, channels // 4)


def split_channels(x: Array) -> tuple[Array, Array]:
    """The half of the channels that goes on, and the half that is finished: (B, H, W, C) to C - C // 2 and C // 2."""
    passing = x.shape[-1] - x.shape[-1] // 2
    return x[..., :passing], x[..., passing:]


def merge_channels(passing: Array, finished: Array) -> Array:
    """Undo `split_channels`."""
    return jnp.concatenate([passing, finished], axis=-1)
