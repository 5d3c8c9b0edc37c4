"""By oneDNN, on CPUs that it is fast on, a network computes what it computes elsewhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.backend.programs import without_cache
from nfcli.flows import operations
from nfcli.flows.cpu import onednn
from nfcli.flows.initializers import Initializer
from nfcli.flows.networks import ComputePolicy, GatedConvNet

SHAPES = [(3, 2, 16), (3, 32, 2), (3, 32, 16), (3, 16, 16), (3, 12, 20), (1, 24, 10), (5, 3, 9)]

ROUNDING = {"bfloat16": 0.02, "float32": 1e-5}
"""Of a result, relative to the largest one; bfloat16 has 8 bits."""


@pytest.fixture
def dtype(onednn_type):
    with without_cache():
        yield onednn_type


def close(dtype, found, wanted):
    for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        want = np.asarray(want, np.float32)
        tolerance = ROUNDING[dtype] * np.abs(want).max()
        np.testing.assert_allclose(np.asarray(got, np.float32), want, rtol=0, atol=tolerance)


def draw(*shape):
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


def half(x):
    """Values that both ways of computing can hold."""
    return x.astype(jnp.bfloat16).astype(jnp.float32)


def both_ways(dtype, name, x, *rest):
    """Values and gradients of an operation, and those of the plain one in float32."""
    found = []
    for module, of in ((onednn, dtype), (operations, "float32")):

        def loss(x, *rest, module=module):
            result = getattr(module, name)(x, *rest).astype(jnp.float32)
            return jnp.sum(result * draw(*result.shape)), result

        def cast(array, of=of):
            return half(array).astype(of if array.ndim == 4 and array.shape[0] == x.shape[0] else jnp.float32)

        arguments = [cast(array) for array in (x, *rest)]
        gradient = jax.jit(jax.grad(loss, tuple(range(len(arguments))), has_aux=True))
        found.append(gradient(*arguments))
    return found


@pytest.mark.parametrize(("height", "width"), [(5, 7), (8, 8)])
@pytest.mark.parametrize(("size", "inputs", "outputs"), SHAPES)
def test_convolutions(dtype, size, inputs, outputs, height, width):
    kernel = draw(size, size, inputs, outputs) / size
    close(dtype, *both_ways(dtype, "convolve", draw(6, height, width, inputs), kernel, draw(outputs)))


def test_a_kernel_s_gradient_of_more_images_than_are_computed_at_a_time(dtype):
    images = 2 * onednn.FEW_IMAGES + 5
    close(dtype, *both_ways(dtype, "convolve", draw(images, 5, 6, 24), draw(3, 3, 24, 12) / 3, draw(12)))


def test_concat_elu(dtype):
    close(dtype, *both_ways(dtype, "concat_elu", draw(6, 5, 7, 12)))


def test_gates(dtype):
    hidden, kernel = draw(6, 5, 7, 12) / 2, draw(1, 1, 24, 24) / 5
    close(dtype, *both_ways(dtype, "add_gated", draw(6, 5, 7, 12), hidden, kernel, draw(24)))


def test_layer_norm(dtype):
    close(dtype, *both_ways(dtype, "layer_norm", draw(6, 5, 7, 16), draw(16), draw(16)))


@pytest.mark.parametrize("attention", [None, (2, (4, 4))], ids=["plain", "attention"])
def test_a_network_keeps_the_types_outside_and_its_parameters(dtype, attention):
    networks = [
        GatedConvNet(2, 16, 4, initializer=Initializer(jax.random.key(0), 10**5), attention=attention, policy=policy)
        for policy in (ComputePolicy(jnp.dtype(dtype), onednn=True), ComputePolicy())
    ]
    for network in networks:
        network.conv_out.kernel[...] = draw(3, 3, 32, 4) / 10
    found, wanted = (jax.jit(lambda x, network=network: network(x))(half(draw(4, 4, 4, 2))) for network in networks)
    assert found.dtype == jnp.float32
    close(dtype, found, wanted)
