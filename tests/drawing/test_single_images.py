"""Images as data: what is in the files, and what they never replace."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from nfcli.data import load_dataset, load_images
from nfcli.drawing.config import is_data
from nfcli.drawing.output import write_numbers
from nfcli.drawing.single_images import check_data_path, save_images
from nfcli.errors import UsageError, WriteError
from tests.cli.program import contents

FACTS = {"run": "simple", "run_id": "0123", "seed": 44, "temperature": 0.5, "real": False}


def _images(count: int, channels: int = 1) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 256, (count, 4, 6, channels), dtype=np.uint8)


@pytest.mark.parametrize(
    ("output", "wanted"),
    [
        ("x.npz", True),
        ("x.NPZ", True),
        ("folder", True),
        ("a.b/folder", True),
        ("x.png", False),
        ("x.jpg", False),
        ("", False),
        (".", False),
        ("..", False),
        (".npz", False),
        ("a/.hidden", False),
    ],
)
def test_which_names_are_of_data(output: str, wanted: bool) -> None:
    assert is_data(Path(output)) == wanted
    assert not is_data(None)


def test_an_npz_holds_images_labels_and_facts_and_is_read_like_any_other(tmp_path: Path) -> None:
    images, path = _images(40), tmp_path / "a" / "x.npz"
    labels = [index % 3 for index in range(40)]
    save_images(path, images, labels, FACTS)
    with np.load(path, allow_pickle=False) as archive:
        said = dict(archive)
    np.testing.assert_array_equal(said["images"], images)
    assert said["images"].dtype == np.uint8
    assert said["labels"].tolist() == labels
    assert {name: said[name].item() for name in FACTS} == FACTS
    np.testing.assert_array_equal(load_images(path)[0], images)
    dataset = load_dataset(str(path))
    assert len(dataset.train) + len(dataset.val) + len(dataset.test) == 40
    assert dataset.classes() == 3
    before = path.read_bytes()
    save_images(path, images, labels, FACTS)
    assert path.read_bytes() == before
    save_images(path, images, None, FACTS)
    assert "labels" not in np.load(path)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_holds_a_png_an_image_in_their_order(tmp_path: Path, channels: int) -> None:
    images, path = _images(12, channels), tmp_path / "a" / "folder"
    save_images(path, images, [7, 3] * 6, FACTS)
    names = [entry.name for entry in sorted(path.iterdir())]
    assert names[:2] == ["0000-label7.png", "0001-label3.png"]
    read, found, _ = load_images(path)
    np.testing.assert_array_equal(read, images)
    assert found == names
    assert [entry.name for entry in path.parent.iterdir()] == ["folder"]


def test_only_what_was_written_before_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    check_data_path(path)
    save_images(path, _images(5), None, FACTS)
    write_numbers(path, {"num": 5, "labels": None})
    check_data_path(path)
    save_images(path, _images(3), [1, 2, 3], FACTS)
    write_numbers(path, {"num": 3, "labels": [1, 2, 3]})
    assert sorted(entry.name for entry in path.iterdir()) == ["0000-label1.png", "0001-label2.png", "0002-label3.png"]
    (path / "0001-label2.png").unlink()
    check_data_path(path)
    Image.new("L", (4, 4)).save(path / "0003.png")
    with pytest.raises(UsageError, match=r"such as 0003\.png") as caught:
        check_data_path(path)
    assert caught.value.hint


def test_a_file_that_was_written_before_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    save_images(path, _images(5), None, {**FACTS, "run_id": "a"})
    check_data_path(path)
    np.savez(path, images=_images(5))
    with pytest.raises(UsageError, match="there already"):
        check_data_path(path)


@pytest.mark.parametrize("said", [None, {}, {"num": "x", "labels": None}, {"num": 10**12, "labels": None}])
def test_a_folder_of_other_things_is_refused(tmp_path: Path, said: dict[str, Any] | None) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    check_data_path(path)
    (path / "0000.png").touch()
    if said is not None:
        write_numbers(path, said)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match="folder with other things"):
        check_data_path(path)
    assert contents(tmp_path) == before


def test_a_link_to_a_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    save_images(tmp_path / "link", _images(2), None, FACTS)
    assert (tmp_path / "link").is_symlink()
    assert len(list((tmp_path / "real").iterdir())) == 2


def test_files_and_folders_in_the_way_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "data.npz").touch()
    wrong = {"file": "is a file", "folder.npz": "is a folder", "x.npz": "not written with", "data.npz": "there already"}
    for name, match in wrong.items():
        with pytest.raises(UsageError, match=match) as caught:
            check_data_path(tmp_path / name)
        assert caught.value.hint
    for name in ("folder", "x.npz"):
        with pytest.raises(WriteError):
            save_images(tmp_path / "file" / name, _images(2), None, FACTS)
    assert {entry.name for entry in tmp_path.iterdir()} == {"file", "folder.npz", "x.json", "data.npz"}
