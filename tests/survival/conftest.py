"""One run that nobody disturbed, for all tests here to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.survival.processes import run, train_arguments
from tests.tiny import write_digits


@dataclass(frozen=True)
class Undisturbed:
    """A finished run and how long it was."""

    path: Path
    epochs: int


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """160 images to train, 48 to validate, 48 to test."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz")


@pytest.fixture(scope="session")
def undisturbed(digits, tmp_path_factory):
    """Enough steps for 20 kills to fall into; nothing may be written to it."""
    runs = tmp_path_factory.mktemp("undisturbed")
    done = run(*train_arguments(runs, digits, epochs=30))
    assert done.process.returncode == 0, done.lines
    return Undisturbed(runs / "run", 30)
