"""Couplings whose halves are taken apart, with any scalar bijection."""

from __future__ import annotations

from typing import TypeVar

import jax.numpy as jnp
from jax import Array

from nfcli.flows.base import Bijection, sum_per_image
from nfcli.flows.halves import HalfKind, half_shapes, merge_halves, split_halves
from nfcli.flows.networks import PLAIN, Computing, GatedConvNet
from nfcli.flows.scalar import ScalarBijection
from nfcli.flows.weights import Weights

Half = TypeVar("Half")


class PackedCoupling(Bijection):
    """One half goes through a scalar bijection whose parameters a network computes from the other half.

    Args:
        shape: (H, W, C) of what is transformed.
        mask: How the halves lie: "checkerboard", "channel", or "rows", "columns" or "diagonals" of squeezed patches.
        invert: Swap the halves.
        scalar: What happens to each value.
        hidden: Channels of the network.
        blocks: Its gated blocks.
        heads: Of its self-attention, 0 for none.
        context_channels: Channels of the context that `forward` and `inverse` get, 0 for none.
        computing: How the network is computed.
        weights: Source of the initial weights.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        mask: HalfKind,
        invert: bool,
        scalar: ScalarBijection,
        hidden: int,
        blocks: int = 3,
        heads: int = 0,
        context_channels: int = 0,
        computing: Computing = PLAIN,
        weights: Weights,
    ) -> None:
        self.mask, self.invert, self.scalar = mask, invert, scalar
        seen, changed = self._order(*half_shapes(shape, mask))
        self.pairs_of_context = 2 if mask == "checkerboard" else 1
        self.network = GatedConvNet(
            seen[-1] + self.pairs_of_context * context_channels,
            hidden,
            scalar.count * changed[-1],
            blocks=blocks,
            attention=(heads, seen[:2]) if heads else None,
            weights=weights,
            computing=computing,
        )

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        seen, changed = self._order(*split_halves(x, self.mask))
        z, log_slope = self.scalar.forward(changed, self._parameters(seen, changed, context))
        return merge_halves(*self._order(seen, z), self.mask), sum_per_image(log_slope)

    def inverse(self, z: Array, context: Array | None = None) -> Array:
        seen, changed = self._order(*split_halves(z, self.mask))
        x = self.scalar.inverse(changed, self._parameters(seen, changed, context))
        return merge_halves(*self._order(seen, x), self.mask)

    def _order(self, first: Half, second: Half) -> tuple[Half, Half]:
        return (second, first) if self.invert else (first, second)

    def _parameters(self, seen: Array, changed: Array, context: Array | None) -> Array:
        """(count, B, H, W, C) of the half that is changed."""
        if context is not None:
            parts = split_halves(context, self.mask) if self.mask == "checkerboard" else (context,)
            seen = jnp.concatenate([seen, *parts], axis=-1)
        raw = self.network(seen)
        return raw.reshape(*changed.shape[:-1], self.scalar.count, changed.shape[-1]).transpose(3, 0, 1, 2, 4)
