"""The convolution's gradients, in whatever order they are summed, are those of the plain one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.flows.cpu.plain import CHUNK, spread
from nfcli.flows.operations import convolve

# Each way of computing it: few outputs, fewer outputs than inputs, more, 1x1; batches of one, of a chunk and beyond;
# odd and even widths.
SHAPES = [(3, 8, 2), (3, 6, 4), (3, 2, 5), (3, 4, 4), (1, 4, 6), (1, 6, 2), (5, 8, 2), (5, 3, 2)]


def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def without_bias(x, kernel):
    return convolve(x, kernel, np.zeros(kernel.shape[-1], kernel.dtype))


@pytest.mark.parametrize(("batch", "width"), [(1, 7), (1, 8), (CHUNK, 8), (CHUNK + 3, 7)])
@pytest.mark.parametrize(("size", "inputs", "outputs"), SHAPES)
def test_values_and_gradients_are_those_of_the_plain_convolution(size, inputs, outputs, batch, width):
    generator = np.random.default_rng(size + inputs + outputs)
    with jax.enable_x64(True):
        x = generator.normal(size=(batch, 5, width, inputs))
        kernel = generator.normal(size=(size, size, inputs, outputs))
        weights = generator.normal(size=(batch, 5, width, outputs))

        def values_and_gradients(convolution, x, kernel):
            total = jax.value_and_grad(lambda x, kernel: jnp.sum(convolution(x, kernel) * weights), (0, 1))
            return convolution(x, kernel), total(x, kernel)

        ways = (without_bias, plain)
        found, wanted = jax.jit(lambda *given: [values_and_gradients(way, *given) for way in ways])(x, kernel)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


def test_spread_channels_and_their_gradient():
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        values, weights = jnp.asarray(generator.normal(size=4)), generator.normal(size=(3, 5, 7, 4))
        total = jax.jit(jax.value_and_grad(lambda values: jnp.sum(spread(values, weights.shape) * weights)))
        found, gradient = total(values)
    np.testing.assert_allclose(found, np.sum(np.asarray(values) * weights), rtol=1e-12)
    np.testing.assert_allclose(gradient, weights.sum((0, 1, 2)), rtol=1e-12)


def test_half_precision_loses_nothing_in_the_gradient_of_the_bias():
    # 32 * 28 * 28 ones: summed in bfloat16, they would stop at 256.
    x, kernel, bias = jnp.ones((32, 28, 28, 3), jnp.bfloat16), jnp.ones((1, 1, 3, 3)), jnp.zeros(3)
    gradient = jax.jit(jax.grad(lambda bias: convolve(x, kernel, bias).sum()))(bias)
    assert convolve(x, kernel, bias).dtype == jnp.bfloat16
    assert gradient.dtype == jnp.float32
    np.testing.assert_array_equal(gradient, 32 * 28 * 28)


def test_half_precision_loses_nothing_between_chunks_of_a_kernel_s_gradient():
    # 25 ones of each of 320 images: summed in bfloat16, chunk by chunk, they would be 7872.
    x, kernel, bias = jnp.ones((320, 5, 5, 6), jnp.bfloat16), jnp.zeros((3, 3, 6, 3)), jnp.zeros(3)
    gradient = jax.jit(jax.grad(lambda kernel: convolve(x, kernel, bias).astype(jnp.float32).sum()))(kernel)
    np.testing.assert_array_equal(gradient[1, 1], 320 * 25)
