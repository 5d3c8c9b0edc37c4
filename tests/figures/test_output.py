"""Files: complete or not there, and errors that name the path."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfcli.errors import UsageError, WriteError
from nfcli.figures import save_png
from nfcli.figures.output import write_atomically


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


@pytest.mark.parametrize("below", ["figure.png", "folder/figure.png"])
def test_parent_that_is_a_file(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    path = tmp_path / "file" / below
    with pytest.raises(WriteError) as caught:
        write_atomically(path, b"data")
    assert str(path) in caught.value.message
    assert "exists" not in caught.value.message
    assert caught.value.hint
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_is_not_replaced_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "figure.png"
    target.mkdir()
    with pytest.raises(WriteError, match="directory"):
        write_atomically(target, b"data")
    assert list(tmp_path.iterdir()) == [target]


def test_current_folder_as_a_path_is_a_write_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WriteError):
        write_atomically(".", b"data")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def full(self: Path, data: bytes) -> int:
        with open(self, "wb") as file:
            file.write(data[:1])
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(WriteError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_atomically(tmp_path / "figure.png", b"data")
    finally:
        os.umask(previous)
    assert (tmp_path / "figure.png").stat().st_mode & 0o777 == 0o644


def test_import_loads_neither_matplotlib_nor_pillow_nor_jax() -> None:
    code = "import sys, nfcli.figures; print(sorted({'matplotlib', 'PIL', 'jax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
