"""What sigmoid dequantization does to discrete values: numbers only, no drawing.

A value `k` out of `levels` becomes `v = (k + u) / levels` with `u` in [0, 1), is squashed away from 0 and 1,
`w = v (1 - alpha) + alpha / 2`, and lands on the real line at `y = ln w - ln(1 - w)`: each value owns one interval.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfcli.errors import UsageError

Floats = NDArray[np.float64]


def to_real_line(v: ArrayLike, alpha: float) -> Floats:
    """Squash and logit: `v` in [0, 1], any shape, to finite `y` of the same shape.

    Raises:
        UsageError: `alpha` is not between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise UsageError(f"alpha is {alpha:g}", hint="it must be greater than 0 and less than 1")
    v = np.asarray(v, dtype=np.float64)
    # The upper tail from 1 - v, like the lower one from v: symmetric, and exact where w is next to 1.
    return np.log(v * (1 - alpha) + alpha / 2) - np.log((1 - v) * (1 - alpha) + alpha / 2)


def level_intervals(levels: int, alpha: float) -> Floats:
    """Boundaries of each value's interval on the real line, (levels, 2): lower and upper, finite, adjoining.

    Raises:
        UsageError: There is no level, or `alpha` is not between 0 and 1.
    """
    if levels < 1:
        raise UsageError(f"{levels} levels cannot be dequantized", hint="give at least 1 level")
    boundaries = to_real_line(np.arange(levels + 1) / levels, alpha)
    return np.stack([boundaries[:-1], boundaries[1:]], axis=1)


def level_volumes(levels: int, alpha: float) -> Floats:
    """Width of each value's interval on the real line, (levels,); the sum is `2 ln(2 / alpha - 1)`.

    Raises:
        UsageError: There is no level, or `alpha` is not between 0 and 1.
    """
    intervals = level_intervals(levels, alpha)
    return intervals[:, 1] - intervals[:, 0]


def induced_density(y: ArrayLike, prior: ArrayLike, alpha: float) -> Floats:
    """Density on the real line of discrete values dequantized with uniform noise.

    `p(y) = P(k) levels sigmoid(y) (1 - sigmoid(y)) / (1 - alpha)` in the interval of value `k`, 0 outside all of them.

    Args:
        y: Positions, any shape.
        prior: (levels,) probability of each value.
        alpha: The squash.

    Returns:
        Density per unit of `y`, of the shape of `y`.

    Raises:
        UsageError: The prior is no distribution, or `alpha` is not between 0 and 1.
    """
    prior = check_prior(prior)
    y = np.asarray(y, dtype=np.float64)
    intervals = level_intervals(len(prior), alpha)
    k = np.searchsorted(intervals[1:, 0], y, side="right")
    inside = (intervals[0, 0] <= y) & (y <= intervals[-1, 1])
    tail = np.exp(-np.abs(y))
    slope = tail / (1 + tail) ** 2
    return np.where(inside, prior[k] * len(prior) * slope / (1 - alpha), 0.0)


def check_prior(prior: ArrayLike) -> Floats:
    """The probabilities of the values as an array, (levels,).

    Raises:
        UsageError: They are no distribution.
    """
    prior = np.asarray(prior, dtype=np.float64)
    # `>= 0` is False for NaN as well.
    if (
        prior.ndim != 1
        or prior.size == 0
        or not (prior >= 0).all()
        or not np.isclose(prior.sum(), 1, rtol=0, atol=1e-6)
    ):
        raise UsageError(
            f"the prior of shape {prior.shape} is not a probability distribution",
            hint="give one non-negative number for each value, with a sum of 1",
        )
    return prior


def labelled_levels(levels: int, *, logit: bool) -> list[int]:
    """A few values that are spread evenly enough to label an axis: on [0, 1), or on the real line if `logit`."""
    lower = (0, levels // 64, levels // 8) if logit else (0, levels // 4)
    return sorted({*lower, levels // 2, *(levels - 1 - k for k in lower)})
