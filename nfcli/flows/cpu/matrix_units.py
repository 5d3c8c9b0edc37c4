"""A network's operations on the matrix units of CPUs: bfloat16 in and out, sums and moments in float32.

XLA's CPU compiler turns bfloat16 into float32 before it multiplies. Its runtime still holds oneDNN, and calls it where
a program asks by name for `__onednn$convolution` or `__onednn$matmul`. These names are XLA's own:
`nfcli.backend.probe` tries them, in another process, before anything here is used. jaxlib cannot write a program that
holds such a call, so each start of a training compiles. The operations have a gradient in reverse mode only.

There is no call for the gradient of a kernel. It is a convolution itself, of images that lie in the channels: the
smaller side is folded into the width, so that the units are full. Where a side has few channels, its neighbourhoods are
written out, which a convolution with a kernel of ones and zeros does, and the rest is a product of matrices.
"""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import optimization_barrier

CONVOLUTION, MATMUL = "__onednn$convolution", "__onednn$matmul"

FEW_CHANNELS = 8
"""So many channels, written out as neighbourhoods, are cheaper than folded."""

EPSILON = 1e-6
"""Added to the variance by a layer normalization."""

Pair = tuple[int, int]


def _call(
    target: str, name: str, settings: Any, result: Any, *operands: Array, bias: Array | None = None, then: str = ""
) -> Array:
    """What `target` makes of two operands, plus a bias; `then` names what oneDNN does to each value of that."""
    fusions = [*(["BIAS"] if bias is not None else []), *([then] if then else [])]
    config = json.dumps({name: {**settings, **({"fusions": {"ops": fusions}} if fusions else {})}})
    call: Any = jax.ffi.ffi_call(target, result, custom_call_api_version=2, legacy_backend_config=config)
    found: Array = call(*operands, *([] if bias is None else [bias]))
    return found


def _convolution(x: Array, kernel: Array, dtype: Any, *, padding: Pair, dilation: Pair = (1, 1), **more: Any) -> Array:
    """(B, H, W, I) with (K, L, I, O), stride 1, to (B, H', W', O); `more` as of a call."""
    sizes = [x.shape[i + 1] + 2 * padding[i] - dilation[i] * (kernel.shape[i] - 1) for i in range(2)]
    data = {"data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    filters = {"filter": {"input_feature_dim": 2, "output_feature_dim": 3, "spatial_dims": [0, 1]}}
    window = {"pad_left": padding, "pad_right": padding, "strides": [1, 1], "window_dilations": dilation}
    settings = {"dims": 4, "feature_groups": 1, "input": data, "kernel": filters, "output": data, "window": window}
    result = jax.ShapeDtypeStruct((len(x), *sizes, kernel.shape[3]), dtype)
    return _call(CONVOLUTION, "onednn_conv_config", settings, result, x, kernel, **more)


def _matmul(a: Array, b: Array, dtype: Any, *, turned: Pair = (0, 0), **more: Any) -> Array:
    """Product of two matrices, of which the `turned` ones come transposed; `more` as of a call, the bias (1, N)."""
    settings = {"transpose_a": bool(turned[0]), "transpose_b": bool(turned[1])}
    result = jax.ShapeDtypeStruct((a.shape[turned[0]], b.shape[1 - turned[1]]), dtype)
    return _call(MATMUL, "onednn_matmul_config", settings, result, a, b, **more)


def _rows(x: Array) -> Array:
    """(B, H, W, C) to (B H W, C)."""
    return x.reshape(-1, x.shape[-1])


def convolve(x: Array, kernel: Array, bias: Array) -> Array:
    """Convolution of odd square kernels, stride 1, zeros around, plus a bias.

    Args:
        x: (B, H, W, I), bfloat16.
        kernel: (K, K, I, O), float32.
        bias: (O,), float32.

    Returns:
        (B, H, W, O), bfloat16.
    """
    if len(kernel) > 1:
        return _convolve(x, kernel, bias)
    return _product(_rows(x), kernel, bias).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _convolve(x: Array, kernel: Array, bias: Array) -> Array:
    return _convolution(x, kernel.astype(x.dtype), x.dtype, padding=_same(kernel), bias=bias)


def _convolve_backwards(remembered: tuple[Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    x, kernel = remembered
    turned = jnp.flip(kernel, (0, 1)).swapaxes(2, 3).astype(x.dtype)
    towards_x = _convolution(gradient, turned, x.dtype, padding=_same(kernel))
    return towards_x, _towards_kernel(x, gradient, len(kernel)), _sum_of_rows(gradient)


_convolve.defvjp(lambda x, kernel, bias: (_convolve(x, kernel, bias), (x, kernel)), _convolve_backwards)


@jax.custom_vjp
def _product(rows: Array, kernel: Array, bias: Array) -> Array:
    """A convolution with a 1x1 kernel, of pixels as rows: (P, I), (1, 1, I, O) and (O,) to (P, O)."""
    return _matmul(rows, kernel[0, 0].astype(rows.dtype), rows.dtype, bias=bias[None])


def _product_backwards(remembered: tuple[Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    rows, kernel = remembered
    towards_rows = _matmul(gradient, kernel[0, 0].astype(rows.dtype), rows.dtype, turned=(0, 1))
    towards_kernel = _matmul(rows, gradient, jnp.float32, turned=(1, 0))[None, None]
    return towards_rows, towards_kernel, _sum_of_rows(gradient)


_product.defvjp(lambda rows, kernel, bias: (_product(rows, kernel, bias), (rows, kernel)), _product_backwards)


def _same(kernel: Array) -> Pair:
    return kernel.shape[0] // 2, kernel.shape[1] // 2


def _towards_kernel(x: Array, gradient: Array, size: int) -> Array:
    """The gradient of a (K, K, I, O) kernel, given the input (B, H, W, I) and the gradient of the output."""
    inputs, outputs = x.shape[-1], gradient.shape[-1]
    way = _by_neighbourhoods if min(inputs, outputs) <= FEW_CHANNELS else _folded
    if inputs <= outputs:
        return way(x, gradient, size)
    # Seen from the output, the input moves the other way.
    return jnp.flip(way(gradient, x, size), (0, 1)).swapaxes(2, 3)


def _by_neighbourhoods(few: Array, many: Array, size: int) -> Array:
    channels = few.shape[-1]
    count = size * size * channels
    pick = jnp.asarray(np.eye(count).reshape(size, size, channels, count), few.dtype)
    written_out = _convolution(few, pick, few.dtype, padding=(size // 2, size // 2))
    found = _matmul(_rows(written_out), _rows(many), jnp.float32, turned=(1, 0))
    return found.reshape(size, size, channels, -1)


def _folded(few: Array, many: Array, size: int) -> Array:
    batch, height, width, channels = few.shape
    image = few.transpose(1, 2, 3, 0).reshape(1, height, width * channels, batch)
    padding = (size // 2, size // 2 * channels)
    found = _convolution(image, many.transpose(1, 2, 0, 3), jnp.float32, padding=padding, dilation=(1, channels))
    return found.reshape(size, size, channels, -1)


def _sum_of_rows(x: Array) -> Array:
    """(..., C) to (C,), float32."""
    rows = _rows(x)
    return _matmul(jnp.ones((1, len(rows)), x.dtype), rows, jnp.float32)[0]


@jax.custom_vjp
def concat_elu(x: Array) -> Array:
    """`[elu(x), elu(-x)]` on the channel axis: images, (B, H, W, C), or rows, (P, C), to the same with 2C; bfloat16."""
    # A product with ones, minus ones and zeros is exact, and what follows it costs no pass over memory.
    identity = np.eye(x.shape[-1])
    both = jnp.asarray(np.concatenate([identity, -identity], axis=1), x.dtype)
    if x.ndim == 2:
        return _matmul(x, both, x.dtype, then="ELU")
    return _convolution(x, both[None, None], x.dtype, padding=(0, 0), then="ELU")


def _concat_elu_backwards(result: Array, gradient: Array) -> tuple[Array]:
    plus, minus = jnp.split(optimization_barrier(result).astype(jnp.float32), 2, axis=-1)
    towards_plus, towards_minus = jnp.split(gradient.astype(jnp.float32), 2, axis=-1)
    # Of the two halves one is x or -x, and the other an exponential less 1.
    rising = towards_plus - towards_minus * (minus + 1)
    falling = towards_plus * (plus + 1) - towards_minus
    return (optimization_barrier(jnp.where(plus >= 0, rising, falling).astype(result.dtype)),)


concat_elu.defvjp(lambda x: (concat_elu(x),) * 2, _concat_elu_backwards)


def add_gated(x: Array, hidden: Array, kernel: Array, bias: Array) -> Array:
    """`x + value * sigmoid(gate)`, the two from ConcatELU and a 1x1 convolution of `hidden`; all (B, H, W, C)."""
    # As rows from here on: to XLA another shape of bfloat16 is a copy, and these are its smallest.
    return _add(x, _product(concat_elu(_rows(hidden)), kernel, bias))


@jax.custom_vjp
def _add(x: Array, value_and_gate: Array) -> Array:
    value, gate = jnp.split(value_and_gate.astype(jnp.float32), 2, axis=-1)
    added = (value * _sigmoid(gate)).reshape(x.shape)
    return optimization_barrier((x.astype(jnp.float32) + added).astype(x.dtype))


def _add_backwards(value_and_gate: Array, gradient: Array) -> tuple[Array, Array]:
    value, gate = jnp.split(optimization_barrier(value_and_gate).astype(jnp.float32), 2, axis=-1)
    open_, wide = _sigmoid(gate), gradient.astype(jnp.float32).reshape(value.shape)
    both = jnp.concatenate([wide * open_, wide * value * open_ * (1 - open_)], axis=-1)
    return gradient, optimization_barrier(both.astype(gradient.dtype))


_add.defvjp(lambda x, both: (_add(x, both), both), _add_backwards)


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + jnp.exp(-x))


@jax.custom_vjp
def layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    """Layer normalization over channels: (B, H, W, C), bfloat16, to the same; (C,) scale and bias, float32."""
    return _layer_norm_forwards(x, scale, bias)[0]


def _layer_norm_forwards(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    wide = x.astype(jnp.float32)
    mean = jnp.mean(wide, axis=-1, keepdims=True)
    variance = jnp.mean(jnp.square(wide), axis=-1, keepdims=True) - jnp.square(mean)
    precision = jax.lax.rsqrt(jnp.maximum(variance, 0) + EPSILON)
    result = (wide - mean) * precision * scale[None, None, None, :] + bias[None, None, None, :]
    return optimization_barrier(result.astype(x.dtype)), (x, scale, mean, precision)


def _layer_norm_backwards(remembered: tuple[Array, ...], gradient: Array) -> tuple[Array, Array, Array]:
    # Without this barrier, and those above, XLA would keep what the forward pass computed in float32.
    x, scale, mean, precision = optimization_barrier(remembered)
    normal, wide = (x.astype(jnp.float32) - mean) * precision, gradient.astype(jnp.float32)
    inner = wide * scale[None, None, None, :]
    along = jnp.mean(inner * normal, axis=-1, keepdims=True)
    towards_x = precision * (inner - jnp.mean(inner, axis=-1, keepdims=True) - normal * along)
    towards_scale = _sum_of_rows(optimization_barrier((wide * normal).astype(x.dtype)))
    return optimization_barrier(towards_x.astype(x.dtype)), towards_scale, _sum_of_rows(gradient)


layer_norm.defvjp(_layer_norm_forwards, _layer_norm_backwards)
