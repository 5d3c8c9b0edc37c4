"""The operations of a coupling's network, as XLA computes them on any device; gradients in reverse mode only.

`nfcli.flows.matrix_units` has the same four for the matrix units of CPUs.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from nfcli.flows import convolution
from nfcli.flows.barriers import gradient_once, once

FEW_CHANNELS = 16
"""XLA on CPU does not vectorize loops over so few: twice the exponentials, over twice as many, take less time."""


def convolve(x: Array, kernel: Array, bias: Array) -> Array:
    """Convolution of odd square kernels, stride 1, zeros around, plus a bias: (B, H, W, I) to (B, H, W, O).

    Args:
        x: (B, H, W, I).
        kernel: (K, K, I, O); computed with in the type of `x`.
        bias: (O,); keeps its own type: its gradient is a sum over all pixels, which half precision would lose.
    """
    return convolution.add_bias(convolution.convolve(x, kernel.astype(x.dtype)), bias)


@jax.custom_vjp
def concat_elu(x: Array) -> Array:
    """`[elu(x), elu(-x)]` on the channel axis: (..., C) to (..., 2C). In reverse mode only.

    The gradient follows from the result alone, which the next convolution keeps in any case.
    """
    # In half precision the difference would lose its digits.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    if x.shape[-1] <= FEW_CHANNELS:
        both = jnp.concatenate([wide, -wide], axis=-1)
        return once(jnp.where(both >= 0, both, jnp.exp(-jnp.abs(both)) - 1).astype(x.dtype))
    # One exponential serves both halves, because at most one of x and -x is negative. Stacked, they are computed in one
    # loop; concatenated, in two.
    tail = jnp.exp(-jnp.abs(wide)) - 1
    halves = [jnp.where(wide >= 0, wide, tail), jnp.where(wide > 0, tail, -wide)]
    return once(jnp.stack(halves, axis=-2).reshape(*x.shape[:-1], -1).astype(x.dtype))


def _concat_elu_backwards(result: Array, gradient: Array) -> tuple[Array]:
    plus, minus = jnp.split(result, 2, axis=-1)
    towards_plus, towards_minus = jnp.split(once(gradient), 2, axis=-1)
    # Of the two halves one is x or -x, and the other an exponential less 1.
    rising = towards_plus - towards_minus * (minus + 1)
    falling = towards_plus * (plus + 1) - towards_minus
    return (jnp.where(plus >= 0, rising, falling),)


def _concat_elu_forwards(x: Array) -> tuple[Array, Array]:
    result = concat_elu(x)
    return result, result


concat_elu.defvjp(_concat_elu_forwards, _concat_elu_backwards)


def add_gated(x: Array, hidden: Array, kernel: Array, bias: Array) -> Array:
    """`x + value * sigmoid(gate)`, the two from ConcatELU and a 1x1 convolution of `hidden`; all (B, H, W, C)."""
    value, gate = jnp.split(gradient_once(convolve(concat_elu(hidden), kernel, bias)), 2, axis=-1)
    return gradient_once(x + value * jax.nn.sigmoid(gate))


def layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    """Layer normalization over channels, eps 1e-6: (B, H, W, C), (C,) and (C,) to (B, H, W, C).

    Moments are taken in at least float32.
    """
    dtype = x.dtype
    x = x.astype(jnp.promote_types(dtype, jnp.float32))
    mean = jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(x), axis=-1, keepdims=True) - jnp.square(mean)
    normal = (x - mean) * jax.lax.rsqrt(jnp.maximum(variance, 0) + 1e-6)
    return convolution.add_bias(convolution.scale_channels(normal, scale), bias).astype(dtype)
