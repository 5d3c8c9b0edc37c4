"""Initial weights: one stream of random numbers, cut into the arrays that layers ask for.

A model of sixty convolutions would otherwise compile sixty generators, which takes longer than everything else at a
start.
"""

import functools
import math

import jax
import numpy as np
from jax import Array

TRUNCATED_STD = 0.87962566103423978
"""Standard deviation of a standard normal cut off at 2."""


class Initializer:
    """Hands out initial arrays, the same ones for the same key and order of asking.

    Args:
        key: Random key; None hands out zeros, for shapes alone.
        total: How many random numbers will be asked for; needed with a key.
    """

    def __init__(self, key: Array | None = None, total: int = 0) -> None:
        self.drawn = 0
        self._stream = None if key is None else np.asarray(_truncated_normal(key, total))

    def lecun_normal(self, shape: tuple[int, ...]) -> np.ndarray:
        """A truncated normal of variance 1 / fan-in, the last axis being the outputs (LeCun et al. 1998)."""
        start, size = self.drawn, math.prod(shape)
        self.drawn += size
        if self._stream is None:
            return np.zeros(shape, np.float32)
        scale = np.float32(1 / (TRUNCATED_STD * math.sqrt(math.prod(shape[:-1]))))
        return self._stream[start : start + size].reshape(shape) * scale


@functools.partial(jax.jit, static_argnums=1)
def _truncated_normal(key: Array, total: int) -> Array:
    return jax.random.truncated_normal(key, -2, 2, (total,))


def zeros(*shape: int) -> np.ndarray:
    """float32 zeros of a shape."""
    return np.zeros(shape, np.float32)
