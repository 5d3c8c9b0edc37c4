"""The presets: their log-determinants and inverses from end to end, their sizes, and the shapes they refuse."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.errors import UsageError
from nfcli.flows import build
from nfcli.flows.dequantization import EDGE, uniform_noise
from nfcli.presets import PRESETS, MaskedCouplings, Preset, Split, get_preset
from tests.flows import reference
from tests.flows.checks import check_dequantized_log_det, check_inverse, check_log_det
from tests.flows.parameters import random_parameters, short_preset

CASES = [(name, shape) for name in PRESETS for shape in [(8, 8, 1), (4, 4, 3)]]


def tiny(name, shape, dtype=jnp.float32, levels=256):
    """A short preset with random parameters."""
    model = build(short_preset(name), shape, levels=levels)
    # Mixtures with the scales of random parameters leave what any precision can invert.
    return model, random_parameters(model, dtype=dtype, share=0.3 if name == "mixture" else 1.0)


def some_images(shape, batch=2, levels=256):
    images = np.random.default_rng(0).integers(0, levels, (batch, *shape), dtype=np.uint8)
    images[0, 0, 0], images[0, 0, 1] = 0, levels - 1
    return images


def parts(name, shape, dtype):
    model, parameters = tiny(name, shape, dtype)
    flow = model._flow(parameters)
    return flow.dequantization, flow.transform


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_log_det_from_noise_to_latents(name, shape, shallow):
    with jax.enable_x64(True):
        u = jnp.asarray(np.random.default_rng(1).uniform(0.001, 0.999, (2, *shape)))
        check_dequantized_log_det(*parts(name, shape, jnp.float64), some_images(shape), u, tolerance=1e-9)


@pytest.mark.parametrize("name", ["simple", "multiscale"])
def test_log_det_and_inverse_of_the_transform(name, shallow):
    """In float32, as it is used. A row of couplings loses two digits."""
    transform = parts(name, (4, 4, 3), jnp.float32)[1]
    y = jnp.asarray(2 * np.random.default_rng(2).standard_normal((1, 4, 4, 3)), jnp.float32)
    z = check_log_det(transform.forward, y, tolerance=2e-4)
    check_inverse(transform, y, tolerance=1e-3, z=z)


@pytest.mark.parametrize("name", ["simple", "multiscale", "mixture"])
def test_inverse_of_the_transform_in_float64(name, shallow):
    with jax.enable_x64(True):
        transform = parts(name, (8, 8, 1), jnp.float64)[1]
        check_inverse(transform, jnp.asarray(np.random.default_rng(2).normal(0, 5, (2, 8, 8, 1))), tolerance=1e-9)


@pytest.mark.parametrize(("name", "shape"), [("vardeq", (4, 4, 3)), ("multiscale", (8, 8, 1))])
def test_log_prob_is_that_of_the_formulas(name, shape, one_block):
    """A second implementation, and the float32 of nf against its float64."""
    images, keys = some_images(shape, 3, levels=32), jax.random.split(jax.random.key(5), 3)
    model, parameters = tiny(name, shape, levels=32)
    single = jax.jit(model.log_prob)(parameters, images, keys)
    assert (single.shape, single.dtype) == ((3,), jnp.float32)
    with jax.enable_x64(True):
        double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), random_parameters(model, dtype=jnp.float64))
        u = np.asarray(uniform_noise(keys, shape, jnp.float64))
        got = jax.jit(model.log_prob)(double, images, keys)
    numbers = {"levels": 32, "alpha": model.alpha, "edge": EDGE}
    want = reference.log_prob(model.preset, double, images.astype(float), u, **numbers)
    np.testing.assert_allclose(got, want, rtol=1e-9)
    np.testing.assert_allclose(single, want, rtol=1e-4)


@pytest.mark.parametrize(("name", "shape"), CASES[2:5])
def test_images_come_back_bit_for_bit(name, shape, shallow):
    model, parameters = tiny(name, shape)
    images, keys = some_images(shape, 16), jax.random.split(jax.random.key(6), 16)
    latents = jax.jit(model.encode)(parameters, images, keys)
    assert tuple(latent.shape[1:] for latent in latents) == model.latent_shapes
    assert sum(latent[0].size for latent in latents) == model.dimensions
    np.testing.assert_array_equal(jax.jit(model.decode)(parameters, latents), images)


@pytest.mark.parametrize(
    ("name", "count"), [("simple", 556_312), ("vardeq", 628_388), ("multiscale", 1_711_818), ("mixture", 3_138_932)]
)
def test_parameter_counts(name, count):
    model = build(get_preset(name), (28, 28, 1))
    assert model.num_parameters == count == PRESETS[name].reference_parameters


def test_networks_of_one_size_are_traced_once():
    model = build(get_preset("simple", smoke=True), (8, 8, 1))
    images = jax.ShapeDtypeStruct((2, 8, 8, 1), jnp.uint8)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0)))
    program = jax.jit(model.log_prob).lower(model.parameter_shapes(), images, keys).as_text()
    assert program.count("func.func private @_network(") == 1
    assert program.count("call @_network(") == 8


def test_parameter_counts_with_labels():
    """Ten more inputs of every network of the transform, of the learned prior, and of the one that looks at images."""
    assert build(get_preset("mixture"), (28, 28, 1), classes=10).num_parameters == 3_202_292
    assert 3_202_292 - 3_138_932 == 9 * 10 * (4 * 64 + 32 + 6 * 64 + 32)


def network_shapes(inputs, hidden, outputs):
    """Every array of one coupling layer."""
    shapes = {
        "network/conv_in/kernel": (3, 3, inputs, hidden),
        "network/conv_in/bias": (hidden,),
        "network/conv_out/kernel": (3, 3, 2 * hidden, outputs),
        "network/conv_out/bias": (outputs,),
        "scaling_factor": (outputs // 2,),
    }
    for block in "012":
        shapes[f"network/blocks/{block}/conv/kernel"] = (3, 3, 2 * hidden, hidden)
        shapes[f"network/blocks/{block}/conv/bias"] = (hidden,)
        shapes[f"network/blocks/{block}/gate/kernel"] = (1, 1, 2 * hidden, 2 * hidden)
        shapes[f"network/blocks/{block}/gate/bias"] = (2 * hidden,)
        shapes[f"network/norms/{block}/scale"] = (hidden,)
        shapes[f"network/norms/{block}/bias"] = (hidden,)
    return shapes


def test_every_array_of_multiscale_is_pinned():
    """Names and shapes: saved weights depend on them."""
    stacks = {
        **{f"dequantization/couplings/{index}": (2, 16, 2) for index in range(4)},
        **{f"transform/levels/0/{index}": (1, 32, 2) for index in (0, 1)},
        **{f"transform/levels/0/{index}": (4, 48, 8) for index in (3, 4)},
        **{f"transform/levels/1/{index}": (8, 64, 16) for index in (1, 2, 3, 4)},
    }
    want = {f"{path}/{name}": shape for path, sizes in stacks.items() for name, shape in network_shapes(*sizes).items()}
    model = build(get_preset("multiscale"), (28, 28, 1))
    leaves = jax.tree.leaves_with_path(model.parameter_shapes())
    assert {"/".join(entry.key for entry in path): leaf.shape for path, leaf in leaves} == want
    assert {leaf.dtype for _, leaf in leaves} == {jnp.dtype("float32")}


@pytest.mark.parametrize("shape", [(27, 27, 1), (28, 26, 1), (4, 6, 3), (2, 2, 1), (4, 0, 1)])
def test_shapes_that_multiscale_refuses(shape):
    with pytest.raises(UsageError, match="x".join(map(str, shape))):
        build(get_preset("multiscale"), shape)


def test_other_presets_take_any_size():
    assert build(get_preset("vardeq", smoke=True), (5, 3, 2)).latent_shapes == ((5, 3, 2),)


@pytest.mark.parametrize("layer", [Split(), MaskedCouplings(2, "channel", 4)])
def test_halves_need_two_channels(layer):
    preset = Preset("narrow", "", (layer,), None, 0, 0, 0)
    with pytest.raises(UsageError, match="1"):
        build(preset, (4, 4, 1))


def test_encoding_keeps_noise_away_from_shared_edges_alone(shallow):
    """A fresh flow is the identity, so its latents are the dequantized pixels."""
    model = build(short_preset("simple"), (1, 3, 1))
    parameters = model.init(jax.random.key(0))
    images = np.tile(np.array([0, 128, 255], np.uint8).reshape(1, 1, 3, 1), (2000, 1, 1, 1))
    (latents,) = jax.jit(model.encode)(parameters, images, jax.random.split(jax.random.key(1), 2000))
    v = 1 / (1 + np.exp(-np.asarray(latents, np.float64)[:, 0, :, 0]))
    black, grey, white = (v * 256 - np.array([0, 128, 255])).T
    assert -0.01 < black.min() < 0.01
    assert 0.7 < black.max() < 0.76
    assert 0.24 < grey.min() < 0.3
    assert 0.7 < grey.max() < 0.76
    assert 0.24 < white.min() < 0.3
    assert 0.99 < white.max() < 1.01
