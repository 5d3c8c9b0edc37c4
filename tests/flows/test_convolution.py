"""The convolution's gradients, in whatever order they are summed, are those of the plain one."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.flows.convolution import CHUNK, convolve

# Each way of computing it: few outputs, fewer outputs than inputs, more, 1x1; batches of one, of a chunk and beyond.
SHAPES = [(3, 8, 2), (3, 6, 4), (3, 2, 5), (3, 4, 4), (1, 4, 6), (1, 6, 2), (5, 8, 2), (5, 3, 2)]


def plain(x, kernel):
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("batch", [1, CHUNK, CHUNK + 3])
@pytest.mark.parametrize(("size", "inputs", "outputs"), SHAPES)
def test_values_and_gradients_are_those_of_the_plain_convolution(size, inputs, outputs, batch):
    generator = np.random.default_rng(size + inputs + outputs)
    with jax.enable_x64(True):
        x = jnp.asarray(generator.normal(size=(batch, 5, 7, inputs)))
        kernel = jnp.asarray(generator.normal(size=(size, size, inputs, outputs)))
        weights = generator.normal(size=(batch, 5, 7, outputs))
        found, wanted = (
            jax.jit(jax.value_and_grad(lambda x, kernel, f=f: jnp.sum(f(x, kernel) * weights), (0, 1)))(x, kernel)
            for f in (convolve, plain)
        )
        np.testing.assert_allclose(convolve(x, kernel), plain(x, kernel), rtol=1e-10, atol=1e-10)
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert got.dtype == jnp.float64
        np.testing.assert_allclose(got, want, rtol=1e-10, atol=1e-10)
