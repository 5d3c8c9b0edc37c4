"""Models of spaces so small that every image can be looked at."""

from __future__ import annotations

from nfcli.flows import build
from nfcli.presets import GaussianNoise, MaskedCouplings, PartitionedCouplings, Preset, Split, Squeeze
from tests.flows.parameters import random_parameters

ONE = MaskedCouplings(1, "checkerboard", 4)
LEARNED = MaskedCouplings(2, "checkerboard", 4)
PLAIN = (MaskedCouplings(2, "checkerboard", 4),)
HALVES = MaskedCouplings(2, "channel", 4)
MULTISCALE = (*PLAIN, Squeeze(), HALVES, Split(), HALVES)

MIXTURE = PartitionedCouplings(1, "channel", 4, transformer="mixture", components=2, blocks=1)
MIXTURES = (Squeeze(), MIXTURE, Split(hidden=4), MIXTURE)
SPLINE = PartitionedCouplings(2, "checkerboard", 4, transformer="spline", components=4, blocks=1)

SPACES = {
    "two pixels, uniform, 4 levels": (PLAIN, None, (1, 2, 1), 4),
    "two pixels, uniform, 8 levels": (PLAIN, None, (2, 1, 1), 8),
    "two pixels, learned noise, 4 levels": (PLAIN, LEARNED, (2, 1, 1), 4),
    "two pixels, one coupling each, 8 levels": ((ONE,), ONE, (1, 2, 1), 8),
    "squeeze and split, learned noise": (MULTISCALE, LEARNED, (2, 2, 1), 2),
    "squeeze and split, uniform": (MULTISCALE, None, (2, 2, 1), 4),
    "mixtures, learned prior, noise from a normal start": (MIXTURES, GaussianNoise(1, 4, 4, 1), (2, 2, 1), 2),
    "splines, uniform": ((SPLINE,), None, (1, 2, 1), 4),
}


def small(name, *, shape=None, levels=None):
    """A model of the table and its random parameters; shape and levels may be others."""
    layers, dequantization, own_shape, own_levels = SPACES[name]
    model = build(Preset("small", "", layers, dequantization, 0, 0, 0), shape or own_shape, levels=levels or own_levels)
    # Unlimited scales of random parameters would make weights that no number of draws averages.
    unlimited = any(isinstance(layer, PartitionedCouplings) for layer in layers)
    return model, random_parameters(model, seed=4, gain=0.6, share=0.3 if unlimited else 1.0)
