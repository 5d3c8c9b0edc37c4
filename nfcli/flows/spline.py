"""Monotone rational-quadratic splines (Neural Spline Flows: Durkan et al. 2019, arXiv:1906.04032)."""

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
from jax import Array

SMALLEST = 1e-3
"""Share of the interval that a bin has at least, and the smallest slope at a knot."""


class RationalQuadraticSpline:
    """A spline of `bins` pieces from [-bound, bound] onto itself, the identity outside.

    Args:
        bins: Pieces.
        bound: Half of the interval's width.
    """

    def __init__(self, bins: int, bound: float = 6.0) -> None:
        self.bins, self.bound = bins, bound
        self.count = 3 * bins - 1

    def forward(self, x: Array, raw: Array) -> tuple[Array, Array]:
        """(B, ...) and (count, B, ...) to z and log dz/dx, both (B, ...)."""
        knots, inside = self._knots(raw), jnp.abs(x) < self.bound
        value = jnp.where(inside, x, 0)
        left, width, low, height, first, last = _pieces(value, knots[0], *knots)
        z, log_slope = _rational((value - left) / width, width, low, height, first, last)
        return jnp.where(inside, z, x), jnp.where(inside, log_slope, 0)

    def inverse(self, z: Array, raw: Array) -> Array:
        """Undo `forward`: the root of a quadratic in each piece."""
        knots, inside = self._knots(raw), jnp.abs(z) < self.bound
        value = jnp.where(inside, z, 0)
        left, width, low, height, first, last = _pieces(value, knots[1], *knots)
        mean, bend, rise = height / width, first + last - 2 * height / width, value - low
        a = height * (mean - first) + rise * bend
        b = height * first - rise * bend
        c = -mean * rise
        root = jnp.sqrt(jnp.maximum(b * b - 4 * a * c, 0))
        return jnp.where(inside, left + width * 2 * c / (-b - root), z)

    def _knots(self, raw: Array) -> tuple[Array, Array, Array]:
        """Places of the knots on both axes and the slopes there, (bins + 1, B, ...) each."""
        bins, slopes = self.bins, raw[2 * self.bins :]
        # At raw = 0 all slopes are 1, and so the spline is the identity.
        inner = SMALLEST + jax.nn.softplus(slopes + math.log(math.expm1(1 - SMALLEST)))
        end = jnp.ones((1, *raw.shape[1:]), raw.dtype)
        return self._places(raw[:bins]), self._places(raw[bins : 2 * bins]), jnp.concatenate([end, inner, end])

    def _places(self, raw: Array) -> Array:
        shares = SMALLEST + (1 - SMALLEST * self.bins) * jax.nn.softmax(raw, axis=0)
        inner = -self.bound + 2 * self.bound * jnp.cumsum(shares, axis=0)[:-1]
        end = jnp.full((1, *raw.shape[1:]), self.bound, raw.dtype)
        return jnp.concatenate([-end, inner, end])


def _pieces(value: Array, along: Array, knots_x: Array, knots_y: Array, slopes: Array) -> Iterator[Array]:
    """Of the piece that holds each value, found among the knots `along`: x and width, y and height, slopes of the ends.

    Values are (B, ...), knots and slopes (bins + 1, B, ...).
    """
    # One-hot over pieces: a sum over a few arrays is faster than a gather, and so is its gradient.
    here = ((value[None] >= along[:-1]) & (value[None] < along[1:])).astype(value.dtype)
    for knots in (knots_x, knots_y):
        yield jnp.sum(here * knots[:-1], axis=0)
        yield jnp.sum(here * (knots[1:] - knots[:-1]), axis=0)
    for ends in (slopes[:-1], slopes[1:]):
        yield jnp.sum(here * ends, axis=0)


def _rational(t: Array, width: Array, low: Array, height: Array, first: Array, last: Array) -> tuple[Array, Array]:
    """The spline and its log-slope at the share `t` of a piece (equations 4 and 5 of the paper)."""
    mean, mixed = height / width, t * (1 - t)
    below = mean + (first + last - 2 * mean) * mixed
    z = low + height * (mean * t**2 + first * mixed) / below
    slope = mean**2 * (last * t**2 + 2 * mean * mixed + first * (1 - t) ** 2)
    return z, jnp.log(slope) - 2 * jnp.log(below)
