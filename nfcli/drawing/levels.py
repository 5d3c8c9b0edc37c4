"""What dequantization does to discrete values, in numbers of double precision; no drawing.

A value `k` out of `levels` becomes `v = (k + u) / levels` with `u` in [0, 1), and lands on the real line at
`y = logit(v (1 - alpha) + alpha / 2)`, so each value owns one interval (`nfcli.flows.dequantization`).
"""

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike, NDArray

from nfcli.flows.dequantization import squashed_logit, unsquashed_sigmoid

Floats = NDArray[np.float64]


def to_real_line(v: ArrayLike, alpha: float) -> Floats:
    """(N,) `v` in [0, 1] to finite `y`, (N,)."""
    with jax.enable_x64(True):
        v = jnp.asarray(v)
        return np.asarray(squashed_logit(v, 1 - v, alpha)[0])


def level_borders(levels: int, alpha: float) -> Floats:
    """Where the intervals of the values end on the real line, (levels + 1,), ascending and finite.

    The widths sum to `2 ln(2 / alpha - 1)`.
    """
    return to_real_line(np.arange(levels + 1) / levels, alpha)


def logistic_density(y: ArrayLike, alpha: float) -> Floats:
    """(N,) density at `y`, (N,), of `v` uniform in [0, 1]: `dv/dy`.

    Times `levels P(k)` it is the density of value `k` with uniform noise, in the interval of that value.
    """
    with jax.enable_x64(True):
        _, ldj = squashed_logit(*unsquashed_sigmoid(jnp.asarray(y), alpha), alpha)
        return np.exp(-np.asarray(ldj))


def labelled_levels(levels: int) -> list[int]:
    """A few values that are spread evenly enough on the real line to label its axis."""
    lower = (0, levels // 64, levels // 8)
    return sorted({*lower, levels // 2, *(levels - 1 - k for k in lower)})
