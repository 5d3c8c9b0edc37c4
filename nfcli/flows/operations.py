"""The operations of a coupling's network: what networks call, on whatever device. Gradients in reverse mode only.

CPUs have ways of their own, which `nfcli.flows.cpu` knows: all four operations by oneDNN, and pieces of them for the
rest.
"""

import jax
import jax.numpy as jnp
from jax import Array

from nfcli.flows.cpu import plain
from nfcli.flows.cpu.plain import gradient_once, once, spread


def convolve(x: Array, kernel: Array, bias: Array) -> Array:
    """Convolution of odd square kernels, stride 1, zeros around, plus a bias: (B, H, W, I) to (B, H, W, O).

    Args:
        x: (B, H, W, I).
        kernel: (K, K, I, O); computed with in the type of `x`.
        bias: (O,); keeps its own type: its gradient is a sum over all pixels, which half precision would lose.
    """
    result = plain.convolve(x, kernel.astype(x.dtype))
    return (result + spread(bias, result.shape)).astype(x.dtype)


@jax.custom_vjp
def concat_elu(x: Array) -> Array:
    """`[elu(x), elu(-x)]` on the channel axis: (..., C) to (..., 2C). In reverse mode only.

    The gradient follows from the result alone, which the next convolution keeps in any case.
    """
    # In half precision the difference would lose its digits.
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    both = plain.both_elus(wide) if plain.on_cpu() else both_elus(wide)
    return once(both.reshape(*x.shape[:-1], -1).astype(x.dtype))


def both_elus(x: Array) -> Array:
    """`[elu(x), elu(-x)]`, (..., C) to (..., 2, C); element by element, so that it joins what computes x."""
    signed = x[..., None, :] * jnp.array([1, -1], x.dtype).reshape(*[1] * (x.ndim - 1), 2, 1)
    return jnp.maximum(signed, 0) + (jnp.exp(jnp.minimum(signed, 0)) - 1)


def concat_elu_gradient(result: Array, gradient: Array) -> Array:
    """The gradient of the input, given the result and its gradient: (..., 2C) and (..., 2C) to (..., C)."""
    plus, minus = jnp.split(result, 2, axis=-1)
    towards_plus, towards_minus = jnp.split(gradient, 2, axis=-1)
    # Of the two halves one is x or -x, and the other an exponential less 1.
    rising = towards_plus - towards_minus * (minus + 1)
    falling = towards_plus * (plus + 1) - towards_minus
    return jnp.where(plus >= 0, rising, falling)


concat_elu.defvjp(
    lambda x: (concat_elu(x),) * 2, lambda result, gradient: (concat_elu_gradient(result, once(gradient)),)
)


def add_gated(x: Array, hidden: Array, kernel: Array, bias: Array) -> Array:
    """`x + value * sigmoid(gate)`, the two from ConcatELU and a 1x1 convolution of `hidden`; all (B, H, W, C)."""
    value, gate = jnp.split(gradient_once(convolve(concat_elu(hidden), kernel, bias)), 2, axis=-1)
    return gradient_once(x + value * jax.nn.sigmoid(gate))


def layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    """Layer normalization over channels, eps 1e-6: (B, H, W, C), (C,) and (C,) to (B, H, W, C).

    Moments are taken in at least float32.
    """
    wide, mean, precision = moments(x)
    return ((wide - mean) * precision * spread(scale, x.shape) + spread(bias, x.shape)).astype(x.dtype)


def moments(x: Array) -> tuple[Array, Array, Array]:
    """`x` in at least float32, its mean over channels and 1 / standard deviation: (..., C), (..., 1) and (..., 1)."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True) - jnp.square(mean)
    return wide, mean, jax.lax.rsqrt(jnp.maximum(variance, 0) + 1e-6)
