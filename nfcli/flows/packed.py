"""MaskedCouplings whose halves are taken apart, with any scalar bijection."""

from __future__ import annotations

from typing import TypeVar

import jax.numpy as jnp
from jax import Array

from nfcli.flows.base import Bijection, sum_per_image
from nfcli.flows.initializers import Initializer
from nfcli.flows.networks import PLAIN, ComputePolicy, GatedConvNet
from nfcli.flows.partitions import PartitionKind, partition, partition_shapes, unpartition
from nfcli.flows.transformers import ScalarBijection

Half = TypeVar("Half")


class PartitionedCoupling(Bijection):
    """One half goes through a scalar bijection whose parameters a network computes from the other half.

    Args:
        shape: (H, W, C) of what is transformed.
        mask: How the halves lie: "checkerboard", "channel", or "rows", "columns" or "diagonals" of squeezed patches.
        invert: Swap the halves.
        transformer: What happens to each value.
        hidden: Channels of the network.
        blocks: Its gated blocks.
        heads: Of its self-attention, 0 for none.
        context_channels: Channels of the context that `forward` and `inverse` get, 0 for none.
        policy: How the network is computed.
        initializer: Source of the initial weights.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        mask: PartitionKind,
        invert: bool,
        transformer: ScalarBijection,
        hidden: int,
        blocks: int = 3,
        heads: int = 0,
        context_channels: int = 0,
        policy: ComputePolicy = PLAIN,
        initializer: Initializer,
    ) -> None:
        self.mask, self.invert, self.transformer = mask, invert, transformer
        seen, changed = self._order(*partition_shapes(shape, mask))
        self.pairs_of_context = 2 if mask == "checkerboard" else 1
        self.network = GatedConvNet(
            seen[-1] + self.pairs_of_context * context_channels,
            hidden,
            transformer.count * changed[-1],
            blocks=blocks,
            attention=(heads, seen[:2]) if heads else None,
            initializer=initializer,
            policy=policy,
        )

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        seen, changed = self._order(*partition(x, self.mask))
        z, log_slope = self.transformer.forward(changed, self._parameters(seen, changed, context))
        return unpartition(*self._order(seen, z), self.mask), sum_per_image(log_slope)

    def inverse(self, z: Array, context: Array | None = None) -> Array:
        seen, changed = self._order(*partition(z, self.mask))
        x = self.transformer.inverse(changed, self._parameters(seen, changed, context))
        return unpartition(*self._order(seen, x), self.mask)

    def _order(self, first: Half, second: Half) -> tuple[Half, Half]:
        return (second, first) if self.invert else (first, second)

    def _parameters(self, seen: Array, changed: Array, context: Array | None) -> Array:
        """(count, B, H, W, C) of the half that is changed."""
        if context is not None:
            parts = partition(context, self.mask) if self.mask == "checkerboard" else (context,)
            seen = jnp.concatenate([seen, *parts], axis=-1)
        raw = self.network(seen)
        return raw.reshape(*changed.shape[:-1], self.transformer.count, changed.shape[-1]).transpose(3, 0, 1, 2, 4)
