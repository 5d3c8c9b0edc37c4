"""Small real images and a way to train on them within seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nfcli.data import load_dataset
from nfcli.presets import PRESETS, Couplings, Split, Squeeze
from nfcli.training.config import TrainConfig


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An npz file of the middles of MNIST digits, 8x8: 160 to train, 48 to validate, 48 to test."""
    mnist = load_dataset("mnist")
    middle = slice(10, 18)
    path = tmp_path_factory.mktemp("digits") / "digits.npz"
    np.savez(
        path,
        train=mnist.train.images[:160, middle, middle],
        val=mnist.val.images[:48, middle, middle],
        test=mnist.test.images[:48, middle, middle],
    )
    return path


@pytest.fixture(scope="session", autouse=True)
def _tiny_preset() -> Iterator[None]:
    """Preset `tiny`: every kind of layer, compiled in seconds."""
    layers = (Couplings(1, "checkerboard", 8), Squeeze(), Split(), Couplings(1, "channel", 8))
    dequantization = Couplings(1, "checkerboard", 8)
    PRESETS["tiny"] = replace(PRESETS["multiscale"], name="tiny", layers=layers, dequantization=dequantization)
    yield
    del PRESETS["tiny"]


@pytest.fixture
def configure(digits: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    """A configuration on these digits; 5 steps an epoch."""

    def make(**changes: Any) -> TrainConfig:
        settings: dict[str, Any] = {
            "preset": "tiny",
            "dataset": str(digits),
            "epochs": 2,
            "batch_size": 32,
            "eval_every": 1,
            "runs_dir": tmp_path / "runs",
            "name": "run",
        }
        return TrainConfig(**{**settings, **changes})

    return make
