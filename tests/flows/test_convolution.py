"""The convolution's gradients, in whatever order they are summed, are those of the plain one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.flows.convolution import CHUNK, add_bias, convolve, scale_channels

# Each way of computing it: few outputs, fewer outputs than inputs, more, 1x1; batches of one, of a chunk and beyond;
# odd and even widths.
SHAPES = [(3, 8, 2), (3, 6, 4), (3, 2, 5), (3, 4, 4), (1, 4, 6), (1, 6, 2), (5, 8, 2), (5, 3, 2)]


def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize(("batch", "width"), [(1, 7), (1, 8), (CHUNK, 8), (CHUNK + 3, 7)])
@pytest.mark.parametrize(("size", "inputs", "outputs"), SHAPES)
def test_values_and_gradients_are_those_of_the_plain_convolution(size, inputs, outputs, batch, width):
    generator = np.random.default_rng(size + inputs + outputs)
    with jax.enable_x64(True):
        x = jnp.asarray(generator.normal(size=(batch, 5, width, inputs)))
        kernel = jnp.asarray(generator.normal(size=(size, size, inputs, outputs)))
        weights = generator.normal(size=(batch, 5, width, outputs))
        found, wanted = (
            jax.jit(jax.value_and_grad(lambda x, kernel, f=f: jnp.sum(f(x, kernel) * weights), (0, 1)))(x, kernel)
            for f in (convolve, plain)
        )
        np.testing.assert_allclose(convolve(x, kernel), plain(x, kernel), rtol=1e-10, atol=1e-10)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)


def test_bias_and_its_gradient():
    generator = np.random.default_rng(0)
    with jax.enable_x64(True):
        x, weights = generator.normal(size=(2, 3, 5, 7, 4))
        bias = jnp.asarray(generator.normal(size=4))
        value, gradients = jax.jit(jax.value_and_grad(lambda x, b: jnp.sum(add_bias(x, b) * weights), (0, 1)))(x, bias)
    np.testing.assert_allclose(value, np.sum((x + np.asarray(bias)) * weights), rtol=1e-12)
    np.testing.assert_allclose(gradients[0], weights, rtol=1e-12)
    np.testing.assert_allclose(gradients[1], weights.sum((0, 1, 2)), rtol=1e-12)


def test_scaled_channels_and_their_gradients():
    generator = np.random.default_rng(1)
    with jax.enable_x64(True):
        x, weights = generator.normal(size=(2, 3, 5, 7, 4))
        scale = jnp.asarray(generator.normal(size=4))
        value, gradients = jax.jit(
            jax.value_and_grad(lambda x, scale: jnp.sum(scale_channels(x, scale) * weights), (0, 1))
        )(jnp.asarray(x), scale)
    np.testing.assert_allclose(value, np.sum(x * np.asarray(scale) * weights), rtol=1e-12)
    np.testing.assert_allclose(gradients[0], weights * np.asarray(scale), rtol=1e-12)
    np.testing.assert_allclose(gradients[1], (x * weights).sum((0, 1, 2)), rtol=1e-12)


def test_half_precision_loses_nothing_in_the_gradient_of_the_bias():
    # 32 * 28 * 28 ones: summed in bfloat16, they would stop at 256.
    x, bias = jnp.ones((32, 28, 28, 3), jnp.bfloat16), jnp.zeros(3)
    result, of_bias = jax.jit(lambda x, b: (add_bias(x, b), jax.grad(lambda b: add_bias(x, b).sum())(b)))(x, bias)
    assert result.dtype == jnp.bfloat16
    assert of_bias.dtype == jnp.float32
    np.testing.assert_array_equal(of_bias, 32 * 28 * 28)
