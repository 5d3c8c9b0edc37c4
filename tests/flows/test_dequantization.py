"""Integers to the real line and back: no pixel ever moves."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.flows.dequantization import (
    EDGE,
    UniformDequantization,
    VariationalDequantization,
    keep_in_bin,
    squashed_logit,
    unsquashed_sigmoid,
)
from nfcli.presets import ALPHA
from tests.flows.checks import check_dequantized_log_det, check_one_pixel
from tests.flows.layers import LAYERS
from tests.flows.parameters import randomized

# What networks are made of decides neither what becomes of noise, nor what density it has.
pytestmark = pytest.mark.usefixtures("shallow")

FROM_AN_EDGE = (np.arange(2**12, dtype=np.float32) + 0.5) / 2**23
EVERYWHERE = (np.arange(2**12, dtype=np.float32) + 0.5) / 2**12
GRID = np.concatenate([FROM_AN_EDGE, EDGE + FROM_AN_EDGE, EVERYWHERE])
GRID = np.unique(np.concatenate([GRID, 1 - GRID]))
"""Noises: each of those that are nearest to an edge, kept off it or not, and all over the bin."""


def moved(dequantization, x, u):
    """How many pixels change on the way there and back, with given noise."""
    return jnp.sum(dequantization.quantize(dequantization.place(x, keep_in_bin(x, u, dequantization.levels))[0]) != x)


def drawn_and_moved(dequantization, x, keys):
    """The same, with the noise that is really drawn."""
    return jnp.sum(dequantization.quantize(dequantization.dequantize(x, keys)[0]) != x)


@pytest.mark.parametrize("compiled", [True, False], ids=["compiled", "eager"])
@pytest.mark.parametrize("levels", [2, 8, 32, 100, 200, 250, 255, 256])
def test_every_value_with_every_noise(levels, compiled):
    """All values times all noises that are near an edge, so nothing is left to chance."""
    check = functools.partial(moved, UniformDequantization(levels=levels))
    x = np.repeat(np.arange(levels, dtype=np.uint8), len(GRID)).reshape(levels, -1, 1, 1)
    u = np.tile(GRID, levels).reshape(x.shape)
    assert int((jax.jit(check) if compiled else check)(jnp.asarray(x), jnp.asarray(u))) == 0


def test_every_value_with_every_noise_in_the_shape_of_mnist():
    """Other shapes are compiled to other code."""
    count = -(-256 * len(GRID) // 784) * 784
    place = np.arange(count)
    x = (place % 256).astype(np.uint8).reshape(-1, 28, 28, 1)
    u = GRID[place // 256 % len(GRID)].reshape(x.shape)
    assert int(jax.jit(functools.partial(moved, UniformDequantization()))(x, u)) == 0


def test_a_million_draws_of_every_value(optimized):
    """What is really drawn: 16 values times 2^16 draws at a time."""
    check = jax.jit(functools.partial(drawn_and_moved, UniformDequantization()))
    x = np.tile(np.arange(256, dtype=np.uint8), 2**6).reshape(64, 16, 16, 1)
    for keys in jax.random.split(jax.random.key(0), (2**20 // 2**6 // 64, 64, 64)):
        assert int(jnp.sum(jax.vmap(check, (None, 0))(x, keys))) == 0


@pytest.mark.parametrize(("levels", "gain"), [(256, 1.0), (256, 6.0), (2, 6.0)])
def test_learned_noise_moves_no_pixel(levels, gain):
    """Also when large weights push it to the edges of the bins."""
    make = functools.partial(VariationalDequantization, (16, 16, 1), couplings=2, hidden=4, levels=levels)
    layer = randomized(lambda weights: make(initializer=weights), gain=gain)
    x = np.tile((np.arange(256) % levels).astype(np.uint8), 256).reshape(256, 16, 16, 1)
    keys = jax.random.split(jax.random.key(1), 256)
    compute = jax.jit(lambda x, keys: (*layer.noise(x, keys, jnp.float32), drawn_and_moved(layer, x, keys)))
    u, log_q, count = compute(x, keys)
    at_edge = np.mean((u < 2**-10) | (u > 1 - 2**-10))
    assert at_edge > 0.1 if gain > 1 else at_edge < 0.1
    assert np.all(np.isfinite(log_q))
    assert int(count) == 0


@pytest.mark.parametrize("levels", [2, 100, 256])
def test_far_away_is_clipped(levels):
    """Samples may land anywhere on the real line."""
    y = jnp.asarray([-np.inf, -1e30, -100.0, -13.0, 13.0, 100.0, 1e30, np.inf], jnp.float32)
    pixels = UniformDequantization(levels=levels).quantize(y)
    assert pixels.dtype == jnp.uint8
    assert pixels.tolist() == 4 * [0] + 4 * [levels - 1]


def test_quantize_finds_the_bin():
    """Against float64, up to float32's rounding next to an edge."""
    y = np.random.default_rng(0).normal(0, 4, 100_000).astype(np.float32)
    v = (1 / (1 + np.exp(-y.astype(float))) - ALPHA / 2) / (1 - ALPHA) * 256
    clear = np.abs(v - np.round(v)) > 1e-3
    got = np.asarray(UniformDequantization().quantize(jnp.asarray(y)))
    np.testing.assert_array_equal(got[clear], np.clip(np.floor(v[clear]), 0, 255))


def test_logit_against_its_formula():
    """Relative to float64, up to the ends."""
    u = GRID[:: 2**5]
    lower = np.concatenate([u, u + 255]).astype(np.float32) / np.float32(256)
    upper = np.concatenate([255 + (1 - u), 1 - u]).astype(np.float32) / np.float32(256)
    y, ldj = jax.jit(functools.partial(squashed_logit, alpha=ALPHA))(lower[:, None], upper[:, None])
    v = np.concatenate([u.astype(float), u.astype(float) + 255]) / 256 * (1 - ALPHA) + ALPHA / 2
    np.testing.assert_allclose(y[:, 0], np.log(v) - np.log1p(-v), rtol=1e-6)
    np.testing.assert_allclose(ldj, np.log1p(-ALPHA) - np.log(v) - np.log1p(-v), rtol=1e-6)
    both = unsquashed_sigmoid(y, ALPHA)
    np.testing.assert_allclose(both[0] + both[1], 1, atol=1e-6)


@pytest.mark.parametrize("levels", [2, 100, 255, 256])
def test_digits_are_kept_at_both_ends(levels):
    """float32 against float64, where `1 - v` would have lost its digits."""
    x = np.repeat(np.array([0, levels - 1]), len(GRID))[:, None, None, None]
    u = np.tile(GRID, 2)[:, None, None, None]
    layer = UniformDequantization(levels=levels)
    y, ldj = jax.jit(layer.place)(x, u)
    with jax.enable_x64(True):
        want, want_ldj = layer.place(jnp.asarray(x), jnp.asarray(u, jnp.float64))
    np.testing.assert_allclose(y, want, rtol=1e-6, atol=2e-7)
    np.testing.assert_allclose(ldj, want_ldj, rtol=1e-6, atol=2e-6)


@pytest.mark.parametrize("levels", [2, 256])
@pytest.mark.parametrize("learned", [False, True])
def test_log_det(learned, levels):
    """Of the noise's own flow, of `x + u`, of the logit: everything between the uniform noise and the real line."""
    with jax.enable_x64(True):
        layer = UniformDequantization(levels=levels)
        if learned:
            make = functools.partial(VariationalDequantization, (2, 3, 1), couplings=2, hidden=4, levels=levels)
            layer = randomized(lambda weights: make(initializer=weights), dtype=jnp.float64)
        generator = np.random.default_rng(0)
        x, u = generator.integers(0, levels, (3, 2, 3, 1)), generator.uniform(size=(3, 2, 3, 1))
        check_dequantized_log_det(layer, LAYERS["split, odd"].make(), x, jnp.asarray(u), tolerance=1e-9)


@pytest.mark.parametrize("bits", [64, 32])
@pytest.mark.parametrize(("levels", "s", "t"), [(4, 0.5, -0.3), (32, -0.4, 1.0), (256, 0.2, 2.0)])
def test_probability_of_one_pixel(levels, s, t, bits):
    with jax.enable_x64(bits == 64):
        check_one_pixel(levels, [(s, t)], dtype=jnp.dtype(f"float{bits}"), tolerance=1e-6)


def test_probability_where_the_logit_is_steepest():
    """Next to black, also for densities 55 times steeper than the prior."""
    maps = [(s, t) for s in (0.0, 4.0) for t in (12.2, 11.5)]
    with jax.enable_x64(True):
        check_one_pixel(256, maps, values=[0], dtype=jnp.dtype("float64"), tolerance=2e-5, nodes=2**20)


@pytest.mark.parametrize("levels", [4, 32])
def test_probability_of_one_pixel_with_learned_noise(levels):
    """The average over a grid of noises, which the layer then moves."""
    with jax.enable_x64(True):
        check_one_pixel(levels, [(0.5, -0.3)], noise=(0.4, 0.8), dtype=jnp.dtype("float64"), tolerance=1e-5)
