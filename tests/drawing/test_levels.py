"""Sigmoid dequantization in numbers, against closed forms and quadrature."""

from __future__ import annotations

import numpy as np
import pytest

from nfcli.drawing.levels import induced_density, labelled_levels, level_intervals, level_volumes, to_real_line
from nfcli.errors import UsageError

ALPHA = 1e-5
PRIOR = np.array([0.5, 0.1, 0.06, 0.04, 0.05, 0.07, 0.1, 0.08])


def _integrals(prior: np.ndarray, alpha: float) -> np.ndarray:
    """Probability of each interval by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    low, high = level_intervals(len(prior), alpha).T[:, :, None]
    y = (high + low) / 2 + (high - low) / 2 * nodes
    return np.asarray((high - low)[:, 0] / 2 * (induced_density(y, prior, alpha) * weights).sum(axis=1))


@pytest.mark.parametrize("levels", [1, 2, 8, 256])
@pytest.mark.parametrize("alpha", [1e-6, 1e-5, 0.1])
def test_intervals_adjoin_and_volumes_have_their_closed_form(levels: int, alpha: float) -> None:
    intervals = level_intervals(levels, alpha)
    assert intervals.shape == (levels, 2)
    np.testing.assert_array_equal(intervals[1:, 0], intervals[:-1, 1])
    np.testing.assert_allclose(intervals, -intervals[::-1, ::-1], rtol=0, atol=1e-12)
    w = np.arange(levels + 1) / levels * (1 - alpha) + alpha / 2
    np.testing.assert_allclose(level_volumes(levels, alpha), np.diff(np.log(w / (1 - w))), rtol=1e-9)
    assert level_volumes(levels, alpha).sum() == pytest.approx(2 * np.log(2 / alpha - 1))


def test_inner_volumes_of_eight_levels_by_hand() -> None:
    # Without the squash, value 3 owns the interval from ln(3/5) to 0.
    assert level_volumes(8, 1e-12)[3] == pytest.approx(np.log(5 / 3), abs=1e-9)


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
    np.testing.assert_allclose(induced_density(y, np.full(8, 1 / 8), ALPHA), logistic / (1 - ALPHA), rtol=1e-12)


def test_density_matches_a_simulation() -> None:
    rng = np.random.default_rng(0)
    k = rng.choice(8, size=200_000, p=PRIOR)
    y = to_real_line((k + rng.random(k.size)) / 8, ALPHA)
    edges = np.linspace(-4, 4, 33)
    share = np.histogram(y, edges)[0] / k.size
    fine = np.linspace(-4, 4, 32 * 400 + 1)
    middle = (fine[1:] + fine[:-1]) / 2
    expected = (induced_density(middle, PRIOR, ALPHA) * np.diff(fine)).reshape(32, 400).sum(axis=1)
    np.testing.assert_allclose(share, expected, atol=5 * np.sqrt(expected.max() / k.size))


def test_density_outside_and_on_the_borders() -> None:
    intervals = level_intervals(8, ALPHA)
    low, high = intervals[0, 0], intervals[-1, 1]
    outside = induced_density([low - 1e-6, high + 1e-6, -1e3, 1e3], PRIOR, ALPHA)
    np.testing.assert_array_equal(outside, 0)
    assert (induced_density([low, high], PRIOR, ALPHA) > 0).all()
    # A border belongs to the upper value: values 3 and 4 meet at 0.
    ratio = induced_density(0.0, PRIOR, ALPHA) / induced_density(-1e-9, PRIOR, ALPHA)
    assert ratio == pytest.approx(PRIOR[4] / PRIOR[3])


@pytest.mark.parametrize("prior", [[0.5, 0.6], [1.5, -0.5], [np.nan, 1], [], [[0.5, 0.5]]])
def test_what_is_no_prior(prior: list[float]) -> None:
    with pytest.raises(UsageError, match="prior"):
        induced_density(0.0, prior, ALPHA)


@pytest.mark.parametrize(("levels", "alpha"), [(0, ALPHA), (8, 0.0), (8, 1.0), (8, float("nan"))])
def test_what_has_no_intervals(levels: int, alpha: float) -> None:
    with pytest.raises(UsageError):
        level_volumes(levels, alpha)


@pytest.mark.parametrize("logit", [False, True])
@pytest.mark.parametrize("levels", [2, 8, 32, 256, 65536])
def test_labelled_levels_are_ascending_levels_with_both_ends(levels: int, logit: bool) -> None:
    shown = labelled_levels(levels, logit=logit)
    assert shown == sorted(set(shown))
    assert (shown[0], shown[-1]) == (0, levels - 1)
    assert len(shown) <= 7
