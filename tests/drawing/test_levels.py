"""Sigmoid dequantization in numbers, against closed forms and quadrature."""

from __future__ import annotations

import numpy as np
import pytest

from nfcli.data import Transform
from nfcli.drawing.grid import spread
from nfcli.drawing.levels import Floats, labelled_levels, level_borders, logistic_density, to_real_line

ALPHA = 1e-5
PRIOR = np.array([0.5, 0.1, 0.06, 0.04, 0.05, 0.07, 0.1, 0.08])


def _density(y: Floats, prior: np.ndarray, alpha: float) -> Floats:
    """Of values of this prior with uniform noise, at positions that are inside some interval."""
    k = np.searchsorted(level_borders(len(prior), alpha)[1:-1], y, side="right")
    return len(prior) * prior[k] * logistic_density(y, alpha)


def _integrals(prior: np.ndarray, alpha: float) -> Floats:
    """Probability of each interval by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    borders = level_borders(len(prior), alpha)
    low, high = borders[:-1, None], borders[1:, None]
    y = (high + low) / 2 + (high - low) / 2 * nodes
    density = _density(y.ravel(), prior, alpha).reshape(y.shape)
    return np.asarray((high - low)[:, 0] / 2 * (density * weights).sum(axis=1))


@pytest.mark.parametrize("levels", [1, 2, 8, 256])
@pytest.mark.parametrize("alpha", [1e-6, 1e-5, 0.1])
def test_borders_are_symmetric_and_widths_have_their_closed_form(levels: int, alpha: float) -> None:
    borders = level_borders(levels, alpha)
    assert borders.shape == (levels + 1,)
    assert borders.dtype == np.float64
    np.testing.assert_allclose(borders, -borders[::-1], rtol=0, atol=1e-12)
    w = np.arange(levels + 1) / levels * (1 - alpha) + alpha / 2
    np.testing.assert_allclose(np.diff(borders), np.diff(np.log(w / (1 - w))), rtol=1e-9)
    assert np.diff(borders).sum() == pytest.approx(2 * np.log(2 / alpha - 1))


def test_inner_widths_of_eight_levels_by_hand() -> None:
    # Without the squash, value 3 owns the interval from ln(3/5) to 0.
    assert np.diff(level_borders(8, 1e-12))[3] == pytest.approx(np.log(5 / 3), abs=1e-9)


def test_real_line_inverts_the_sigmoid_of_the_squash() -> None:
    v = np.linspace(0, 1, 1001)
    w = 1 / (1 + np.exp(-to_real_line(v, ALPHA)))
    np.testing.assert_allclose((w - ALPHA / 2) / (1 - ALPHA), v, rtol=0, atol=1e-12)


@pytest.mark.parametrize("prior", [np.full(8, 1 / 8), PRIOR, np.eye(8)[2], np.full(256, 1 / 256)])
@pytest.mark.parametrize("alpha", [ALPHA, 0.2])
def test_density_gives_every_interval_its_probability(prior: np.ndarray, alpha: float) -> None:
    integrals = _integrals(prior, alpha)
    np.testing.assert_allclose(integrals, prior, rtol=1e-6, atol=1e-12)
    assert integrals.sum() == pytest.approx(1)


def test_uniform_prior_induces_the_logistic_density() -> None:
    y = np.linspace(-6, 6, 101)
    logistic = np.exp(-y) / (1 + np.exp(-y)) ** 2
    np.testing.assert_allclose(logistic_density(y, ALPHA), logistic / (1 - ALPHA), rtol=1e-12)


def test_density_matches_a_simulation() -> None:
    rng = np.random.default_rng(0)
    k = rng.choice(8, size=200_000, p=PRIOR)
    y = to_real_line((k + rng.random(k.size)) / 8, ALPHA)
    edges = np.linspace(-4, 4, 33)
    share = np.histogram(y, edges)[0] / k.size
    fine = np.linspace(-4, 4, 32 * 400 + 1)
    middle = (fine[1:] + fine[:-1]) / 2
    expected = (_density(middle, PRIOR, ALPHA) * np.diff(fine)).reshape(32, 400).sum(axis=1)
    np.testing.assert_allclose(share, expected, atol=5 * np.sqrt(expected.max() / k.size))


@pytest.mark.parametrize("levels", [2, 8, 32, 256, 65536])
def test_labelled_levels_are_ascending_levels_with_both_ends(levels: int) -> None:
    shown = labelled_levels(levels)
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (0, levels - 1)
    assert len(shown) <= 7


@pytest.mark.parametrize("levels", [2, 3, 31, 32, 200, 255, 256])
def test_what_is_written_is_read_again_as_the_same_levels(levels):
    values = np.arange(levels, dtype=np.uint8).reshape(1, 1, levels, 1)
    written = spread(values, levels)
    np.testing.assert_array_equal(Transform(levels=levels)(written, "it"), values)
    assert (written.min(), written.max()) == (0, 255)
