"""Small real images and a way to train on them within seconds."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nfcli.backend import programs
from nfcli.config import TrainConfig
from nfcli.flows import coupling
from nfcli.flows.networks import GatedConvNet
from tests.tiny import tiny_preset


@pytest.fixture(scope="package", autouse=True)
def _tiny_preset() -> Iterator[None]:
    with tiny_preset():
        yield


@pytest.fixture
def changed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """No program that was compiled before knows of code that a test changed, and none of these is kept."""
    monkeypatch.setattr(programs, "_folder", lambda: None)
    monkeypatch.setattr(programs, "_latest", {})


@pytest.fixture
def one_block(changed_code: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks with a gated block, where what is checked depends on all that they compute."""
    monkeypatch.setattr(coupling, "GatedConvNet", functools.partial(GatedConvNet, blocks=1))


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
