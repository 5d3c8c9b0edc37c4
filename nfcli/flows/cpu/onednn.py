"""A network's operations by oneDNN: bfloat16 or float32 in and out, sums and moments in float32.

XLA's CPU compiler turns bfloat16 into float32 before it multiplies, so that the matrix units of a CPU do nothing, and
its convolutions in float32 are slower, too. Its runtime still holds oneDNN, and calls it where a program asks by name
for `__onednn$convolution` or `__onednn$matmul`. These names are XLA's own:
`nfcli.backend.probe` tries them, in another process, before anything here is used. jaxlib cannot write a program that
holds such a call, so each start compiles. The operations have a gradient in reverse mode only.

There is no call for the gradient of a kernel. It is a convolution itself, of images that lie in the channels: the
smaller side is folded into the width, so that its tiles are full. Where a side has few channels, its neighbourhoods are
written out, which a convolution with a kernel of ones and zeros does, and the rest is a product of matrices.
"""

import json
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.lax import optimization_barrier

from nfcli.flows.operations import concat_elu_gradient, moments

CONVOLUTION, MATMUL = "__onednn$convolution", "__onednn$matmul"

FEW_CHANNELS = 8
"""So many channels, written out as neighbourhoods, are cheaper than folded."""

FEW_IMAGES = 16
"""Of float32, from which a kernel's gradient is computed at a time: more leave the caches, and take 5 % of a step."""

SIDE_BY_SIDE = 1024
"""Columns of a sum over rows that have few channels."""

Pair = tuple[int, int]


def _call(target: str, name: str, settings: Any, result: Any, *operands: Array, then: str = "") -> Array:
    """What `target` makes of two operands; `then`, what oneDNN does to each value: BIAS, with a third one, or ELU."""
    config = json.dumps({name: {**settings, **({"fusions": {"ops": [then]}} if then else {})}})
    call: Any = jax.ffi.ffi_call(target, result, custom_call_api_version=2, legacy_backend_config=config)
    return call(*operands)


def _convolution(
    x: Array, kernel: Array, dtype: Any, *bias: Array, padding: Pair | None = None, dilation: Pair = (1, 1), **more: Any
) -> Array:
    """(B, H, W, I) with (K, L, I, O), stride 1, to (B, H', W', O), as large as the image if no padding is given.

    `more` as of a call.
    """
    padding = padding or (kernel.shape[0] // 2, kernel.shape[1] // 2)
    sizes = [x.shape[i + 1] + 2 * padding[i] - dilation[i] * (kernel.shape[i] - 1) for i in range(2)]
    data = {"data": {"batch_dim": 0, "feature_dim": 3, "spatial_dims": [1, 2]}}
    filters = {"filter": {"input_feature_dim": 2, "output_feature_dim": 3, "spatial_dims": [0, 1]}}
    window = {"pad_left": padding, "pad_right": padding, "strides": [1, 1], "window_dilations": dilation}
    settings = {"dims": 4, "feature_groups": 1, "input": data, "kernel": filters, "output": data, "window": window}
    result = jax.ShapeDtypeStruct((len(x), *sizes, kernel.shape[3]), dtype)
    return _call(CONVOLUTION, "onednn_conv_config", settings, result, x, kernel, *bias, **more)


def _matmul(a: Array, b: Array, dtype: Any, *bias: Array, turned: bool = False, **more: Any) -> Array:
    """Product of two matrices, the first of which may come transposed; the bias is (1, N), `more` as of a call."""
    settings = {"transpose_a": turned, "transpose_b": False}
    result = jax.ShapeDtypeStruct((a.shape[1 if turned else 0], b.shape[1]), dtype)
    return _call(MATMUL, "onednn_matmul_config", settings, result, a, b, *bias, **more)


def _rows(x: Array) -> Array:
    """(..., C) to (P, C)."""
    return x.reshape(-1, x.shape[-1])


def _product(x: Array, kernel: Any, *bias: Array, **more: Any) -> Array:
    """A convolution: of images, (B, H, W, I), with (K, K, I, O), or of pixels as rows, (P, I), with (1, 1, I, O)."""
    kernel = jnp.asarray(kernel, x.dtype)
    if x.ndim == 2:
        return _matmul(x, kernel[0, 0], x.dtype, *(each[None] for each in bias), **more)
    return _convolution(x, kernel, x.dtype, *bias, **more)


def convolve(x: Array, kernel: Array, bias: Array) -> Array:
    """Convolution of odd square kernels, stride 1, zeros around, plus a bias.

    Args:
        x: (B, H, W, I), in the type to compute in, bfloat16 or float32.
        kernel: (K, K, I, O), float32.
        bias: (O,), float32.

    Returns:
        (B, H, W, O), in the same type.
    """
    if len(kernel) > 1:
        return _convolve(x, kernel, bias)
    return _convolve(_rows(x), kernel, bias).reshape(*x.shape[:-1], -1)


@jax.custom_vjp
def _convolve(x: Array, kernel: Array, bias: Array) -> Array:
    return _product(x, kernel, bias, then="BIAS")


def _convolve_backwards(remembered: tuple[Array, Array], gradient: Array) -> tuple[Array, Array, Array]:
    x, kernel = remembered
    towards_x = _product(gradient, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    return towards_x, _towards_kernel(x, gradient, len(kernel)), _sum_of_rows(gradient)


_convolve.defvjp(lambda x, kernel, bias: (_convolve(x, kernel, bias), (x, kernel)), _convolve_backwards)


def _towards_kernel(x: Array, gradient: Array, size: int) -> Array:
    """The gradient of a (K, K, I, O) kernel, given the input (B, H, W, I) and the gradient of the output, or rows."""
    inputs = x.shape[-1]
    if size > 1 and inputs > gradient.shape[-1]:
        # Seen from the output, the input moves the other way.
        return jnp.flip(_towards_kernel(gradient, x, size), (0, 1)).swapaxes(2, 3)
    if size > 1 and inputs > FEW_CHANNELS:
        at_once = FEW_IMAGES if x.dtype == jnp.float32 else len(x)
        parts = [slice(start, start + at_once) for start in range(0, len(x), at_once)]
        first, *others = (_folded(x[part], gradient[part], size) for part in parts)
        found = sum(others, first)
    else:
        count = size * size * inputs
        neighbourhoods = x if size == 1 else _product(x, np.eye(count).reshape(size, size, inputs, count))
        found = _matmul(_rows(neighbourhoods), _rows(gradient), jnp.float32, turned=True)
    return found.reshape(size, size, inputs, -1)


def _folded(x: Array, gradient: Array, size: int) -> Array:
    """The same as (1, K, K * I, O), by a convolution whose channels are images and whose kernel is the gradient."""
    batch, height, _, inputs = x.shape
    images = x.transpose(1, 2, 3, 0).reshape(1, height, -1, batch)
    padding, dilation = (size // 2, size // 2 * inputs), (1, inputs)
    return _convolution(images, gradient.transpose(1, 2, 0, 3), jnp.float32, padding=padding, dilation=dilation)


def _sum_of_rows(x: Array) -> Array:
    """(..., C) to (C,), float32."""
    rows, channels = _rows(x), x.shape[-1]
    # A product with ones; where channels are few, of many rows side by side, which takes half the time.
    beside = math.gcd(len(rows), SIDE_BY_SIDE // channels) if channels <= 2 * FEW_CHANNELS else 1
    wide = rows.reshape(-1, beside * channels)
    return _matmul(jnp.ones((1, len(wide)), x.dtype), wide, jnp.float32).reshape(beside, channels).sum(axis=0)


@jax.custom_vjp
def concat_elu(x: Array) -> Array:
    """`[elu(x), elu(-x)]` on the channel axis: images, (B, H, W, C), or rows, (P, C), to the same with 2C."""
    # A product with ones, minus ones and zeros is exact, and what follows it costs no pass over memory.
    same = np.eye(x.shape[-1])
    return _product(x, np.hstack([same, -same])[None, None], then="ELU")


def _concat_elu_backwards(result: Array, gradient: Array) -> tuple[Array]:
    wide = optimization_barrier(result).astype(jnp.float32)
    towards_x = concat_elu_gradient(wide, gradient.astype(jnp.float32))
    return (optimization_barrier(towards_x.astype(result.dtype)),)


concat_elu.defvjp(lambda x: (concat_elu(x),) * 2, _concat_elu_backwards)


def add_gated(x: Array, hidden: Array, kernel: Array, bias: Array) -> Array:
    """`x + value * sigmoid(gate)`, the two from ConcatELU and a 1x1 convolution of `hidden`; all (B, H, W, C)."""
    # As rows from here on: to XLA another shape of bfloat16 is a copy, and these are its smallest.
    return _add(x, _convolve(concat_elu(_rows(hidden)), kernel, bias))


@jax.custom_vjp
def _add(x: Array, value_and_gate: Array) -> Array:
    value, gate = jnp.split(value_and_gate.astype(jnp.float32), 2, axis=-1)
    added = (value * jax.nn.sigmoid(gate)).reshape(x.shape)
    return optimization_barrier((x.astype(jnp.float32) + added).astype(x.dtype))


def _add_backwards(value_and_gate: Array, gradient: Array) -> tuple[Array, Array]:
    value, gate = jnp.split(optimization_barrier(value_and_gate).astype(jnp.float32), 2, axis=-1)
    open_, wide = jax.nn.sigmoid(gate), gradient.astype(jnp.float32).reshape(value.shape)
    towards_value = wide * open_
    both = jnp.concatenate([towards_value, towards_value * value * (1 - open_)], axis=-1)
    return gradient, optimization_barrier(both.astype(gradient.dtype))


_add.defvjp(lambda x, both: (_add(x, both), both), _add_backwards)


@jax.custom_vjp
def layer_norm(x: Array, scale: Array, bias: Array) -> Array:
    """Layer normalization over channels: (B, H, W, C) to the same; (C,) scale and bias, float32."""
    return _layer_norm_forwards(x, scale, bias)[0]


def _layer_norm_forwards(x: Array, scale: Array, bias: Array) -> tuple[Array, tuple[Array, ...]]:
    wide, mean, precision = moments(x)
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
