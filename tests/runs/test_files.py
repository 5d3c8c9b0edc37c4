"""Files: complete or not there, and errors that name the path."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nfcli.errors import RunError, WriteError
from nfcli.files import read_json, write_bytes, write_json


@pytest.mark.parametrize("below", ["figure.png", "folder/figure.png"])
def test_parent_that_is_a_file(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("kept")
    path = tmp_path / "file" / below
    with pytest.raises(WriteError) as caught:
        write_bytes(path, b"data")
    assert str(path) in caught.value.message
    assert "exists" not in caught.value.message
    assert caught.value.hint
    assert (tmp_path / "file").read_text() == "kept"


def test_a_folder_is_not_replaced_and_leaves_no_temporary_file(tmp_path: Path) -> None:
    target = tmp_path / "figure.png"
    target.mkdir()
    with pytest.raises(WriteError, match="directory"):
        write_bytes(target, b"data")
    assert list(tmp_path.iterdir()) == [target]


def test_current_folder_as_a_path_is_a_write_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(WriteError):
        write_bytes(Path(), b"data")
    assert not list(tmp_path.iterdir())


def test_a_full_disk_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "figure.png"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WriteError, match="No space left"):
        write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_files_follow_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o022)
    try:
        write_bytes(tmp_path / "figure.png", b"data")
    finally:
        os.umask(previous)
    assert (tmp_path / "figure.png").stat().st_mode & 0o777 == 0o644


def test_json_comes_back(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, 2.5, None]})
    assert read_json(tmp_path / "a.json", kind="file") == {"schema_version": 1, "x": [1, 2.5, None]}


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_json_takes_no_number_that_is_not_finite(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": value})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"schema_version": 2}', '{"schema_version": 1, "x": NaN}', "[" * 100_000, "\xff"]
)
def test_json_that_nf_did_not_write_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"a\.json"):
        read_json(tmp_path / "a.json", kind="file")
