"""Mixtures of logistics, splines, 1x1 convolutions and activation normalization against what defines them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from nfcli.flows import mixture
from nfcli.flows.glow import ActNorm, InvertibleConv1x1, _rotation_as_lu
from nfcli.flows.mixture import SMALLEST_LOG_SCALE, SPREAD, MixtureOfLogistics
from nfcli.flows.spline import SMALLEST, RationalQuadraticSpline
from nfcli.flows.transformers import LARGEST_LOG_SCALE, Affine
from tests.flows.parameters import randomized

SCALARS = {
    "affine": Affine(),
    "one logistic": MixtureOfLogistics(1),
    "five logistics": MixtureOfLogistics(5),
    "spline": RationalQuadraticSpline(5, bound=4.0),
}


def draws(transformer, size=2000, *, width=2.0, seed=0):
    """Values over ±10 and what a network could say of them."""
    generator = np.random.default_rng(seed)
    return generator.uniform(-10, 10, size), width * generator.standard_normal((transformer.count, size))


@pytest.mark.parametrize("name", SCALARS)
def test_slope_is_that_of_the_map(name):
    with jax.enable_x64(True):
        forward = SCALARS[name].forward
        x, raw = draws(SCALARS[name])
        (_, log_slope), (slope, _) = jax.jit(
            lambda x, raw: jax.jvp(lambda x: forward(x, raw), (x,), (jnp.ones_like(x),))
        )(x, raw)
    slope = np.asarray(slope)
    assert np.all(slope > 0)
    np.testing.assert_allclose(log_slope, np.log(slope), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("bits", "tolerance"), [(64, 1e-9), (32, 3e-4)])
@pytest.mark.parametrize("name", SCALARS)
def test_inverse(name, bits, tolerance):
    with jax.enable_x64(bits == 64):
        transformer = SCALARS[name]
        x, raw = (value.astype(f"float{bits}") for value in draws(transformer, width=1.0))
        back = jax.jit(lambda x, raw: transformer.inverse(transformer.forward(x, raw)[0], raw))(x, raw)
        assert back.dtype == x.dtype
        np.testing.assert_allclose(back, x, rtol=tolerance, atol=tolerance)


def test_the_inverse_of_a_mixture_does_not_chase_its_rounding(monkeypatch):
    """A value that was found stays: all of a batch wait for the last one."""
    monkeypatch.setattr(mixture, "MOST_ITERATIONS", 16)
    transformer = MixtureOfLogistics(5)
    x, raw = (value.astype(np.float32) for value in draws(transformer, width=1.0))
    forward = jax.jit(transformer.forward)
    z = np.asarray(forward(x, raw)[0])
    missed = np.abs(np.asarray(forward(jax.jit(transformer.inverse)(z, raw), raw)[0]) - z)
    assert np.all(missed < 3e-5 * np.maximum(1, np.abs(z)))


@pytest.mark.parametrize("name", SCALARS)
def test_increasing_over_the_whole_line(name):
    with jax.enable_x64(True):
        x = np.linspace(-50, 50, 20_001)
        raw = np.repeat(draws(SCALARS[name], 1)[1], len(x), axis=1)
        z, _ = jax.jit(SCALARS[name].forward)(x, raw)
        assert np.all(np.diff(np.asarray(z)) > 0)


def test_mixture_is_its_formula():
    with jax.enable_x64(True):
        transformer = MixtureOfLogistics(3)
        x, raw = draws(transformer, 500, width=0.7)
        z = np.asarray(jax.jit(transformer.forward)(x, raw)[0])
    weights = special.softmax(raw[2:5], axis=0)
    means, scales = raw[5:8] + np.array([-SPREAD, 0, SPREAD])[:, None], np.exp(raw[8:11])
    cdf = np.sum(weights * special.expit((x - means) / scales), axis=0)
    want = (special.logit(cdf) + raw[1]) * np.exp(LARGEST_LOG_SCALE * np.tanh(raw[0] / LARGEST_LOG_SCALE))
    sure = (cdf > 1e-6) & (cdf < 1 - 1e-6)
    assert np.mean(sure) > 0.9
    np.testing.assert_allclose(z[sure], want[sure], rtol=1e-7, atol=1e-7)


def test_components_of_a_mixture_get_gradients_of_their_own():
    """Equal ones would stay equal for ever."""
    transformer = MixtureOfLogistics(4)
    x = np.random.default_rng(0).standard_normal(50).astype(np.float32)
    gradient = jax.jit(jax.grad(lambda raw: jnp.sum(jnp.square(transformer.forward(x, raw)[0]))))(
        np.zeros((transformer.count, 50), np.float32)
    )
    means = np.asarray(gradient[6:10]).sum(axis=1)
    assert len(np.unique(np.round(means, 4))) == 4


def test_tails_of_a_mixture_stay_finite():
    transformer = MixtureOfLogistics(2)
    raw = np.array([0, 0, 3, -3, 1, -1, SMALLEST_LOG_SCALE - 5, 2], np.float32)[:, None]

    def total(x):
        z, log_slope = transformer.forward(x, raw)
        return jnp.sum(z + log_slope)

    value_and_gradient = jax.jit(jax.value_and_grad(total))
    for x in (-1e4, -300.0, 0.0, 300.0, 1e4):
        value, gradient = value_and_gradient(np.array([x], np.float32))
        assert np.isfinite(value)
        assert np.all(np.isfinite(gradient))


def test_spline_starts_as_the_identity_and_ends_in_it():
    transformer = RationalQuadraticSpline(4, bound=3.0)
    x = np.linspace(-5, 5, 101, dtype=np.float32)
    forward = jax.jit(transformer.forward)
    z, log_slope = forward(x, np.zeros((transformer.count, len(x)), np.float32))
    np.testing.assert_allclose(z, x, atol=2e-6)
    np.testing.assert_allclose(log_slope, 0, atol=2e-6)
    raw = draws(transformer, len(x))[1].astype(np.float32)
    outside = np.abs(x) > 3
    np.testing.assert_array_equal(np.asarray(forward(x, raw)[0])[outside], x[outside])


def test_spline_passes_its_knots_with_its_slopes():
    """Cumulated shares of the interval; a slope of `SMALLEST + softplus`."""
    with jax.enable_x64(True):
        transformer = RationalQuadraticSpline(3, bound=2.0)
        raw = np.random.default_rng(1).standard_normal((transformer.count, 1))
        shares = [SMALLEST + (1 - 3 * SMALLEST) * special.softmax(raw[i : i + 3, 0]) for i in (0, 3)]
        knots_x, knots_y = (-2 + 4 * np.cumsum(share)[:2] for share in shares)
        slopes = SMALLEST + np.logaddexp(0, raw[6:8, 0] + np.log(np.expm1(1 - SMALLEST)))
        forward = jax.jit(transformer.forward)
        for side in (-1e-9, 1e-9):
            z, log_slope = forward(knots_x + side, np.repeat(raw, 2, axis=1))
            np.testing.assert_allclose(z, knots_y, atol=1e-7)
            np.testing.assert_allclose(np.exp(log_slope), slopes, rtol=1e-6)


def test_matrix_starts_as_a_rotation():
    layer = InvertibleConv1x1(6, 3)
    x = np.random.default_rng(0).standard_normal((2, 1, 3, 6)).astype(np.float32)
    z, ldj = layer.forward(jnp.asarray(x))
    np.testing.assert_allclose(np.sum(np.square(z), axis=-1), np.sum(np.square(x), axis=-1), rtol=1e-5)
    np.testing.assert_allclose(ldj, 0, atol=1e-5)
    eye = np.eye(6, dtype=np.float32)[None, None]
    matrix = np.asarray(layer.forward(eye)[0])[0, 0].T
    permutation, lower, upper = _rotation_as_lu(6, 3)
    np.testing.assert_allclose(matrix, ((lower + np.eye(6)) @ upper)[permutation], atol=1e-6)
    assert not np.allclose(matrix, np.asarray(InvertibleConv1x1(6, 4).forward(eye)[0])[0, 0].T, atol=0.1)


def test_actnorm_starts_from_data():
    layer = randomized(lambda weights: ActNorm(3))
    x = np.random.default_rng(0).normal([1, -50, 3], [0.1, 20, 0], (4, 5, 6, 3)).astype(np.float32)
    layer.data_dependent_init(jnp.asarray(x))
    z, _ = layer.forward(jnp.asarray(x))
    np.testing.assert_allclose(np.mean(z, axis=(0, 1, 2)), 0, atol=1e-3)
    np.testing.assert_allclose(np.std(z, axis=(0, 1, 2)), [1, 1, 0], atol=1e-4)
