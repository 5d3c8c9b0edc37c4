"""The network inside a coupling layer: a gated convolutional residual network.

Gated residual blocks with ConcatELU follow PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517) and Flow++ (Ho et al.
2019, arXiv:1902.00275); ConcatELU is from Shang et al. 2016 (arXiv:1603.05201) with ELU in the place of ReLU.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows.barriers import gradient_once, once
from nfcli.flows.convolution import add_bias, convolve
from nfcli.flows.weights import Weights, ones, zeros


def concat_elu(x: Array) -> Array:
    """`[elu(x), elu(-x)]` on the channel axis: (..., C) to (..., 2C).

    One exponential serves both halves, because at most one of x and -x is negative.
    """
    # In half precision the difference would lose its digits.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    tail = (jnp.exp(-jnp.abs(wide)) - 1).astype(x.dtype)
    return once(jnp.concatenate([jnp.where(x >= 0, x, tail), jnp.where(x > 0, tail, -x)], axis=-1))


@dataclass(frozen=True)
class Computing:
    """How a network is computed; its parameters and what they mean stay the same.

    Attributes:
        dtype: What is computed in, such as bfloat16; None for the type of the input. Parameters, input and output keep
            their type.
        remat: Keep nothing of a network for the backward pass and compute it once more there: less memory, more time
            (Chen et al. 2016, arXiv:1604.06174).
    """

    dtype: jnp.dtype | None = None
    remat: bool = False


PLAIN = Computing()


class Conv(nnx.Module):
    """Convolution with an odd square kernel, stride 1, zeros around, bias.

    Args:
        inputs, outputs: Channels.
        size: Width of the kernel.
        weights: Source of the initial kernel; None for zeros.
    """

    def __init__(self, inputs: int, outputs: int, size: int, *, weights: Weights | None) -> None:
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(zeros(*shape) if weights is None else weights.lecun_normal(shape))
        self.bias = nnx.Param(zeros(outputs))

    def __call__(self, x: Array) -> Array:
        """(B, H, W, inputs) to (B, H, W, outputs)."""
        # The bias keeps its own type: its gradient is a sum over all pixels, which half precision would lose.
        return add_bias(convolve(x, self.kernel[...].astype(x.dtype)), self.bias[...])


class LayerNorm(nnx.Module):
    """Layer normalization over channels (Ba, Kiros, Hinton 2016, arXiv:1607.06450), eps 1e-6."""

    def __init__(self, channels: int) -> None:
        self.scale = nnx.Param(ones(channels))
        self.bias = nnx.Param(zeros(channels))

    def __call__(self, x: Array) -> Array:
        """(B, H, W, channels) to the same; moments are taken in at least float32."""
        dtype = x.dtype
        x = x.astype(jnp.promote_types(dtype, jnp.float32))
        mean = jnp.mean(x, axis=-1, keepdims=True)
        variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True) - jnp.square(mean)
        scale = jax.lax.rsqrt(jnp.maximum(variance, 0) + 1e-6) * self.scale[...][None, None, None, :]
        return ((x - mean) * scale + self.bias[...][None, None, None, :]).astype(dtype)


class GatedBlock(nnx.Module):
    """`x + value * sigmoid(gate)`, the two from ConcatELU, Conv 3x3, ConcatELU, Conv 1x1."""

    def __init__(self, channels: int, *, weights: Weights) -> None:
        self.conv = Conv(2 * channels, channels, 3, weights=weights)
        self.gate = Conv(2 * channels, 2 * channels, 1, weights=weights)

    def __call__(self, x: Array) -> Array:
        """(B, H, W, channels) to the same."""
        hidden = self.conv(concat_elu(x))
        value, gate = jnp.split(gradient_once(self.gate(concat_elu(hidden))), 2, axis=-1)
        return x + value * jax.nn.sigmoid(gate)


class GatedConvNet(nnx.Module):
    """Conv 3x3, three gated blocks each with LayerNorm over channels, ConcatELU, Conv 3x3 that starts at zero.

    Args:
        inputs: Channels of the input.
        hidden: Channels inside.
        outputs: Channels of the output.
        weights: Source of the initial weights (LeCun normal).
        blocks: Number of gated blocks.
        computing: How.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        *,
        weights: Weights,
        blocks: int = 3,
        computing: Computing = PLAIN,
    ) -> None:
        self.computing = computing
        self.conv_in = Conv(inputs, hidden, 3, weights=weights)
        self.blocks = nnx.List([GatedBlock(hidden, weights=weights) for _ in range(blocks)])
        self.norms = nnx.List([LayerNorm(hidden) for _ in range(blocks)])
        self.conv_out = Conv(2 * hidden, outputs, 3, weights=None)

    def __call__(self, x: Array) -> Array:
        """(B, H, W, inputs) to (B, H, W, outputs)."""
        return jax.checkpoint(self._compute)(x) if self.computing.remat else self._compute(x)

    def _compute(self, x: Array) -> Array:
        outside = x.dtype
        x = self.conv_in(x.astype(self.computing.dtype or outside))
        for block, norm in zip(self.blocks, self.norms, strict=True):
            x = norm(gradient_once(block(x)))
        return self.conv_out(concat_elu(x)).astype(outside)
