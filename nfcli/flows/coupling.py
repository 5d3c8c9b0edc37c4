"""The affine coupling layer of RealNVP (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803), with a limited scale."""

from __future__ import annotations

import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows.base import Bijection, sum_per_image
from nfcli.flows.initializers import Initializer, zeros
from nfcli.flows.masks import MaskKind, make_mask
from nfcli.flows.networks import PLAIN, ComputePolicy, GatedConvNet


def limit_scale(s: Array, factor: Array) -> Array:
    """`tanh(s / f) f`: the identity near 0, never beyond ±f."""
    return jnp.tanh(s / factor) * factor


class MaskedCoupling(Bijection):
    """`z = (x + t) exp(s)` where the mask is 0; `s, t` computed from where it is 1.

    Args:
        shape: (H, W, C) of what is transformed.
        mask: Which half conditions: "checkerboard" or "channel".
        invert: Swap the halves.
        hidden: Channels of the network.
        context_channels: Channels of the context that `forward` and `inverse` get, 0 for none.
        policy: How the network is computed.
        initializer: Source of the initial weights. The layer starts as the identity.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        mask: MaskKind,
        invert: bool,
        hidden: int,
        context_channels: int = 0,
        policy: ComputePolicy = PLAIN,
        initializer: Initializer,
    ) -> None:
        channels = shape[-1]
        self.shape, self.mask, self.invert = shape, mask, invert
        self.network = GatedConvNet(
            channels + context_channels, hidden, 2 * channels, initializer=initializer, policy=policy
        )
        self.scaling_factor = nnx.Param(zeros(channels))

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        s, t = self._scale_and_shift(x, context)
        return (x + t) * jnp.exp(s), sum_per_image(s)

    def inverse(self, z: Array, context: Array | None = None) -> Array:
        s, t = self._scale_and_shift(z, context)
        return z * jnp.exp(-s) - t

    def _scale_and_shift(self, x: Array, context: Array | None) -> tuple[Array, Array]:
        mask = jnp.asarray(make_mask(self.mask, self.shape, invert=self.invert), x.dtype)
        conditioning = x * mask if context is None else jnp.concatenate([x * mask, context], axis=-1)
        s, t = jnp.split(self.network(conditioning), 2, axis=-1)
        factor = jnp.exp(self.scaling_factor[...])[None, None, None, :]
        return limit_scale(s, factor) * (1 - mask), t * (1 - mask)
