"""The wheel and the source archive: complete, and enough without the extras."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from nfcli.drawing.page_pictures import SAMPLES
from nfcli.runs.pretrained import list_pretrained
from tests.cli.program import contents

ROOT = Path(__file__).resolve().parents[1]

EXTRAS = ("tensorflow", "tensorboardX", "pytest", "hypothesis", "torch")

PRETRAINED = [run.name for run in list_pretrained(Path())]

BLOCK = f"""
import sys
for name in {EXTRAS!r}:
    sys.modules[name] = None  # as if it were not installed
"""


def build(source: Path, target: Path, kind: str) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(target)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = target.glob("*.whl" if kind == "wheel" else "*.tar.gz")
    return made


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The source archive of this tree, and the wheel that is built from that archive alone."""
    folder = tmp_path_factory.mktemp("packages")
    source = build(ROOT, folder / "source", "sdist")
    with tarfile.open(source) as archive:
        archive.extractall(folder / "unpacked", filter="data")
    (unpacked,) = (folder / "unpacked").iterdir()
    return source, build(unpacked, folder / "wheel", "wheel"), unpacked


def test_source_archive_has_what_the_top_level_shows(archives):
    _, _, unpacked = archives
    assert {"pyproject.toml", "nfcli", "tests", "completions", "README.md", "CHANGELOG.md", "LICENSE"} <= {
        path.name for path in unpacked.iterdir()
    }


def test_wheel_has_every_module_and_file(archives):
    _, wheel, _ = archives
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("nfcli/")}
    tracked = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "nfcli").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert inside == tracked


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """A virtual environment with nf from the wheel; its dependencies are this environment's, the extras are hidden."""
    _, wheel, _ = archives
    place = tmp_path_factory.mktemp("installed") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "--no-deps", "--quiet", wheel]
    subprocess.run(pip, check=True, capture_output=True)
    # An editable installation in the other environment must not win: its own path files are not read here.
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    (packages / "sitecustomize.py").write_text(BLOCK)
    return place / "bin" / "nf"


@pytest.fixture
def run(installed, tmp_path):
    """The installed `nf`, run in an empty folder; it must end well."""

    def run_there(*arguments: str, quickly: bool = False) -> str:
        ours = ("PYTHONPATH", "NF_KEEP_MEMORY", *(() if quickly else ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS")))
        around = {name: value for name, value in os.environ.items() if name not in ours}
        done = subprocess.run([installed, *arguments], cwd=tmp_path, env=around, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run_there


def test_wheel_works_from_an_empty_folder_without_extras(run, installed, tmp_path):
    # One coupling of a preset, as it was installed: seven more like it take as many times as long to compile.
    (preset,) = installed.parents[1].glob("lib/python*/site-packages/nfcli/presets/simple.toml")
    text = preset.read_text(encoding="utf-8")
    assert "count = 8" in text
    (tmp_path / "flow.toml").write_text(text.replace("count = 8", "count = 1"), encoding="utf-8")
    sizes = ("--epochs", "1", "--train-size", "32", "--val-size", "16", "--batch-size", "16")
    assert run("--version").startswith("nf ")
    assert "best validation" in run("train", "flow.toml", "--smoke", *sizes)
    assert run("sample", "--num", str(SAMPLES)).splitlines()[0] == "runs/flow-smoke/figures/samples.png"
    assert "flow-smoke" in run("compare")
    # The page takes these samples, and XLA has had its say.
    run("compare", "--html", "page.html", quickly=True)
    assert (tmp_path / "page.html").stat().st_size > 10_000


@pytest.mark.skipif(not PRETRAINED, reason="no weights ship")
def test_weights_that_ship_work_where_they_were_installed(run, installed, tmp_path):
    (place,) = installed.parents[1].glob("lib/python*/site-packages/nfcli/pretrained")
    before = {name: data for name, data in contents(place).items() if "__pycache__" not in name}
    table = run("compare")
    assert all(name in table for name in PRETRAINED)
    run("sample", "pretrained:simple", "--num", "1", "--output", "one.png")
    assert {path.name for path in tmp_path.iterdir()} == {"one.png", "one.json"}
    assert {name: data for name, data in contents(place).items() if "__pycache__" not in name} == before


def test_an_extra_that_is_missing_is_named(installed, tmp_path):
    command = [installed, "train", "simple", "--smoke", "--tensorboard"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "error: --tensorboard takes the package tensorboardX",
        "hint: pip install 'nfcli[tensorboard]'",
    ]
