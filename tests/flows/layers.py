"""Every layer by name. A new layer joins the tests of its inverse and of its log-determinant by one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from nfcli.flows.coupling import AffineCoupling
from nfcli.flows.flow import MultiscaleTransform
from nfcli.flows.reshaping import Squeeze
from nfcli.flows.weights import Weights
from tests.flows.parameters import randomized


@dataclass(frozen=True)
class Case:
    """A layer, the shape (H, W, C) of its input and the channels of its context."""

    factory: Callable[[Weights], Any]
    shape: tuple[int, int, int]
    context: int = 0

    def make(self, dtype=jnp.float32):
        """The layer with random parameters, none of them zero."""
        return randomized(self.factory, dtype=dtype)

    def inputs(self, batch=3, dtype=jnp.float32, seed=1):
        """What `forward` takes: a batch of input, and of context if there is one."""
        generator = np.random.default_rng(seed)
        x = jnp.asarray(2 * generator.standard_normal((batch, *self.shape)), dtype)
        context = jnp.asarray(generator.uniform(-1, 1, (batch, *self.shape[:2], self.context)), dtype)
        return (x, context) if self.context else (x,)


def coupling(shape, mask, *, invert=False, context=0, hidden=4):
    """A coupling layer's entry."""
    return Case(
        lambda weights: AffineCoupling(
            shape, mask=mask, invert=invert, hidden=hidden, context_channels=context, weights=weights
        ),
        shape,
        context,
    )


def _mixed(weights):
    """Coupling, squeeze, split, coupling, split: the second level's latent is split again."""
    first = AffineCoupling((4, 2, 1), mask="checkerboard", invert=False, hidden=4, weights=weights)
    second = AffineCoupling((2, 1, 2), mask="channel", invert=True, hidden=4, weights=weights)
    return MultiscaleTransform([[first, Squeeze()], [second], []])


LAYERS = {
    "checkerboard coupling": coupling((4, 4, 1), "checkerboard"),
    "checkerboard coupling, inverted": coupling((3, 2, 2), "checkerboard", invert=True),
    "checkerboard coupling with context": coupling((4, 3, 1), "checkerboard", context=1),
    "colour coupling with context": coupling((2, 2, 3), "checkerboard", invert=True, context=3),
    "channel coupling": coupling((2, 3, 4), "channel"),
    "channel coupling, inverted, odd": coupling((2, 2, 3), "channel", invert=True),
    "one pixel coupling": coupling((1, 1, 1), "checkerboard"),
    "squeeze": Case(lambda weights: Squeeze(), (4, 6, 2)),
    "split": Case(lambda weights: MultiscaleTransform([[], []]), (2, 2, 4)),
    "split, odd": Case(lambda weights: MultiscaleTransform([[], [], []]), (1, 2, 5)),
    "coupling, squeeze, splits": Case(_mixed, (4, 2, 1)),
}
