"""Every random number is `fold_in(fold_in(key(seed), purpose), index)`.

Nothing random is carried along: a step's noise follows from the seed and the step, an image's evaluation noise from the
seed, the draw and the image's index in its split. So nothing random has to be saved to resume, evaluating more often
does not change training, and an evaluation does not depend on batch size, order, padding or the number of devices.
"""

from enum import IntEnum

import jax
from jax import Array


class Purpose(IntEnum):
    """What a stream of random numbers is for. The numbers are part of every result: never change one."""

    INITIALIZATION = 0
    ORDER = 1
    TRAINING = 2
    EVALUATION = 3
    SAMPLING = 4
    ENCODING = 5
    TIMING = 6


def stream(seed: int, purpose: Purpose) -> Array:
    """The key of one purpose."""
    return jax.random.fold_in(jax.random.key(seed), int(purpose))


def indexed_keys(key: Array, indices: Array) -> Array:
    """One key an index: (B,) integers to (B,) keys."""
    return jax.vmap(lambda index: jax.random.fold_in(key, index))(indices)
