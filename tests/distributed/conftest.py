"""One run of 20 steps by two processes, for all tests here to compare with."""

from __future__ import annotations

from pathlib import Path

import jax
import pytest

from tests.distributed.pairs import Pair, run_pair, settings
from tests.tiny import tiny_preset, write_digits


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """160 images to train, 48 to validate, 48 to test."""
    return write_digits(tmp_path_factory.mktemp("digits") / "digits.npz")


@pytest.fixture(scope="package", autouse=True)
def _tiny_and_quick_to_compile():
    jax.config.update("jax_disable_most_optimizations", True)
    with tiny_preset():
        yield
    jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session")
def together(digits, tmp_path_factory) -> tuple[Pair, Path]:
    """Both processes, ended well, and the folder of their run; nothing may be written to it but results."""
    runs = tmp_path_factory.mktemp("together")
    return run_pair(*settings(digits, runs), "--json"), runs / "run"
