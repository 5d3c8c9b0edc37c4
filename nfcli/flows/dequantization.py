"""From integers to real numbers and back: the one place where a flow is random.

An image x of integers 0..L-1 becomes `v = (x + u) / L` with noise u inside (0, 1), then the real line through a logit.
The average of `exp(ldj + log p(v))` over u is the probability of x (Theis, van den Oord, Bethge 2016,
arXiv:1511.01844); learned noise tightens the bound (variational dequantization: Ho et al. 2019, arXiv:1902.00275).

The round trip is exact in float32, whatever noise is drawn. Noise is as fine as float32 holds it, an odd multiple of
2^-24: a coarser one would make data discrete again next to black and white, where the logit is steep, and a density
could then pile up on the few points that it is asked for. Only next to an edge that two pixel values share, where the
logit is nearly a straight line, are the last 2^-13 of a bin represented by their middle: that is further from the edge
than the worst rounding error. Near the upper end all is computed from the distance to that end,
`(L - 1 - x) + (1 - u)`, which keeps its digits where `1 - v` would have lost them.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from nfcli.flows.base import sum_per_image
from nfcli.flows.coupling import MaskedCoupling
from nfcli.flows.labels import with_planes
from nfcli.presets import ALPHA, Shape

NOISE_BITS = 23
"""Noise is drawn as the middle of one of 2^23 cells: u and 1 - u are then exact in float32, and inside (0, 1)."""

EDGE = 2.0**-13
"""Noise closer than this to an edge shared with another pixel value is represented by the middle, EDGE / 2."""


def uniform_noise(keys: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Uniform noise, one key an image: (B,) keys to (B, *shape) inside (0, 1)."""
    bits = jax.vmap(lambda key: jax.random.bits(key, shape, jnp.uint32))(keys)
    return ((bits >> (32 - NOISE_BITS)).astype(dtype) + 0.5) * 2.0**-NOISE_BITS


def normal_noise(keys: Array, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """Standard normal noise, one key an image: (B,) keys to (B, *shape)."""
    return jax.vmap(lambda key: jax.random.normal(key, shape, dtype))(keys)


def keep_in_bin(x: Array, u: Array, levels: int) -> Array:
    """Noise in [0, 1] to noise inside (0, 1) that no rounding can carry into the bin of another pixel value.

    Args:
        x: (B, ...) integers 0..levels-1.
        u: (B, ...) noise.
        levels: Number of values that a pixel can have.

    Returns:
        (B, ...): what is closer than `EDGE` to a shared edge becomes the middle of that stretch, all else stays.
        Gradients pass as if nothing happened, and the density is that of the noise given.
    """
    smallest = 2.0 ** -(NOISE_BITS + 1)
    kept = jnp.clip(u, smallest, 1 - smallest)
    kept = jnp.where((u < EDGE) & (x > 0), EDGE / 2, kept)
    kept = jnp.where((u > 1 - EDGE) & (x < levels - 1), 1 - EDGE / 2, kept)
    return u + jax.lax.stop_gradient(kept - u)


def squashed_logit(lower: Array, upper: Array, alpha: float) -> tuple[Array, Array]:
    """`logit(v (1 - a) + a/2)` of v given by its distances to 0 and to 1.

    Args:
        lower: v, (B, ...).
        upper: 1 - v, (B, ...), with all the digits that it can have.
        alpha: The squash a.

    Returns:
        y: (B, ...) on the real line.
        ldj: log |det dy/dv|, (B,).
    """
    log_lower = jnp.log(lower * (1 - alpha) + alpha / 2)
    log_upper = jnp.log(upper * (1 - alpha) + alpha / 2)
    return log_lower - log_upper, sum_per_image(np.log1p(-alpha) - log_lower - log_upper)


def unsquashed_sigmoid(y: Array, alpha: float) -> tuple[Array, Array]:
    """Undo `squashed_logit`: the distances of v to 0 and to 1, each with its own digits."""
    lower = (jax.nn.sigmoid(y) - alpha / 2) / (1 - alpha)
    upper = (jax.nn.sigmoid(-y) - alpha / 2) / (1 - alpha)
    return lower, upper


def sigmoid_with_ldj(y: Array) -> tuple[Array, Array]:
    """`sigmoid(y)` in [0, 1], and log |det d sigmoid/dy|, (B,)."""
    return jax.nn.sigmoid(y), -sum_per_image(jax.nn.softplus(y) + jax.nn.softplus(-y))


def as_context(x: Array, levels: int, dtype: jnp.dtype) -> Array:
    """Integers 0..levels-1 to [-1, 1], as networks see them."""
    return x.astype(dtype) / (levels - 1) * 2 - 1


class UniformDequantization(nnx.Module):
    """Uniform noise, then the logit.

    Args:
        levels: Number of values that a pixel can have; pixels are integers 0..levels-1.
        alpha: How far the logit stays away from its ends.
    """

    def __init__(self, *, levels: int = 256, alpha: float = ALPHA) -> None:
        self.levels, self.alpha = levels, alpha

    def noise(self, x: Array, keys: Array, dtype: jnp.dtype, labels: Array | None = None) -> tuple[Array, Array]:  # noqa: ARG002
        """Draw the noise of one image per key.

        Args:
            x: (B, H, W, C) integers.
            keys: (B,) random keys.
            dtype: Floating-point type of the result.
            labels: (B, classes) weights, for learned noise of a conditional flow.

        Returns:
            u: (B, H, W, C), inside (0, 1), and off the edges that bins share.
            log_q: log q(u | x), (B,), natural logarithm.
        """
        u = uniform_noise(keys, x.shape[1:], dtype)
        return keep_in_bin(x, u, self.levels), jnp.zeros(x.shape[0], dtype)

    def dequantize(
        self, x: Array, keys: Array, dtype: jnp.dtype = jnp.float32, labels: Array | None = None
    ) -> tuple[Array, Array]:
        """Integers to the real line.

        Args:
            x: (B, H, W, C) integers.
            keys: (B,) random keys.
            dtype: Floating-point type of the result.
            labels: (B, classes) weights, for learned noise of a conditional flow.

        Returns:
            y: (B, H, W, C) on the real line.
            ldj: `log |det dy/du| - log q(u | x)`, (B,): adding `log p(y)` gives one draw's bound on log p(x).
        """
        u, log_q = self.noise(x, keys, dtype, labels)
        y, ldj = self.place(x, u)
        return y, ldj - log_q

    def place(self, x: Array, u: Array) -> tuple[Array, Array]:
        """`x + u` on the real line and log |det dy/du|: (B, H, W, C) twice to (B, H, W, C), (B,)."""
        x = x.astype(u.dtype)
        y, ldj = squashed_logit((x + u) / self.levels, ((self.levels - 1 - x) + (1 - u)) / self.levels, self.alpha)
        return y, ldj - np.log(self.levels) * np.prod(x.shape[1:])

    def quantize(self, y: Array) -> Array:
        """The real line to integers: (B, H, W, C) to the same as uint8, exactly what `dequantize` was given."""
        lower, upper = unsquashed_sigmoid(y, self.alpha)
        pixel = jnp.where(y <= 0, jnp.floor(lower * self.levels), self.levels - jnp.ceil(upper * self.levels))
        return jnp.clip(pixel, 0, self.levels - 1).astype(jnp.uint8)


class VariationalDequantization(UniformDequantization):
    """Learned noise: a conditional flow shapes the uniform noise to the image, before the logit.

    Args:
        shape: (H, W, C) of the images.
        couplings: Number of coupling layers.
        levels, alpha: As for uniform noise.
        classes: Of the labels that the noise follows too, 0 for none.
        network: `hidden`, `initializer` and `policy`, as of the couplings.
    """

    def __init__(
        self, shape: Shape, *, couplings: int, levels: int = 256, alpha: float = ALPHA, classes: int = 0, **network: Any
    ) -> None:
        super().__init__(levels=levels, alpha=alpha)
        network |= {"mask": "checkerboard", "context_channels": shape[-1] + classes}
        layers = [MaskedCoupling(shape, invert=bool(index % 2), **network) for index in range(couplings)]
        self.couplings = nnx.List(layers)

    def noise(self, x: Array, keys: Array, dtype: jnp.dtype, labels: Array | None = None) -> tuple[Array, Array]:
        uniform = uniform_noise(keys, x.shape[1:], dtype)
        context = with_planes(as_context(x, self.levels, dtype), labels)
        n, ldj = squashed_logit(uniform, 1 - uniform, self.alpha)
        for coupling in self.couplings:
            n, step = coupling.forward(n, context)
            ldj = ldj + step
        u, step = sigmoid_with_ldj(n)
        return keep_in_bin(x, u, self.levels), -(ldj + step)
