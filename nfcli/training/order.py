"""Which images a step sees: a fresh permutation each epoch that follows from the seed and the epoch alone."""

from __future__ import annotations

import numpy as np

from nfcli.flows.randomness import Purpose


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The order of `size` images in one epoch (counted from 0), (size,) indices."""
    return np.random.default_rng([seed, int(Purpose.ORDER), epoch]).permutation(size)
