"""The noise: inside (0, 1), exact in float32, uniform, off the edges that bins share."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from nfcli.flows import build
from nfcli.flows.dequantization import (
    EDGE,
    NOISE_BITS,
    UniformDequantization,
    VariationalDequantization,
    keep_in_bin,
    uniform_noise,
)
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.presets import MaskedCouplings, Preset
from tests.flows import reference
from tests.flows.checks import set_affine
from tests.flows.parameters import random_parameters

# What networks are made of decides neither where noise ends, nor what density it has.
pytestmark = pytest.mark.usefixtures("shallow")

CELLS = 2**NOISE_BITS

compiled_keep_in_bin = jax.jit(keep_in_bin, static_argnums=2)


def check_drawn(u):
    """The middle of a cell, so inside (0, 1), and exact in float32."""
    scaled = np.asarray(u, np.float64) * CELLS - 0.5
    np.testing.assert_array_equal(scaled, np.round(scaled))
    assert scaled.min() >= 0
    assert scaled.max() <= CELLS - 1


def check_kept(x, u, levels):
    """Inside (0, 1), and not near an edge where another value begins."""
    x, u = np.asarray(x), np.asarray(u, np.float64)
    assert u.min() > 0
    assert u.max() < 1
    assert np.all(u[x > 0] > EDGE / 2 * (1 - 1e-6))
    assert np.all(1 - u[x < levels - 1] > EDGE / 2 * (1 - 1e-6))


@pytest.fixture(scope="module")
def drawn():
    """As evaluation draws it: 64 noises of 200 images of 16x16."""
    draw = jax.jit(lambda keys: uniform_noise(keys, (16, 16, 1), jnp.float32))
    noise = [draw(indexed_keys(stream(0, Purpose.EVALUATION), np.arange(200) + 200 * index)) for index in range(64)]
    return np.concatenate(noise)


def uniformity(cells, count):
    """p-value of chi-square: are `cells`, integers below `count`, uniform?"""
    return stats.chisquare(np.bincount(cells.ravel(), minlength=count)).pvalue


def test_drawn_noise_is_uniform(drawn):
    """Fine cells, the digits below them, coarse cells, and (neighbouring pixels, neighbouring images) together."""
    check_drawn(drawn)
    assert drawn.dtype == np.float32
    cells = (drawn * CELLS).astype(int)
    fine, last, coarse = cells >> 10, cells & (2**10 - 1), cells // (CELLS // 16)
    across = 16 * coarse[:, :, 1::2] + coarse[:, :, ::2]
    between = 16 * coarse[1::2] + coarse[::2]
    for numbers, count in ((fine, 2**13), (last, 2**10), (coarse, 16), (across, 256), (between, 256)):
        assert 1e-4 < uniformity(numbers, count) < 1 - 1e-4, count


def test_noise_follows_its_key_alone():
    keys = jax.random.split(jax.random.key(3), 5)
    together = uniform_noise(keys, (2, 3, 1), jnp.float32)
    for index in range(5):
        np.testing.assert_array_equal(
            uniform_noise(keys[index : index + 1], (2, 3, 1), jnp.float32)[0], together[index]
        )
    with jax.enable_x64(True):
        np.testing.assert_array_equal(uniform_noise(keys, (2, 3, 1), jnp.float64), together)


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=64, max_size=64))
def test_any_number_is_kept_in_its_bin(numbers):
    check_keeping(np.array([*numbers, 0, 1e-45, 1e-9, 2**-24, EDGE, 0.5, 1 - EDGE, np.nextafter(1, 0), 1], np.float32))


def check_keeping(u):
    """Of the lowest, an inner and the highest value; what is not near an edge stays as it is."""
    for keep in (keep_in_bin, compiled_keep_in_bin):
        for value in (0, 1, 3):
            x = np.full(u.shape, value)
            kept = np.asarray(keep(x, jnp.asarray(u), 4))
            check_kept(x, kept, 4)
            assert np.all(np.abs(kept.astype(float) - u) <= EDGE / 2 * (1 + 1e-6))
            inner = (u >= (EDGE if value > 0 else 2**-24)) & (u <= 1 - (EDGE if value < 3 else 2**-24))
            np.testing.assert_array_equal(kept[inner], u[inner])


def test_gradients_pass_through_the_edges():
    u, x = jnp.asarray([0.0, 0.3, 1.0, 1e-6]), jnp.asarray([1, 0, 0, 3])
    assert jax.grad(lambda u: jnp.sum(3 * keep_in_bin(x, u, 4)))(u).tolist() == [3, 3, 3, 3]


@functools.cache
def model_that_is_driven():
    """A model of four pixels; and the noise, the bound and the images again, compiled once for all parameters."""
    one, two = (MaskedCouplings(count, "checkerboard", 2) for count in (1, 2))
    model = build(Preset("extreme", "", (one,), two, 0, 0, 0), (2, 2, 1))

    @jax.jit
    def compute(parameters, x, keys):
        noise = model._flow(parameters).dequantization.noise(x, keys, jnp.float32)
        again = model.quantize(model.dequantize(parameters, x, keys))
        return *noise, model.log_prob(parameters, x, keys), again

    return model, compute


@pytest.mark.parametrize("limit", [0.5, 20.0])
@pytest.mark.parametrize("shift", [100.0, -100.0, 1e4, -1e4])
def test_extreme_outputs_stay_in_the_bin(shift, limit):
    """Whatever the network says, no noise is 0 or 1, no density is NaN, no pixel moves."""
    model, compute = model_that_is_driven()
    parameters = random_parameters(model)
    for sign, coupling in zip((1, -1), parameters["dequantization"]["couplings"].values(), strict=True):
        set_affine(coupling, 0.0, 0.0)
        coupling["scaling_factor"] = np.log(np.full(1, limit, np.float32))
        coupling["network"]["conv_out"]["bias"] = np.array([sign * shift, shift], np.float32)
    x = np.random.default_rng(0).integers(0, 256, (64, 2, 2, 1), dtype=np.uint8)
    keys = jax.random.split(jax.random.key(0), 64)
    u, log_q, log_prob, again = compute(parameters, x, keys)
    check_kept(x, u, 256)
    assert np.all(np.isfinite(log_q))
    assert np.all(np.isfinite(log_prob))
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize("learned", [False, True])
def test_log_q_is_the_density_of_the_noise(learned):
    """It averages to 1 over the noise: E[exp(-log q)] is the volume of (0, 1)."""
    layer = UniformDequantization(levels=4)
    if learned:
        model = build(Preset("noise", "", (), MaskedCouplings(4, "checkerboard", 4), 0, 0, 0), (1, 2, 1), levels=4)
        layer = model._flow(random_parameters(model)).dequantization
    x = jnp.tile(jnp.asarray([1, 3]).reshape(1, 1, 2, 1), (40_000, 1, 1, 1))
    _, log_q = jax.jit(functools.partial(layer.noise, dtype=jnp.float32))(
        x, jax.random.split(jax.random.key(0), len(x))
    )
    volumes = np.exp(-np.asarray(log_q, np.float64))
    assert isinstance(layer, VariationalDequantization) == bool(np.std(volumes) > 0.1)
    assert np.mean(volumes) == pytest.approx(1, abs=5 * np.std(volumes) / np.sqrt(len(x)) + 1e-7)


def test_density_is_that_of_continuous_noise():
    """One image's average over the noise drawn in float32, and over float64 noise through the plain formulas."""
    preset = Preset("density", "", (MaskedCouplings(2, "checkerboard", 4),), None, 0, 0, 0)
    model = build(preset, (1, 2, 1), levels=8)
    count, parameters = 60_000, random_parameters(model, seed=3)
    x = np.tile(np.array([2, 7]).reshape(1, 1, 2, 1), (count, 1, 1, 1))
    drawn = jax.jit(model.log_prob)(parameters, x, jax.random.split(jax.random.key(1), count))
    u = np.random.default_rng(1).uniform(size=x.shape)
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
    continuous = reference.log_prob(preset, plain, x, u, levels=8, alpha=model.alpha, edge=0)
    means, errors = [], []
    for log_weights in (drawn, continuous):
        weights = np.exp(np.asarray(log_weights, np.float64))
        means.append(weights.mean())
        errors.append(weights.std() / np.sqrt(count))
    assert np.hypot(*errors) < 0.01 * means[0]
    assert abs(means[0] - means[1]) < 4 * np.hypot(*errors)
