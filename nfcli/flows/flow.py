"""The flow: dequantization, then levels of bijections, each level giving up a finished latent."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows.base import Bijection
from nfcli.flows.dequantization import UniformDequantization
from nfcli.flows.prior import standard_normal_log_prob
from nfcli.flows.reshaping import merge_channels, split_channels

Latents = tuple[Array, ...]


class MultiscaleTransform(nnx.Module):
    """Levels of bijections; after each level but the last, half of the channels are finished.

    The latent is a tuple with one array a level, the last one last: encoding loses nothing
    (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803, section 3.6).

    Args:
        levels: The bijections of each level.
    """

    def __init__(self, levels: Sequence[Sequence[Bijection]]) -> None:
        self.levels = nnx.List([nnx.List(list(level)) for level in levels])

    def forward(self, y: Array) -> tuple[Latents, Array]:
        """(B, H, W, C) to the latents, one array a level, and log |det dz/dy|, (B,)."""
        ldj = jnp.zeros(y.shape[0], y.dtype)
        latents: list[Array] = []
        for index, level in enumerate(self.levels):
            if index:
                y, finished = split_channels(y)
                latents.append(finished)
            for layer in level:
                y, step = layer.forward(y)
                ldj = ldj + step
        return (*latents, y), ldj

    def inverse(self, latents: Latents) -> Array:
        """Latents to (B, H, W, C)."""
        y = latents[-1]
        for index in reversed(range(len(self.levels))):
            for layer in reversed(self.levels[index]):
                y = layer.inverse(y)
            if index:
                y = merge_channels(y, latents[index - 1])
        return y


class Flow(nnx.Module):
    """A likelihood model of images of integers.

    Args:
        dequantization: Uniform or variational.
        transform: From the real line to the latents.
    """

    def __init__(self, dequantization: UniformDequantization, transform: MultiscaleTransform) -> None:
        self.dequantization = dequantization
        self.transform = transform

    def log_prob(self, x: Array, keys: Array, dtype: jnp.dtype = jnp.float32) -> Array:
        """One draw's bound `log p(x + u) - log q(u | x)`, natural logarithm: (B, H, W, C) integers to (B,)."""
        y, ldj = self.dequantization.dequantize(x, keys, dtype)
        latents, step = self.transform.forward(y)
        return ldj + step + sum(standard_normal_log_prob(z) for z in latents)

    def decode(self, latents: Latents) -> Array:
        """Latents to images, (B, H, W, C) uint8."""
        return self.dequantization.quantize(self.transform.inverse(latents))

    def encode(self, x: Array, keys: Array, margin: float = 0.25, dtype: jnp.dtype = jnp.float32) -> Latents:
        """Images to latents that decode to the same images.

        Args:
            x: (B, H, W, C) integers.
            keys: (B,) random keys.
            margin: The noise is shrunk into (margin, 1 - margin), away from the edges of a pixel's bin, so that the
                error of inverting in floating point cannot move a pixel. A likelihood never uses such noise.
            dtype: Floating-point type of the latents.

        Returns:
            One array a level, (B, ...).
        """
        u, _ = self.dequantization.noise(x, keys, dtype)
        y, _ = self.dequantization.place(x, margin + (1 - 2 * margin) * u)
        return self.transform.forward(y)[0]
