"""One run of 20 steps by two processes, for all tests here to compare with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.process.pairs import run_pair, settings
from tests.sharing import made_once
from tests.tiny import tiny_preset


@dataclass(frozen=True)
class Together:
    """The folder of a run, what each process wrote to stdout, and the lines of each on stderr."""

    path: Path
    out: list[str]
    err: list[list[str]]


@pytest.fixture(scope="package", autouse=True)
def _tiny_preset():
    with tiny_preset():
        yield


@pytest.fixture(scope="session")
def together(digits, tmp_path_factory) -> Together:
    """Both processes, ended well; nothing may be written to their run but results."""

    def make(runs):
        pair = run_pair(*settings(digits, runs), "--json")
        return {"out": pair.out, "err": [pair.first.lines, pair.second.lines]}

    runs, said = made_once(tmp_path_factory, "together", make)
    return Together(runs / "run", **said)
