"""Each layer against its formula, written a second time."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from nfcli.flows import build
from nfcli.flows.coupling import limit_scale
from nfcli.flows.cpu import plain
from nfcli.flows.initializers import Initializer
from nfcli.flows.networks import ComputePolicy, GatedConvNet
from nfcli.flows.operations import both_elus, concat_elu
from nfcli.flows.partitions import make_mask
from nfcli.flows.prior import standard_normal_log_prob
from nfcli.flows.reshaping import Squeeze, split_channels
from nfcli.presets import MaskedCouplings, Preset
from tests.flows import reference
from tests.flows.checks import check_prior
from tests.flows.layers import LAYERS
from tests.flows.parameters import randomized

OTHERS = ("squeeze", "partitioned", "mixture", "spline")
"""Words in the names of layers that are not affine couplings with a mask, or not those alone."""


def arrays(module):
    """A module's parameters as nested dictionaries of numpy arrays, list positions as strings."""

    def with_names(tree):
        return {str(name): with_names(entry) for name, entry in tree.items()} if isinstance(tree, dict) else tree

    return jax.tree.map(np.asarray, with_names(nnx.to_pure_dict(nnx.state(module))))


def test_squeeze():
    x = jnp.arange(1.0, 17.0).reshape(1, 4, 4, 1)
    z, ldj = Squeeze().forward(x)
    assert z[0].tolist() == [[[1, 2, 5, 6], [3, 4, 7, 8]], [[9, 10, 13, 14], [11, 12, 15, 16]]]
    assert ldj.tolist() == [0]


def test_squeeze_keeps_the_channels_of_a_pixel_together():
    x = np.random.default_rng(0).standard_normal((2, 4, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(Squeeze().forward(x)[0], reference.squeeze(x))


def test_split_finishes_the_second_half():
    passing, finished = split_channels(np.arange(4.0)[None, None, None])
    assert (passing.ravel().tolist(), finished.ravel().tolist()) == ([0, 1], [2, 3])


def test_checkerboard_mask():
    assert make_mask("checkerboard", (2, 3, 1))[0, :, :, 0].tolist() == [[0, 1, 0], [1, 0, 1]]
    assert make_mask("checkerboard", (2, 3, 5)).shape == (1, 2, 3, 1)
    assert make_mask("checkerboard", (2, 2, 1), invert=True).ravel().tolist() == [1, 0, 0, 1]


def test_channel_mask():
    assert make_mask("channel", (9, 9, 4)).shape == (1, 1, 1, 4)
    assert make_mask("channel", (9, 9, 4)).ravel().tolist() == [1, 1, 0, 0]
    assert make_mask("channel", (9, 9, 5)).ravel().tolist() == [1, 1, 0, 0, 0]
    assert make_mask("channel", (9, 9, 4), invert=True).ravel().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("factor", [0.5, 1.0, 2.0])
def test_scale_limit(factor):
    s = np.array([-1e6, -3.0, -1e-3, 0, 0.7, 40.0], np.float32)
    got = limit_scale(s, jnp.float32(factor))
    np.testing.assert_allclose(got, np.tanh(s / factor) * factor, rtol=1e-6)
    assert float(jnp.max(jnp.abs(got))) <= factor
    assert float(jax.grad(limit_scale)(0.0, factor)) == 1


@pytest.mark.parametrize("channels", [1, 17])
def test_concat_elu(channels):
    """Also its gradient, which no branch that was not taken may spoil."""
    x = jnp.tile(jnp.asarray([-200.0, -3.0, -1e-3, 0.0, 1e-3, 2.0, 200.0])[:, None], channels)
    want = np.concatenate([jax.nn.elu(x), jax.nn.elu(-x)], axis=-1)
    np.testing.assert_allclose(concat_elu(x), want, rtol=1e-6, atol=1e-7)
    slopes = jax.jacrev(concat_elu)(jnp.full(channels, -3.0))
    want = np.concatenate([np.exp(-3) * np.eye(channels), -np.eye(channels)])
    np.testing.assert_allclose(slopes, want, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("bits", "tolerance"), [(64, 1e-10), (32, 1e-5)])
def test_network(bits, tolerance):
    with jax.enable_x64(bits == 64):
        dtype = jnp.dtype(f"float{bits}")
        network = randomized(lambda weights: GatedConvNet(3, 4, 6, initializer=weights), dtype=dtype)
        x = 2 * np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(dtype)
        got = jax.jit(network)(jnp.asarray(x))
        np.testing.assert_allclose(got, reference.network(arrays(network), x), rtol=tolerance, atol=tolerance)


def test_layer_norm_eps():
    """Where channels hardly vary, the eps decides."""
    network = randomized(lambda weights: GatedConvNet(1, 4, 2, initializer=weights))
    x = np.array([0, 1e-3, 2e-3, 3e-3], np.float32)[None, None, None]
    want = reference.layer_norm({"scale": 1.0, "bias": 0.0}, x.astype(float), eps=1e-6)
    for norm in network.norms:
        norm.scale[...], norm.bias[...] = jnp.ones(4), jnp.zeros(4)
        np.testing.assert_allclose(norm(x), want, rtol=1e-4)


@pytest.mark.parametrize(
    "name", [name for name in LAYERS if "coupling" in name and not any(word in name for word in OTHERS)]
)
def test_coupling(name):
    with jax.enable_x64(True):
        layer, inputs = LAYERS[name].make(jnp.float64), LAYERS[name].inputs(dtype=jnp.float64)
        mask = reference.mask_of(layer.mask, layer.shape)
        mask = 1 - mask if layer.invert else mask
        want = reference.coupling(arrays(layer), *map(np.asarray, inputs[:1]), mask, *map(np.asarray, inputs[1:]))
        got = jax.jit(layer.forward)(*inputs)
    for left, right in zip(got, want, strict=True):
        np.testing.assert_allclose(left, right, rtol=1e-10, atol=1e-10)


def test_every_other_coupling_is_inverted():
    """In each stack anew, also in that of the dequantization."""
    stacks = (MaskedCouplings(3, "checkerboard", 2), MaskedCouplings(3, "channel", 2))
    model = build(Preset("stacks", "", stacks, MaskedCouplings(4, "checkerboard", 2), 0, 0, 0), (2, 2, 2))
    flow = nnx.merge(model._graph, model._state)
    described = [(layer.mask, layer.invert) for layer in flow.transform.levels[0]]
    assert described == [(mask, invert) for mask in ("checkerboard", "channel") for invert in (False, True, False)]
    learned = [(layer.mask, layer.invert) for layer in flow.dequantization.couplings]
    assert learned == [("checkerboard", False), ("checkerboard", True)] * 2


def test_a_fresh_flow_is_the_identity():
    preset = Preset(
        "fresh", "", (MaskedCouplings(2, "checkerboard", 2),), MaskedCouplings(1, "checkerboard", 2), 0, 0, 0
    )
    model = build(preset, (2, 2, 1))
    parameters = model.init(jax.random.key(0))
    leaves = jax.tree.leaves_with_path(parameters)
    kernels = {jax.tree_util.keystr(path): np.any(leaf) for path, leaf in leaves if "kernel" in str(path)}
    assert all(moved == ("conv_out" not in name) for name, moved in kernels.items())
    y = jnp.asarray(np.random.default_rng(0).standard_normal((3, 2, 2, 1)), jnp.float32)
    (z,), ldj = jax.jit(lambda parameters, y: model._flow(parameters).transform.forward(y))(parameters, y)
    np.testing.assert_array_equal(z, y)
    assert not np.any(ldj)


def test_fresh_kernels_are_lecun_normal():
    network = GatedConvNet(16, 16, 2, initializer=Initializer(jax.random.key(0), 100_000))
    kernels = [network.conv_in, network.blocks[1].conv, network.blocks[1].gate, network.blocks[2].gate]
    for convolution in kernels:
        kernel = np.asarray(convolution.kernel[...])
        assert np.std(kernel) == pytest.approx(np.sqrt(1 / np.prod(kernel.shape[:-1])), rel=0.08)
        assert not np.any(convolution.bias[...])


def test_prior():
    check_prior()
    assert float(standard_normal_log_prob(jnp.zeros((1, 2, 3, 1)))[0]) == pytest.approx(-3 * np.log(2 * np.pi))


def test_networks_in_half_precision_change_little():
    """The bound moves by less than a thousandth of itself, parameters and outputs stay float32, and gradients flow."""
    couplings = MaskedCouplings(1, "checkerboard", 8)
    model = build(Preset("half", "", (couplings,), couplings, 0, 0, 0), (8, 8, 1))
    half = model.with_policy(ComputePolicy(dtype=jnp.dtype(jnp.bfloat16)))
    generator = np.random.default_rng(0)
    fresh = model.init(jax.random.key(0))
    parameters = jax.tree.map(lambda leaf: leaf + generator.normal(0, 0.02, leaf.shape).astype(np.float32), fresh)
    images = np.clip(generator.normal(0, 90, (32, 8, 8, 1)), 0, 255).astype(np.uint8)
    keys = jax.random.split(jax.random.key(1), len(images))

    def bits(model):
        def mean(parameters):
            return -jnp.mean(model.log_prob(parameters, images, keys)) / (model.dimensions * np.log(2))

        return jax.jit(jax.value_and_grad(mean))(parameters)

    (single, gradient), (rounded, rough) = bits(model), bits(half)
    assert rounded.dtype == jnp.float32
    assert rounded != single
    assert abs(rounded - single) < 1e-3 * single
    for exact, close in zip(jax.tree.leaves(gradient), jax.tree.leaves(rough), strict=True):
        assert close.dtype == jnp.float32
        assert np.linalg.norm(close - exact) < 0.1 * np.linalg.norm(exact) + 1e-4


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_concat_elu_near_zero(dtype):
    """It keeps its digits in half precision, and both gradients exist at 0."""
    x = jnp.asarray([-0.001, -0.003, -0.01, 0.0, 0.003], dtype)
    wide = x.astype(jnp.float32)
    both = concat_elu(x[:, None]).astype(jnp.float32)
    want = jnp.stack([jax.nn.elu(wide), jax.nn.elu(-wide)], axis=1)
    np.testing.assert_allclose(both, want, rtol=8e-3 if dtype == jnp.bfloat16 else 1e-4)
    slopes = jax.jacrev(lambda value: concat_elu(value[None]))(dtype(0))
    np.testing.assert_array_equal(slopes.astype(jnp.float32), [1, -1])


def test_concat_elu_is_the_same_on_cpus_and_elsewhere():
    x = jnp.concatenate([jnp.zeros(1), jnp.logspace(-8, 2, 40), -jnp.logspace(-8, 2, 40)])
    np.testing.assert_allclose(both_elus(x), plain.both_elus(x), rtol=1e-6, atol=0)
