"""On the matrix units of a CPU, where there are any, a network computes what it computes elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.backend.programs import without_cache
from nfcli.flows import operations
from nfcli.flows.cpu import matrix_units
from nfcli.flows.initializers import Initializer
from nfcli.flows.networks import ComputePolicy, GatedConvNet

UNITS = ComputePolicy(jnp.dtype(jnp.bfloat16), matrix_units=True)

SHAPES = [(3, 2, 16), (3, 32, 2), (3, 32, 16), (3, 16, 16), (3, 12, 20), (1, 24, 10), (5, 3, 9)]

ROUNDING = 0.02
"""Of a result, relative to the largest one; bfloat16 has 8 bits."""


@pytest.fixture(autouse=True)
def _needs_units(matrix_units_here):
    with without_cache():
        yield


def close(found, wanted):
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        want = np.asarray(want, np.float32)
        np.testing.assert_allclose(np.asarray(got, np.float32), want, rtol=0, atol=ROUNDING * np.abs(want).max())


def draw(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def half(x):
    """Values that both ways of computing can hold."""
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def both_ways(name, x, *rest):
    """Values and gradients of an operation, and those of the plain one in float32."""
    found = []
    for module, dtype in ((matrix_units, jnp.bfloat16), (operations, jnp.float32)):

        def loss(x, *rest, module=module):
            result = getattr(module, name)(x, *rest).astype(jnp.float32)
            return jnp.sum(result * draw(*result.shape)), result

        def cast(array, dtype=dtype):
            return half(array).astype(dtype if array.ndim == 4 and array.shape[0] == x.shape[0] else jnp.float32)

        arguments = [cast(array) for array in (x, *rest)]
        gradient = jax.jit(jax.grad(loss, tuple(range(len(arguments))), has_aux=True))
        found.append(gradient(*arguments))
    return found


@pytest.mark.parametrize(("height", "width"), [(5, 7), (8, 8)])
@pytest.mark.parametrize(
    ("size", "inputs", "outputs"),
    [(3, 2, 16), (3, 32, 2), (3, 32, 16), (3, 16, 16), (3, 12, 20), (1, 24, 10), (5, 3, 9)],
)
def test_convolutions(size, inputs, outputs, height, width):
    kernel = draw(size, size, inputs, outputs) / size
    close(*both_ways("convolve", draw(6, height, width, inputs), kernel, draw(outputs)))


def test_concat_elu():
    close(*both_ways("concat_elu", draw(6, 5, 7, 12)))


def test_gates():
    close(*both_ways("add_gated", draw(6, 5, 7, 12), draw(6, 5, 7, 12) / 2, draw(1, 1, 24, 24) / 5, draw(24)))


def test_layer_norm():
    close(*both_ways("layer_norm", draw(6, 5, 7, 16), draw(16), draw(16)))


@pytest.mark.parametrize("attention", [None, (2, (4, 4))], ids=["plain", "attention"])
def test_a_network_keeps_the_types_outside_and_its_parameters(attention):
    networks = [
        GatedConvNet(2, 16, 4, initializer=Initializer(jax.random.key(0), 10**5), attention=attention, policy=policy)
        for policy in (UNITS, ComputePolicy())
    ]
    for network in networks:
        network.conv_out.kernel[...] = draw(3, 3, 32, 4) / 10
    found, wanted = (jax.jit(lambda x, network=network: network(x))(half(draw(4, 4, 4, 2))) for network in networks)
    assert found.dtype == jnp.float32
    close(found, wanted)
