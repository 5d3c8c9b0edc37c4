"""Densities of the finished latents."""

import math
from typing import Any

import jax.numpy as jnp
from jax import Array

from nfcli.flows.base import Bijection, sum_per_image
from nfcli.flows.networks import GatedConvNet
from nfcli.flows.transformers import Affine


def standard_normal_log_prob(z: Array) -> Array:
    """log N(z; 0, 1) summed over everything but the batch axis: (B, ...) to (B,), natural logarithm."""
    return sum_per_image(-0.5 * (jnp.square(z) + math.log(2 * math.pi)))


class LearnedPrior(Bijection):
    """A normal prior of a finished latent whose mean and scale follow from the channels that go on.

    Written as the affine map to a standard normal, so that every latent has the same prior (Kingma, Dhariwal 2018,
    arXiv:1807.03039).

    Args:
        channels: Of the finished latent.
        context_channels: Of what goes on.
        hidden: Channels of the network.
        blocks: Its gated blocks.
        network: `initializer` and `policy`, as of `GatedConvNet`.
    """

    def __init__(self, channels: int, context_channels: int, *, hidden: int, blocks: int = 1, **network: Any) -> None:
        self.network = GatedConvNet(context_channels, hidden, 2 * channels, blocks=blocks, **network)

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        z, log_slope = Affine().forward(x, self._parameters(context))
        return z, sum_per_image(log_slope)

    def inverse(self, z: Array, context: Array | None = None) -> Array:
        return Affine().inverse(z, self._parameters(context))

    def _parameters(self, context: Array | None) -> Array:
        if context is None:
            raise ValueError("a learned prior follows from what goes on, and got nothing")
        return jnp.stack(jnp.split(self.network(context), 2, axis=-1))
