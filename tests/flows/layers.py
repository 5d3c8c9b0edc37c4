"""Every layer by name. A new layer joins the tests of its inverse and of its log-determinant by one line here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np

from nfcli.flows.coupling import MaskedCoupling, PartitionedCoupling
from nfcli.flows.flow import MultiscaleTransform
from nfcli.flows.glow import ActNorm, InvertibleConv1x1
from nfcli.flows.initializers import Initializer
from nfcli.flows.mixture import MixtureOfLogistics
from nfcli.flows.prior import LearnedPrior
from nfcli.flows.reshaping import Squeeze
from nfcli.flows.spline import RationalQuadraticSpline
from nfcli.flows.transformers import Affine
from tests.flows.parameters import randomized


@dataclass(frozen=True)
class Case:
    """A layer, the shape (H, W, C) of its input and the channels of its context."""

    factory: Callable[[Initializer], Any]
    shape: tuple[int, int, int]
    context: int = 0

    def make(self, dtype=jnp.float32):
        """The layer with random parameters, none of them zero."""
        return randomized(self.factory, dtype=dtype)

    def inputs(self, batch=3, dtype=jnp.float32, seed=1):
        """What `forward` takes: a batch of input, and of context if there is one."""
        generator = np.random.default_rng(seed)
        x = 2 * generator.standard_normal((batch, *self.shape)).astype(dtype)
        context = generator.uniform(-1, 1, (batch, *self.shape[:2], self.context)).astype(dtype)
        return tuple(map(jnp.asarray, (x, context) if self.context else (x,)))


def coupling(shape, mask, *, invert=False, context=0, hidden=4):
    """A coupling layer's entry."""
    return Case(
        lambda weights: MaskedCoupling(
            shape, mask=mask, invert=invert, hidden=hidden, context_channels=context, initializer=weights
        ),
        shape,
        context,
    )


def partitioned(shape, mask, transformer, *, invert=False, context=0, heads=0):
    """A partitioned coupling's entry; its network has a gated block only where attention comes after it."""
    return Case(
        lambda weights: PartitionedCoupling(
            shape,
            mask=mask,
            invert=invert,
            transformer=transformer,
            hidden=4,
            blocks=1 if heads else 0,
            heads=heads,
            context_channels=context,
            initializer=weights,
        ),
        shape,
        context,
    )


def _with_learned_prior(weights):
    """Two splits, of which the first has a learned prior."""
    prior = LearnedPrior(2, 2, hidden=4, blocks=0, initializer=weights)
    return MultiscaleTransform([[], [ActNorm(2)], []], {0: prior})


def _mixed(weights):
    """Coupling, squeeze, split, coupling, split: the second level's latent is split again."""
    first = MaskedCoupling((4, 2, 1), mask="checkerboard", invert=False, hidden=4, initializer=weights)
    second = MaskedCoupling((2, 1, 2), mask="channel", invert=True, hidden=4, initializer=weights)
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
    "partitioned affine coupling, channels": partitioned((2, 3, 4), "channel", Affine()),
    "partitioned affine coupling, channels, inverted, odd": partitioned((2, 2, 3), "channel", Affine(), invert=True),
    "partitioned affine coupling, checkerboard": partitioned((3, 4, 2), "checkerboard", Affine()),
    "partitioned affine coupling, checkerboard, context": partitioned(
        (2, 4, 1), "checkerboard", Affine(), invert=True, context=2
    ),
    "partitioned affine coupling, rows": partitioned((2, 3, 4), "rows", Affine(), invert=True),
    "partitioned affine coupling, columns, context": partitioned((1, 2, 8), "columns", Affine(), context=2),
    "partitioned affine coupling, diagonals": partitioned((2, 1, 12), "diagonals", Affine()),
    "mixture coupling": partitioned((2, 2, 4), "channel", MixtureOfLogistics(3)),
    "mixture coupling, one logistic, context": partitioned((2, 2, 3), "channel", MixtureOfLogistics(1), context=1),
    "mixture coupling with attention": partitioned((2, 2, 4), "channel", MixtureOfLogistics(2), invert=True, heads=2),
    "spline coupling": partitioned((2, 4, 1), "checkerboard", RationalQuadraticSpline(4, bound=3.0)),
    "actnorm": Case(lambda weights: ActNorm(3), (2, 3, 3)),
    "1x1 convolution": Case(lambda weights: InvertibleConv1x1(5, 0), (2, 3, 5)),
    "learned prior": Case(lambda weights: LearnedPrior(2, 3, hidden=4, blocks=0, initializer=weights), (2, 2, 2), 3),
    "splits with a learned prior": Case(_with_learned_prior, (2, 2, 4)),
}
