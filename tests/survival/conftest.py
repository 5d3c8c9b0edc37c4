"""One run that nobody disturbed, for all tests here to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.sharing import made_once
from tests.survival.processes import run, train_arguments


@dataclass(frozen=True)
class Undisturbed:
    """A finished run and how long it was."""

    path: Path
    epochs: int


@pytest.fixture(scope="session")
def undisturbed(digits, tmp_path_factory):
    """Enough steps for 20 kills to fall into; nothing may be written to it."""

    def make(runs):
        done = run(*train_arguments(runs, digits, epochs=30))
        assert done.process.returncode == 0, done.lines
        return 30

    runs, epochs = made_once(tmp_path_factory, "undisturbed", make)
    return Undisturbed(runs / "run", epochs)
