"""PNG files: pixels as given, other arrays refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfcli.drawing.output import save_png
from nfcli.errors import UsageError


def test_pixels_survive_and_parents_are_created(tmp_path: Path) -> None:
    pixels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    path = tmp_path / "a" / "b" / "figure.png"
    save_png(pixels, path)
    with Image.open(path) as image:
        assert image.mode == "RGB"
        assert "Software" not in image.info
        np.testing.assert_array_equal(np.asarray(image), pixels)
    assert [entry.name for entry in path.parent.iterdir()] == ["figure.png"]


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 1)])
def test_one_channel_is_grey(tmp_path: Path, shape: tuple[int, ...]) -> None:
    pixels = np.arange(20, dtype=np.uint8).reshape(shape)
    save_png(pixels, tmp_path / "grey.png")
    with Image.open(tmp_path / "grey.png") as image:
        assert image.mode == "L"
        np.testing.assert_array_equal(np.asarray(image), pixels.reshape(4, 5))


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 5, 2), np.uint8), np.zeros((4, 5), np.float32), np.zeros(4, np.uint8), np.zeros((0, 5), np.uint8)],
    ids=["two channels", "floats", "one axis", "empty"],
)
def test_other_arrays_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    with pytest.raises(UsageError, match="shape"):
        save_png(array, tmp_path / "figure.png")
    assert not (tmp_path / "figure.png").exists()


def test_import_loads_neither_matplotlib_nor_pillow_nor_jax() -> None:
    code = "import sys, nfcli.drawing; print(sorted({'matplotlib', 'PIL', 'jax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
