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
from nfcli.presets import PRESETS, Couplings, Preset, Split, Squeeze

TINY: Preset = replace(
    PRESETS["multiscale"],
    name="tiny",
    layers=(Couplings(1, "checkerboard", 8), Squeeze(), Split(), Couplings(1, "channel", 8)),
    dequantization=Couplings(1, "checkerboard", 8),
)
"""Every kind of layer, compiled in seconds."""


@contextmanager
def tiny_preset() -> Iterator[None]:
    """Preset `tiny` by its name, its networks with one gated block instead of three."""
    with (
        mock.patch.dict(PRESETS, tiny=TINY),
        mock.patch.object(coupling, "GatedConvNet", functools.partial(GatedConvNet, blocks=1)),
    ):
        yield


def write_digits(path: Path) -> Path:
    """An npz file of the middles of MNIST digits, 8x8: 160 to train, 48 to validate, 48 to test."""
    mnist = load_dataset("mnist")
    middle = slice(10, 18)
    np.savez(
        path,
        train=mnist.train.images[:160, middle, middle],
        val=mnist.val.images[:48, middle, middle],
        test=mnist.test.images[:48, middle, middle],
    )
    return path
