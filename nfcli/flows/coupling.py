"""Coupling layers: one part of an image passes through and tells a network how to transform the other part.

`MaskedCoupling` is the affine one of RealNVP (Dinh, Sohl-Dickstein, Bengio 2017, arXiv:1605.08803), whose network sees
the image with zeros in it. `PartitionedCoupling` takes the parts out first (Kingma, Dhariwal 2018, arXiv:1807.03039; Ho
et al. 2019, arXiv:1902.00275) and transforms each value by any bijection of `nfcli.flows.transformers`.
"""

from typing import Any, TypeVar

import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows.base import Bijection, sum_per_image
from nfcli.flows.initializers import zeros
from nfcli.flows.networks import GatedConvNet
from nfcli.flows.partitions import PartitionKind, make_mask, partition, unpartition
from nfcli.flows.transformers import ScalarBijection
from nfcli.presets.layers import MaskKind, Shape, partition_shapes

Part = TypeVar("Part")


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
        network: `initializer` and `policy`, as of `GatedConvNet`. The layer starts as the identity.
    """

    def __init__(
        self, shape: Shape, *, mask: MaskKind, invert: bool, hidden: int, context_channels: int = 0, **network: Any
    ) -> None:
        channels = shape[-1]
        self.shape, self.mask, self.invert = shape, mask, invert
        self.network = GatedConvNet(channels + context_channels, hidden, 2 * channels, **network)
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


class PartitionedCoupling(Bijection):
    """One half goes through a scalar bijection whose parameters a network computes from the other half.

    Args:
        shape: (H, W, C) of what is transformed.
        mask: How the halves lie: "checkerboard", "channel", or "rows", "columns" or "diagonals" of squeezed patches.
        invert: Swap the halves.
        transformer: What happens to each value.
        hidden: Channels of the network.
        heads: Of its self-attention, 0 for none.
        context_channels: Channels of the context that `forward` and `inverse` get, 0 for none.
        network: `blocks`, `initializer` and `policy`, as of `GatedConvNet`.
    """

    def __init__(
        self,
        shape: Shape,
        *,
        mask: PartitionKind,
        invert: bool,
        transformer: ScalarBijection,
        hidden: int,
        heads: int = 0,
        context_channels: int = 0,
        **network: Any,
    ) -> None:
        self.mask, self.invert, self.transformer = mask, invert, transformer
        seen, changed = self._order(*partition_shapes(shape, mask))
        inputs = seen[-1] + context_channels * (2 if mask == "checkerboard" else 1)
        attention = (heads, seen[:2]) if heads else None
        outputs = transformer.count * changed[-1]
        self.network = GatedConvNet(inputs, hidden, outputs, attention=attention, **network)

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        seen, changed = self._order(*partition(x, self.mask))
        z, log_slope = self.transformer.forward(changed, self._parameters(seen, changed, context))
        return unpartition(*self._order(seen, z), self.mask), sum_per_image(log_slope)

    def inverse(self, z: Array, context: Array | None = None) -> Array:
        seen, changed = self._order(*partition(z, self.mask))
        x = self.transformer.inverse(changed, self._parameters(seen, changed, context))
        return unpartition(*self._order(seen, x), self.mask)

    def _order(self, first: Part, second: Part) -> tuple[Part, Part]:
        return (second, first) if self.invert else (first, second)

    def _parameters(self, seen: Array, changed: Array, context: Array | None) -> Array:
        """(count, B, H, W, C) of the half that is changed."""
        if context is not None:
            parts = partition(context, self.mask) if self.mask == "checkerboard" else (context,)
            seen = jnp.concatenate([seen, *parts], axis=-1)
        raw = self.network(seen)
        return raw.reshape(*changed.shape[:-1], self.transformer.count, changed.shape[-1]).transpose(3, 0, 1, 2, 4)
