"""The network inside a coupling layer: a gated convolutional residual network.

Gated residual blocks with ConcatELU follow PixelCNN++ (Salimans et al. 2017, arXiv:1701.05517) and Flow++ (Ho et al.
2019, arXiv:1902.00275); ConcatELU is from Shang et al. 2016 (arXiv:1603.05201) with ELU in the place of ReLU.
"""

from dataclasses import dataclass
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array

from nfcli.flows import operations
from nfcli.flows.cpu import onednn
from nfcli.flows.initializers import Initializer, zeros


@dataclass(frozen=True)
class ComputePolicy:
    """How a network is computed; its parameters and what they mean stay the same.

    Attributes:
        dtype: What is computed in, such as bfloat16; None for the type of the input. Parameters, input and output keep
            their type.
        onednn: Compute on a CPU by oneDNN in the place of XLA.
        remat: Keep nothing of a network for the backward pass and compute it once more there: less memory, more time
            (Chen et al. 2016, arXiv:1604.06174).
    """

    dtype: jnp.dtype | None = None
    onednn: bool = False
    remat: bool = False

    @property
    def operations(self) -> ModuleType:
        """The module that computes convolutions and what stands between them."""
        return onednn if self.onednn else operations


PLAIN = ComputePolicy()


class Conv(nnx.Module):
    """Convolution with an odd square kernel, stride 1, zeros around, bias.

    Args:
        inputs, outputs: Channels.
        size: Width of the kernel.
        initializer: Source of the initial kernel; None for zeros.
        policy: How.
    """

    def __init__(
        self, inputs: int, outputs: int, size: int, initializer: Initializer | None, policy: ComputePolicy
    ) -> None:
        self.policy = policy
        shape = (size, size, inputs, outputs)
        self.kernel = nnx.Param(zeros(*shape) if initializer is None else initializer.lecun_normal(shape))
        self.bias = nnx.Param(zeros(outputs))

    def __call__(self, x: Array) -> Array:
        """(B, H, W, inputs) to (B, H, W, outputs)."""
        return self.policy.operations.convolve(x, self.kernel[...], self.bias[...])


class LayerNorm(nnx.Module):
    """Layer normalization over channels (Ba, Kiros, Hinton 2016, arXiv:1607.06450), eps 1e-6.

    Args:
        channels: Of input and output.
        policy: How.
    """

    def __init__(self, channels: int, policy: ComputePolicy) -> None:
        self.policy = policy
        self.scale = nnx.Param(zeros(channels) + 1)
        self.bias = nnx.Param(zeros(channels))

    def __call__(self, x: Array) -> Array:
        """(B, H, W, channels) to the same; moments are taken in at least float32."""
        return self.policy.operations.layer_norm(x, self.scale[...], self.bias[...])


class GatedBlock(nnx.Module):
    """`x + value * sigmoid(gate)`, the two from ConcatELU, Conv 3x3, ConcatELU, Conv 1x1.

    Args:
        channels: Of input and output.
        initializer: Source of the initial kernels.
        policy: How.
    """

    def __init__(self, channels: int, initializer: Initializer, policy: ComputePolicy) -> None:
        self.policy = policy
        self.conv = Conv(2 * channels, channels, 3, initializer, policy)
        self.gate = Conv(2 * channels, 2 * channels, 1, initializer, policy)

    def __call__(self, x: Array) -> Array:
        """(B, H, W, channels) to the same."""
        compute = self.policy.operations
        return compute.add_gated(x, self.conv(compute.concat_elu(x)), self.gate.kernel[...], self.gate.bias[...])


class GatedAttention(nnx.Module):
    """Self-attention over all places, gated, added to its input and normalized (Vaswani et al. 2017, arXiv:1706.03762;
    in a flow: Ho et al. 2019, arXiv:1902.00275). Each place has a vector of its own that is learned.

    Args:
        channels: Of the input, a multiple of `heads`.
        heads: Number of attentions side by side.
        size: (H, W) of the input.
        initializer: Source of the initial weights.
        policy: How.
    """

    def __init__(
        self, channels: int, heads: int, size: tuple[int, int], initializer: Initializer, policy: ComputePolicy
    ) -> None:
        self.heads = heads
        self.place = nnx.Param(initializer.lecun_normal((*size, channels)))
        self.query_key_value = Conv(channels, 3 * channels, 1, initializer, policy)
        self.gate = Conv(channels, 2 * channels, 1, initializer, policy)
        self.norm = LayerNorm(channels, policy)

    def __call__(self, x: Array) -> Array:
        """(B, H, W, channels) to the same."""
        batch, height, width, channels = x.shape
        together = self.query_key_value(x + self.place[...].astype(x.dtype)[None])
        parts = together.reshape(batch, height * width, 3, self.heads, channels // self.heads)
        attended = jax.nn.dot_product_attention(parts[:, :, 0], parts[:, :, 1], parts[:, :, 2])
        value, gate = jnp.split(self.gate(attended.reshape(x.shape)), 2, axis=-1)
        return self.norm(x + value * jax.nn.sigmoid(gate))


class GatedTrunk(nnx.Module):
    """Conv 3x3, then gated blocks, each with LayerNorm over channels and, if asked for, self-attention.

    Args:
        inputs: Channels of the input.
        hidden: Channels inside, and of the output.
        initializer: Source of the initial weights (LeCun normal).
        blocks: Number of gated blocks.
        attention: Heads, and (H, W) of the input, of a self-attention after every gated block; None for none.
        policy: How.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        *,
        initializer: Initializer,
        blocks: int = 3,
        attention: tuple[int, tuple[int, int]] | None = None,
        policy: ComputePolicy = PLAIN,
    ) -> None:
        self.policy = policy
        how = initializer, policy
        self.conv_in = Conv(inputs, hidden, 3, *how)
        self.blocks = nnx.List([GatedBlock(hidden, *how) for _ in range(blocks)])
        self.norms = nnx.List([LayerNorm(hidden, policy) for _ in range(blocks)])
        attentions = [GatedAttention(hidden, *attention, *how) for _ in range(blocks)] if attention else []
        self.attention = nnx.List(attentions)

    def __call__(self, x: Array) -> Array:
        """(B, H, W, inputs) to (B, H, W, hidden)."""
        return _network(self, x)

    def _features(self, x: Array) -> Array:
        x = self.conv_in(x)
        for index, (block, norm) in enumerate(zip(self.blocks, self.norms, strict=True)):
            x = norm(block(x))
            if self.attention:
                x = self.attention[index](x)
        return x


@jax.jit
def _network(network: GatedTrunk, x: Array) -> Array:
    """A function of its own: networks of the same sizes are traced and lowered once, in a third less time."""

    def compute(x: Array) -> Array:
        return network._features(x.astype(network.policy.dtype or x.dtype)).astype(x.dtype)

    return jax.checkpoint(compute)(x) if network.policy.remat else compute(x)


class GatedConvNet(GatedTrunk):
    """The network of a coupling: gated blocks, ConcatELU, Conv 3x3 that starts at zero.

    Args:
        inputs: Channels of the input.
        hidden: Channels inside.
        outputs: Channels of the output.
        trunk: `initializer`, `blocks`, `attention` and `policy`, as for the trunk.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, **trunk: Any) -> None:
        super().__init__(inputs, hidden, **trunk)
        self.conv_out = Conv(2 * hidden, outputs, 3, None, self.policy)

    def _features(self, x: Array) -> Array:
        return self.conv_out(self.policy.operations.concat_elu(super()._features(x)))
