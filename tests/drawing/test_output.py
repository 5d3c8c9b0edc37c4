"""PNG files: pixels as given, other arrays refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfcli.drawing.output import save_png
from nfcli.errors import WriteError


def test_pixels_survive_and_parents_are_created(tmp_path: Path) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    path = tmp_path / "a" / "b" / "figure.png"
    save_png(pixels, path)
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert "Software" not in image.info
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert [entry.name for entry in path.parent.iterdir()] == ["figure.png"]


def test_one_channel_is_grey(tmp_path: Path) -> None:
    pixels = np.arange(20, dtype=np.uint8).reshape(4, 5, 1)
    save_png(pixels, tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), pixels.reshape(4, 5))


def test_same_pixels_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_png(np.arange(60, dtype=np.uint8).reshape(4, 5, 3), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        save_png(np.zeros((4, 4, 1), np.uint8), tmp_path / "file" / "grid.png")


def test_import_loads_neither_matplotlib_nor_pillow_nor_jax() -> None:
    code = "import sys, nfcli.drawing; print(sorted({'matplotlib', 'PIL', 'jax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
