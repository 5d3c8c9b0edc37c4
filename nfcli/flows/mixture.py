"""The distribution function of a mixture of logistics, as a map of the real line (Flow++: Ho et al. 2019,
arXiv:1902.00275).

    y = logit F(x),   F(x) = sum_k pi_k sigmoid((x - mu_k) / s_k),   z = (y + t) exp(a)

Everything is computed from log F and log(1 - F), which keep their digits in both tails.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.flows.transformers import Affine

SMALLEST_LOG_SCALE = -7.0
"""Of a logistic: a narrower one would make a density that float32 cannot invert."""

SPREAD = 2.0
"""The means start evenly over ±SPREAD: equal components would get equal gradients, and stay equal."""

MOST_ITERATIONS = 100

Search = tuple[Array, Array, Array, Array, Array, Array]
"""Iteration; bracket; the best x; what it misses the target by; whether it is still looked for."""


class MixtureOfLogistics:
    """`logit` of the distribution function, then an affine map.

    Args:
        components: Logistics in the mixture.
    """

    def __init__(self, components: int) -> None:
        self.components = components
        self.count = 2 + 3 * components
        self._affine = Affine()

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """(B, ...) and (count, B, ...) to z and log dz/dx, both (B, ...)."""
        y, log_slope = _logit_cdf(x, *self._mixture(raw[2:]))
        z, log_scale = self._affine.forward(y, raw[:2])
        return z, log_slope + log_scale

    def inverse(self, z: Array, raw: Array) -> Array:
        """Undo `forward`, by Newton's method inside a bracket."""
        return _solve(self._affine.inverse(z, raw[:2]), *self._mixture(raw[2:]))

    def _mixture(self, raw: Array) -> tuple[Array, Array, Array]:
        """Log-weights, means and log-scales, (components, B, ...) each."""
        count = self.components
        weights, means, scales = raw[:count], raw[count : 2 * count], raw[2 * count :]
        places = np.linspace(-SPREAD, SPREAD, count) if count > 1 else np.zeros(1)
        start = jnp.asarray(places.reshape(-1, *[1] * (raw.ndim - 1)), raw.dtype)
        return jax.nn.log_softmax(weights, axis=0), means + start, jnp.maximum(scales, SMALLEST_LOG_SCALE)


def _logit_cdf(x: Array, log_weights: Array, means: Array, log_scales: Array) -> tuple[Array, Array]:
    """logit F(x) and the logarithm of its slope, both in the shape of x."""
    u = (x[None] - means) * jnp.exp(-log_scales)
    tail = jnp.log1p(jnp.exp(-jnp.abs(u)))
    log_below, log_above = jnp.minimum(u, 0) - tail, -jnp.maximum(u, 0) - tail
    log_cdf = jax.nn.logsumexp(log_weights + log_below, axis=0)
    log_rest = jax.nn.logsumexp(log_weights + log_above, axis=0)
    log_density = jax.nn.logsumexp(log_weights - log_scales + log_below + log_above, axis=0)
    return log_cdf - log_rest, log_density - log_cdf - log_rest


def _solve(target: Array, log_weights: Array, means: Array, log_scales: Array) -> Array:
    """The x with `logit F(x) = target`.

    It lies between the smallest and the largest answer of the single components. A Newton step that leaves the bracket,
    or does not halve what is missing, is replaced by the bracket's middle. A value is found, and stays, once it misses
    the target by no more than rounding: there, what is missing is noise, and would send it back to the middle.
    """
    alone = means + jnp.exp(log_scales) * target[None]
    lower, upper = jnp.min(alone, axis=0), jnp.max(alone, axis=0)
    rounding = 2 * float(np.finfo(target.dtype).eps)

    def unfinished(state: Search) -> Array:
        iteration, open_ = state[0], state[-1]
        return (iteration < MOST_ITERATIONS) & jnp.any(open_)

    def improve(state: Search) -> Search:
        iteration, lower, upper, x, missing_before, open_ = state
        y, log_slope = _logit_cdf(x, log_weights, means, log_scales)
        missing = target - y
        lower, upper = jnp.where(missing >= 0, x, lower), jnp.where(missing <= 0, x, upper)
        newton = x + missing * jnp.exp(-log_slope)
        good = (newton >= lower) & (newton <= upper) & (2 * jnp.abs(missing) <= missing_before)
        following = jnp.where(good, newton, lower + (upper - lower) / 2)
        hit = jnp.abs(missing) <= rounding * jnp.maximum(jnp.abs(target), 1)
        still = jnp.abs(following - x) <= rounding * jnp.maximum(jnp.abs(x), 1)
        open_ = open_ & ~hit & ~still
        return iteration + 1, lower, upper, jnp.where(open_, following, x), jnp.abs(missing), open_

    middle = lower + (upper - lower) / 2
    start = (jnp.int32(0), lower, upper, middle, jnp.full_like(target, jnp.inf), jnp.ones(target.shape, bool))
    found: Search = jax.lax.while_loop(unfinished, improve, start)
    return found[3]
