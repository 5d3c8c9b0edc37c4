"""The network inside a coupling layer: a gated convolutional residual network.

Gated residual blocks with ConcatELU follow PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517) and Flow++ (Ho et al.
2019, arXiv:1902.00275); ConcatELU is from Shang et al. 2016 (arXiv:1603.05201) with ELU in the place of ReLU.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array


def concat_elu(x: Array) -> Array:
    """`[elu(x), elu(-x)]` on the channel axis: (..., C) to (..., 2C).

    One exponential serves both halves, because at most one of x and -x is negative.
    """
    tail = jnp.exp(-jnp.abs(x)) - 1
    return jnp.concatenate([jnp.where(x > 0, x, tail), jnp.where(x > 0, tail, -x)], axis=-1)


class GatedBlock(nnx.Module):
    """`x + value * sigmoid(gate)`, the two from ConcatELU, Conv 3x3, ConcatELU, Conv 1x1."""

    def __init__(self, channels: int, *, rngs: nnx.Rngs) -> None:
        self.conv = nnx.Conv(2 * channels, channels, (3, 3), rngs=rngs)
        self.gate = nnx.Conv(2 * channels, 2 * channels, (1, 1), rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """(B, H, W, channels) to the same."""
        hidden = self.conv(concat_elu(x))
        value, gate = jnp.split(self.gate(concat_elu(hidden)), 2, axis=-1)
        return x + value * jax.nn.sigmoid(gate)


class GatedConvNet(nnx.Module):
    """Conv 3x3, three gated blocks each with LayerNorm over channels, ConcatELU, Conv 3x3 that starts at zero.

    Args:
        inputs: Channels of the input.
        hidden: Channels inside.
        outputs: Channels of the output.
        rngs: Source of the initial weights (LeCun normal).
        blocks: Number of gated blocks.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, *, rngs: nnx.Rngs, blocks: int = 3) -> None:
        self.conv_in = nnx.Conv(inputs, hidden, (3, 3), rngs=rngs)
        self.blocks = nnx.List([GatedBlock(hidden, rngs=rngs) for _ in range(blocks)])
        self.norms = nnx.List([nnx.LayerNorm(hidden, epsilon=1e-6, rngs=rngs) for _ in range(blocks)])
        self.conv_out = nnx.Conv(2 * hidden, outputs, (3, 3), kernel_init=nnx.initializers.zeros, rngs=rngs)

    def __call__(self, x: Array) -> Array:
        """(B, H, W, inputs) to (B, H, W, outputs)."""
        x = self.conv_in(x)
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = norm(block(x))
        return self.conv_out(concat_elu(x))
