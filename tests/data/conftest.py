"""Fixtures of the tests of data."""

from __future__ import annotations

import os
import shutil
import tempfile
import tracemalloc
from contextlib import contextmanager
from pathlib import Path

import pytest

from nfcli.data import npz, reading

NOBODY = 65534


@contextmanager
def _without_privileges():
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def without_privileges():
    """A context in which file permissions count even if root runs the tests."""
    return _without_privileges


@pytest.fixture
def open_folder():
    """A temporary folder that any user may enter; `tmp_path` is its owner's only."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def tiny_limit(monkeypatch):
    monkeypatch.setattr(reading, "MAX_BYTES", 1_000)
    monkeypatch.setattr(npz, "MAX_BYTES", 1_000)


@pytest.fixture
def little_memory():
    """Fail when a test held more than 40 MB at once."""
    tracemalloc.start()
    yield
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
