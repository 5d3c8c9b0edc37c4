"""Rows in batches of one size, so that one compiled program serves any number of them."""

from collections.abc import Callable, Iterator
from typing import TypeVar

import jax
import numpy as np

Arrays = TypeVar("Arrays")


def batches(count: int, size: int) -> Iterator[tuple[np.ndarray, int]]:
    """Rows 0 to `count - 1`, (size,) at a time, and how many of these are new: the last batch repeats its last row."""
    for start in range(0, count, size):
        yield np.minimum(start + np.arange(size), count - 1), min(size, count - start)


def in_batches(call: Callable[[np.ndarray], Arrays], count: int, size: int) -> Arrays:
    """`call` for all rows: what it gives for (size,) rows, an array or a tree of them, joined along the first axis."""
    parts = [jax.tree.map(np.asarray, call(rows)) for rows, _ in batches(count, size)]
    joined: Arrays = jax.tree.map(lambda *arrays: np.concatenate(arrays)[:count], *parts)
    return joined
