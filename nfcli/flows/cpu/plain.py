"""What a CPU does in the place of what XLA would, where that is slow; other platforms get what XLA does."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array

CHUNK = 16
"""Images whose share of a kernel's gradient is computed at a time: more would leave the caches."""

FEW = 16
"""So many output channels count as few."""

VERY_FEW = 4
"""So many input channels count as few."""


def on_cpu() -> bool:
    """Whether what is traced now is for a CPU; `jax.lax.platform_dependent` traces it for all, in more time."""
    return jax.default_backend() == "cpu"


@jax.custom_vjp
def convolve(x: Array, kernel: Array) -> Array:
    """Convolution of odd square kernels, stride 1, zeros around: (B, H, W, I) and (K, K, I, O) to (B, H, W, O)."""
    size, _, inputs, outputs = kernel.shape
    if size == 1:
        return jnp.einsum("bhwi,io->bhwo", x, kernel[0, 0])
    if on_cpu() and outputs <= FEW and inputs >= 4 * outputs:
        return _shifted_sums(x, kernel)
    if on_cpu() and x.shape[2] % 2 == 0 and (outputs <= FEW or inputs <= VERY_FEW):
        return _two_pixels_at_once(x, kernel)
    return _as_xla_does(x, kernel)


def _as_xla_does(x: Array, kernel: Array) -> Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def _shifted_sums(x: Array, kernel: Array) -> Array:
    """All products with the kernel as one matrix product; then each is added where it belongs."""
    size, _, inputs, outputs = kernel.shape
    batch, height, width, _ = x.shape
    flat = kernel.transpose(2, 0, 1, 3).reshape(inputs, -1)
    # Sums of half precision would lose their digits.
    products = jnp.einsum("bhwi,ip->bhwp", x, flat, preferred_element_type=jnp.promote_types(x.dtype, jnp.float32))
    edge = size // 2
    around = jnp.pad(products, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
    around = around.reshape(batch, height + 2 * edge, width + 2 * edge, size, size, outputs)
    parts = [around[:, i : i + height, j : j + width, i, j] for i in range(size) for j in range(size)]
    return sum(parts[1:], parts[0]).astype(x.dtype)


def _two_pixels_at_once(x: Array, kernel: Array) -> Array:
    """An even width in steps of two, with a kernel that is one wider and has the outputs of two neighbours."""
    size, _, inputs, outputs = kernel.shape
    left, right = (jnp.pad(kernel, ((0, 0), (by, 1 - by), (0, 0), (0, 0))) for by in (0, 1))
    both = jnp.stack([left, right], axis=3).reshape(size, size + 1, inputs, 2 * outputs)
    edge = (size // 2, size // 2)
    pairs = jax.lax.conv_general_dilated(x, both, (1, 2), (edge, edge), dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return pairs.reshape(*x.shape[:-1], outputs)


def _backwards(remembered: tuple[Array, Array], gradient: Array) -> tuple[Array, Array]:
    x, kernel = remembered
    # The same sums as a convolution with the kernel turned around, so that few channels are cheap here too.
    towards_x = convolve(gradient, jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    if len(kernel) == 1:
        # A product an image; one of all images is slower.
        return towards_x, jnp.sum(jnp.einsum("bhwi,bhwo->bio", x, gradient), axis=0)[None, None]
    if on_cpu() and kernel.shape[2] > kernel.shape[3]:
        return towards_x, _in_chunks(x, kernel, gradient)
    return towards_x, *jax.vjp(partial(_as_xla_does, x), kernel)[1](gradient)


def _in_chunks(x: Array, kernel: Array, gradient: Array) -> Array:
    """A correlation of the gradient, which has fewer channels, with the images: its output is the kernel backwards."""
    edge, layout = (len(kernel) // 2, len(kernel) // 2), ("CHWN", "IHWO", "HWCN")
    wide = jnp.promote_types(kernel.dtype, jnp.float32)
    total = jnp.zeros(kernel.shape, wide)
    for start in range(0, len(x), CHUNK):
        few, many = gradient[start : start + CHUNK], x[start : start + CHUNK]
        total += jax.lax.conv_general_dilated(
            few, many, (1, 1), (edge, edge), dimension_numbers=layout, preferred_element_type=wide
        )
    return jnp.flip(total, (0, 1)).astype(kernel.dtype)


convolve.defvjp(lambda x, kernel: (convolve(x, kernel), (x, kernel)), _backwards)


@partial(jax.custom_vjp, nondiff_argnums=(1,))
def spread(values: Array, shape: tuple[int, ...]) -> Array:
    """(C,) to (B, H, W, C)."""
    return jnp.broadcast_to(values, shape)


def _sum_of_rows(shape: tuple[int, ...], _: None, gradient: Array) -> tuple[Array]:
    rows = gradient.reshape(-1, shape[-1])
    # On CPU as a matrix product; XLA's own sum is compiled to a single chain of additions.
    return ((jnp.ones((1, len(rows)), rows.dtype) @ rows)[0] if on_cpu() else jnp.sum(rows, axis=0),)


spread.defvjp(lambda values, shape: (spread(values, shape), None), _sum_of_rows)


def both_elus(x: Array) -> Array:
    """`[elu(x), elu(-x)]`, (..., C) to (..., 2, C)."""
    # One exponential serves both halves, because at most one of x and -x is negative. Stacked, they are computed in one
    # loop; concatenated, in two.
    tail = jnp.exp(-jnp.abs(x)) - 1
    return jnp.stack([jnp.where(x >= 0, x, tail), jnp.where(x > 0, tail, -x)], axis=-2)


def once(x: Array) -> Array:
    """`x`; it and its gradient are computed once, not in all that uses them, if XLA's "cse_barrier_expander" is off."""
    return jax.lax.optimization_barrier(x) if on_cpu() else x


@jax.custom_vjp
def gradient_once(x: Array) -> Array:
    """`x`, whose gradient is computed once. In reverse mode only."""
    return x


gradient_once.defvjp(lambda x: (x, None), lambda _, gradient: (once(gradient),))
