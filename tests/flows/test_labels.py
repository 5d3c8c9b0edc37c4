"""Class-conditional flows: every preset knows its labels, and is a flow for each of them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.flows import build
from nfcli.flows.labels import label_planes, one_hot, with_planes
from nfcli.presets import PRESETS, PartitionedCouplings, Preset, Split, Squeeze
from tests.evaluation.checks import check_total_probability
from tests.evaluation.models import HALVES, PLAIN
from tests.flows.checks import check_dequantized_log_det
from tests.flows.parameters import random_parameters, short_preset

SHAPE = (4, 4, 1)
IMAGES = np.random.default_rng(0).integers(0, 256, (3, *SHAPE), dtype=np.uint8)
SPLINES = PartitionedCouplings(1, "checkerboard", 4, transformer="spline", components=4, blocks=0)
LEARNED_PRIOR = Preset("split", "", (SPLINES, Squeeze(), Split(hidden=4), HALVES), None, None, None, 0)
MODELS = [*map(short_preset, PRESETS), LEARNED_PRIOR]


def conditional(preset, dtype=jnp.float32):
    """A preset for three classes, with random parameters that are not too wild."""
    model = build(preset, SHAPE, classes=3)
    return model, random_parameters(model, dtype=dtype, share=0.4)


@pytest.mark.parametrize("preset", MODELS, ids=[preset.name for preset in MODELS])
def test_a_label_changes_the_density_and_nothing_else(preset, shallow):
    model, parameters = conditional(preset)
    keys, labels = jax.random.split(jax.random.key(1), 3), jnp.asarray([0, 1, 2])
    log_prob = jax.jit(model.log_prob)
    first, second = (np.asarray(log_prob(parameters, IMAGES, keys, given)) for given in (labels, labels[::-1]))
    assert first[1] == pytest.approx(second[1], rel=1e-6)
    assert np.all(np.abs(first - second)[[0, 2]] > 1e-3)
    np.testing.assert_allclose(log_prob(parameters, IMAGES, keys, jnp.eye(3)), first, rtol=1e-6)


@pytest.mark.parametrize("preset", MODELS, ids=[preset.name for preset in MODELS])
def test_images_come_back_with_their_labels(preset, shallow):
    model, parameters = conditional(preset)
    keys, labels = jax.random.split(jax.random.key(1), 3), jnp.asarray([2, 0, 1])
    latents = jax.jit(model.encode)(parameters, IMAGES, keys, labels)
    np.testing.assert_array_equal(jax.jit(model.decode)(parameters, latents, labels), IMAGES)
    assert np.any(np.asarray(jax.jit(model.decode)(parameters, latents, labels[::-1])) != IMAGES)


@pytest.mark.parametrize("name", ["vardeq", "mixture"])
def test_log_det_given_a_label(name, shallow):
    with jax.enable_x64(True):
        model, parameters = conditional(short_preset(name), jnp.float64)
        flow = model._flow(parameters)
        u = jnp.asarray(np.random.default_rng(1).uniform(0.001, 0.999, (2, *SHAPE)))
        labels = one_hot(jnp.asarray([2, 1]), 3, jnp.float64)
        check_dequantized_log_det(flow.dequantization, flow.transform, IMAGES[:2], u, labels=labels, tolerance=1e-9)


def test_every_label_has_all_the_probability(optimized):
    layers = (*PLAIN, Squeeze(), HALVES)
    model = build(Preset("small", "", layers, None, None, None, 0), (2, 2, 1), levels=2, classes=2)
    check_total_probability(model, random_parameters(model, seed=4, share=0.5), labels=(0, 1))


def test_labels_must_be_given_to_who_knows_them():
    keys = jax.random.split(jax.random.key(1), 3)
    model, parameters = conditional(short_preset("simple"))
    with pytest.raises(ValueError, match="needs labels"):
        model.log_prob(parameters, IMAGES, keys)
    plain = build(short_preset("simple"), SHAPE)
    with pytest.raises(ValueError, match="takes none"):
        plain.log_prob(random_parameters(plain), IMAGES, keys, jnp.asarray([0, 1, 2]))


def test_planes_of_labels():
    x = jnp.zeros((2, 1, 3, 2))
    weights = one_hot(jnp.asarray([1, 0]), 2)
    planes = label_planes(weights, x)
    assert planes.shape == (2, 1, 3, 2)
    assert planes[0, 0].tolist() == [[0, 1]] * 3
    assert with_planes(x, weights).shape == (2, 1, 3, 4)
    assert with_planes(x, None) is x
    assert label_planes(None, x) is None
