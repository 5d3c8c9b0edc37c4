"""Two tiny runs, trained once by the real program on images that the tests know."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest

from nfcli.cli.app import run
from nfcli.evaluation import timing
from nfcli.flows import coupling
from nfcli.presets import Preset
from nfcli.runs import pretrained as pretrained
from tests.cli.program import Done, nf, succeeds
from tests.cli.small import shallow, shorten
from tests.sharing import made_once

IMAGES = {"train": 48, "val": 16, "test": 16}

SETTINGS = ("--dataset", "tiny.npz", "--smoke", "--train-size", "32", "--val-size", "16", "--batch-size", "16")


# Tests of other folders may come before, between and after those of this one in the same process.
@pytest.fixture(scope="package", autouse=True)
def small_smoke_runs():
    """In this process as in those that tests start, while the tests of this folder run."""
    narrow = Preset.smoke_twin
    with (
        mock.patch.object(Preset, "smoke_twin", lambda preset: shorten(narrow(preset))),
        mock.patch.object(coupling, "GatedConvNet", shallow(coupling.GatedConvNet)),
        mock.patch.object(timing, "REPETITIONS", 2),
    ):
        yield


@dataclass(frozen=True)
class Workshop:
    """A working directory with `tiny.npz` and `runs/` in it.

    Attributes:
        path: The directory.
        told: What the command that made it what it is printed with --json, for `simple` and for `multiscale`.
    """

    path: Path
    told: dict[str, Done]

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    @property
    def images(self) -> dict[str, np.ndarray]:
        with np.load(self.path / "tiny.npz") as archive:
            return dict(archive)

    def copy(self, to: Path) -> Path:
        """The same directory elsewhere, to be changed."""
        copy = Path(shutil.copytree(self.path, to))
        for config in copy.glob("runs/*/config.json"):
            content = json.loads(config.read_text())
            content["data"]["source"] = str(copy / "tiny.npz")
            config.write_text(json.dumps(content))
        return copy


def write_images(path: Path, side: int = 8, **counts: int) -> Path:
    """An npz file with splits of random images."""
    generator = np.random.default_rng(5)
    counts = counts or IMAGES
    arrays = {split: generator.integers(0, 256, (count, side, side), np.uint8) for split, count in counts.items()}
    np.savez(path, **arrays)
    return path


def _workshop(made: tuple[Path, dict[str, dict[str, Any]]]) -> Workshop:
    path, told = made
    return Workshop(path, {name: Done(**said) for name, said in told.items()})


@pytest.fixture(scope="session")
def workshop(tmp_path_factory):
    """Both runs, trained. Do not change it: `workshop.copy(tmp_path / "copy")` may be changed."""

    def make(path):
        write_images(path / "tiny.npz")
        return {
            preset: asdict(succeeds("train", preset, *SETTINGS, "--epochs", "1", "--name", preset, "--json", cwd=path))
            for preset in ("simple", "multiscale")
        }

    return _workshop(made_once(tmp_path_factory, "workshop", make))


@pytest.fixture(scope="session")
def measured(workshop, tmp_path_factory):
    """The same after `nf eval -k 2`; do not change it either."""
    options = ("-k", "2", "--batch-size", "16", "--json")

    def make(path):
        path.rmdir()
        home = workshop.copy(path)
        return {name: asdict(succeeds("eval", name, *options, cwd=home)) for name in ("simple", "multiscale")}

    return _workshop(made_once(tmp_path_factory, "measured", make))


def export(name: str, cwd: Path, to: Path, *options) -> Done:
    """The maintainer's command."""
    return nf("nfcli.pretrained", name, "--to", to, *options, cwd=cwd)


@dataclass(frozen=True)
class Shipment:
    """Both runs of the workshop as they ship, in `ships`, and a copy of the workshop where they were measured."""

    ships: Path
    home: Path


@pytest.fixture(scope="session")
def shipment(workshop, tmp_path_factory):
    """Do not change it."""

    def make(folder):
        home = workshop.copy(folder / "home")
        for name in ("simple", "multiscale"):
            succeeds("eval", name, "-k", "8", "--batch-size", "16", "-q", cwd=home)
            done = export(name, home, folder / "ships", "--other-data", "--smoke", "--hardware", "two cores")
            assert done.code == 0, done.err

    folder, _ = made_once(tmp_path_factory, "shipment", make)
    return Shipment(folder / "ships", folder / "home")


@pytest.fixture
def nothing_ships(tmp_path_factory, monkeypatch):
    """Whatever really ships, here nothing does."""
    folder = tmp_path_factory.mktemp("nothing")
    monkeypatch.setattr(pretrained, "pretrained_dir", lambda: folder)


@pytest.fixture
def call(capfd, monkeypatch):
    """`nf` within this process, for the many command lines that end before any model is compiled."""

    def call_within(*arguments, cwd) -> Done:
        monkeypatch.chdir(cwd)
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = capfd.readouterr()
        return Done(code, out, err)

    return call_within
