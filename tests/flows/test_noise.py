"""The noise: on its grid, inside (0, 1), uniform; and a density on the grid is the density."""

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
    NOISE_BITS,
    UniformDequantization,
    VariationalDequantization,
    snap_to_grid,
    uniform_grid_noise,
)
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.presets import Couplings, Preset
from tests.flows import reference
from tests.flows.checks import set_affine
from tests.flows.parameters import random_parameters

CELLS = 2**NOISE_BITS


def check_on_grid(u):
    """The middle of a cell, so inside (0, 1), and exact in float32 next to 8 bits of pixel."""
    scaled = np.asarray(u, np.float64) * CELLS - 0.5
    np.testing.assert_array_equal(scaled, np.round(scaled))
    assert scaled.min() >= 0
    assert scaled.max() <= CELLS - 1


@pytest.fixture(scope="module")
def drawn():
    """As evaluation draws it: 64 noises of 200 images of 16x16."""
    draw = jax.jit(lambda keys: uniform_grid_noise(keys, (16, 16, 1), jnp.float32))
    noise = [draw(indexed_keys(stream(0, Purpose.EVALUATION), np.arange(200) + 200 * index)) for index in range(64)]
    return np.concatenate(noise)


def uniformity(cells, count):
    """p-value of chi-square: are `cells`, integers below `count`, uniform?"""
    return stats.chisquare(np.bincount(cells.ravel(), minlength=count)).pvalue


def test_drawn_noise_is_uniform_on_its_grid(drawn):
    """All cells, coarse cells, and (neighbouring pixels, neighbouring images) together."""
    check_on_grid(drawn)
    assert drawn.dtype == np.float32
    cells = (drawn * CELLS).astype(int)
    coarse = cells * 16 // CELLS
    across = 16 * coarse[:, :, 1::2] + coarse[:, :, ::2]
    between = 16 * coarse[1::2] + coarse[::2]
    for place, (numbers, count) in enumerate([(cells, CELLS), (coarse, 16), (across, 256), (between, 256)]):
        assert 1e-4 < uniformity(numbers, count) < 1 - 1e-4, place


def test_noise_follows_its_key_alone():
    keys = jax.random.split(jax.random.key(3), 5)
    together = uniform_grid_noise(keys, (2, 3, 1), jnp.float32)
    for index in range(5):
        np.testing.assert_array_equal(
            uniform_grid_noise(keys[index : index + 1], (2, 3, 1), jnp.float32)[0], together[index]
        )
    with jax.enable_x64(True):
        np.testing.assert_array_equal(uniform_grid_noise(keys, (2, 3, 1), jnp.float64), together)


@settings(deadline=None, max_examples=50, derandomize=True, database=None)
@given(st.lists(st.floats(0, 1, width=32), min_size=64, max_size=64))
def test_any_number_snaps_to_the_middle_of_its_cell(numbers):
    check_snapped(np.array([*numbers, 0, 1e-45, 1e-9, 2**-16, 2**-15, 0.5, np.nextafter(1, 0), 1], np.float32))


def test_edges_and_middles_snap_to_the_middle_of_their_cell():
    edges = (np.arange(CELLS + 1) / CELLS).astype(np.float32)
    near = np.concatenate([np.nextafter(edges, 0), edges, np.nextafter(edges, 1), (edges + 0.5 / CELLS)[:-1]])
    check_snapped(near.astype(np.float32))


def check_snapped(u):
    for snap in (snap_to_grid, jax.jit(snap_to_grid)):
        snapped = np.asarray(snap(jnp.asarray(u)))
        check_on_grid(snapped)
        assert np.all(np.abs(snapped.astype(float) - u) <= 0.5 / CELLS)


def test_gradients_pass_through_the_grid():
    assert jax.grad(lambda u: jnp.sum(3 * snap_to_grid(u)))(jnp.asarray([0.0, 0.3, 1.0])).tolist() == [3, 3, 3]


@pytest.mark.parametrize("limit", [0.5, 20.0])
@pytest.mark.parametrize("shift", [100.0, -100.0, 1e4, -1e4])
def test_extreme_outputs_stay_on_the_grid(shift, limit):
    """Whatever the network says, no noise is 0 or 1, no density is NaN, no pixel moves."""
    preset = Preset("extreme", "", (Couplings(1, "checkerboard", 2),), Couplings(2, "checkerboard", 2), 0, 0, 0)
    model = build(preset, (2, 2, 1))
    parameters = random_parameters(model)
    for sign, coupling in zip((1, -1), parameters["dequantization"]["couplings"].values(), strict=True):
        set_affine(coupling, 0.0, 0.0)
        coupling["scaling_factor"] = jnp.log(jnp.full(1, limit))
        coupling["network"]["conv_out"]["bias"] = jnp.asarray([sign * shift, shift])
    x = np.random.default_rng(0).integers(0, 256, (64, 2, 2, 1), dtype=np.uint8)
    keys = jax.random.split(jax.random.key(0), 64)
    layer = model._flow(parameters).dequantization
    u, log_q = layer.noise(jnp.asarray(x), keys, jnp.float32)
    check_on_grid(u)
    assert np.all(np.isfinite(log_q))
    assert np.all(np.isfinite(model.log_prob(parameters, x, keys)))
    np.testing.assert_array_equal(model.quantize(model.dequantize(parameters, x, keys)), x)


@pytest.mark.parametrize("learned", [False, True])
def test_log_q_is_the_density_of_the_noise(learned):
    """It averages to 1 over the noise: E[exp(-log q)] is the volume of (0, 1)."""
    layer = UniformDequantization(levels=4)
    if learned:
        model = build(Preset("noise", "", (), Couplings(4, "checkerboard", 4), 0, 0, 0), (1, 2, 1), levels=4)
        layer = model._flow(random_parameters(model)).dequantization
    x = jnp.tile(jnp.asarray([1, 3]).reshape(1, 1, 2, 1), (40_000, 1, 1, 1))
    _, log_q = jax.jit(functools.partial(layer.noise, dtype=jnp.float32))(
        x, jax.random.split(jax.random.key(0), len(x))
    )
    volumes = np.exp(-np.asarray(log_q, np.float64))
    assert isinstance(layer, VariationalDequantization) == bool(np.std(volumes) > 0.1)
    assert np.mean(volumes) == pytest.approx(1, abs=5 * np.std(volumes) / np.sqrt(len(x)) + 1e-7)


def test_density_on_the_grid_is_that_of_continuous_noise():
    """One image's average over float32 grid noise, and over float64 noise through the plain formulas."""
    preset = Preset("density", "", (Couplings(2, "checkerboard", 4),), None, 0, 0, 0)
    model = build(preset, (1, 2, 1), levels=8)
    count, parameters = 60_000, random_parameters(model, seed=3)
    x = np.tile(np.array([2, 7]).reshape(1, 1, 2, 1), (count, 1, 1, 1))
    grid = jax.jit(model.log_prob)(parameters, x, jax.random.split(jax.random.key(1), count))
    u = np.random.default_rng(1).uniform(size=x.shape)
    plain = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
    continuous = reference.log_prob(preset, plain, x, u, levels=8, alpha=model.alpha, cells=CELLS)
    means, errors = [], []
    for log_weights in (grid, continuous):
        weights = np.exp(np.asarray(log_weights, np.float64))
        means.append(weights.mean())
        errors.append(weights.std() / np.sqrt(count))
    assert np.hypot(*errors) < 0.01 * means[0]
    assert abs(means[0] - means[1]) < 4 * np.hypot(*errors)
