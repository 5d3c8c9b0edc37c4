"""Preset `tiny` and 8x8 digits: real training within seconds."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest import mock

import numpy as np

from nfcli.data import load_dataset
from nfcli.flows import coupling
from nfcli.flows.networks import GatedConvNet
from nfcli.presets import PRESETS, GaussianNoise, MaskedCouplings, PartitionedCouplings, Preset, Split, Squeeze

TINY: Preset = replace(
    PRESETS["multiscale"],
    name="tiny",
    layers=(MaskedCouplings(1, "checkerboard", 8), Squeeze(), Split(), MaskedCouplings(1, "channel", 8)),
    dequantization=MaskedCouplings(1, "checkerboard", 8),
)
"""Every kind of layer, compiled in seconds."""

TINY_MIXTURE: Preset = replace(
    PRESETS["mixture"],
    name="tiny-mixture",
    layers=(
        Squeeze(),
        PartitionedCouplings(1, "channel", 8, transformer="mixture", components=2, blocks=0),
        Split(hidden=4),
    ),
    dequantization=GaussianNoise(1, 4, 4, blocks=1),
    recipe={**PRESETS["mixture"].recipe, "warmup_steps": 4},
)
"""The same for the layers of preset `mixture`, with a gated block where they look at the image to make noise."""


@contextmanager
def tiny_preset() -> Iterator[None]:
    """Presets `tiny` and `tiny-mixture` by their names, the networks of the first without gated blocks."""
    with (
        mock.patch.dict(PRESETS, {"tiny": TINY, "tiny-mixture": TINY_MIXTURE}),
        mock.patch.object(coupling, "GatedConvNet", functools.partial(GatedConvNet, blocks=0)),
    ):
        yield


def write_digits(path: Path) -> Path:
    """An npz file of the middles of MNIST digits, 8x8, and labels: 160 to train, 48 to validate, 48 to test."""
    mnist = load_dataset("mnist")
    middle = slice(10, 18)
    counts = {"train": 160, "val": 48, "test": 48}
    images = {name: mnist.split(name).images[:count, middle, middle] for name, count in counts.items()}
    labels = {f"{name}_labels": np.asarray(mnist.split(name).labels)[:count] for name, count in counts.items()}
    np.savez(path, **images, **labels)
    return path
