"""Names and paths that lead nowhere: always an error that names the culprit."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nfcli.data import load_dataset, load_images
from nfcli.errors import UsageError
from tests.data.image_writers import some_images, write_idx, write_pngs
from tests.data.refusals import refused

IMAGES = some_images(7)


@pytest.mark.parametrize("spec", ["mnits", "MNIST", "minst"])
def test_unknown_name_with_a_close_match(spec):
    text = refused(spec, kind=UsageError)
    assert f"unknown dataset '{spec}'" in text
    assert "did you mean 'mnist'?" in text
    assert "a folder of IDX files" in text


@pytest.mark.parametrize("spec", ["", "cifar", "tfds", "a\nb\x1b[31m"])
def test_unknown_name(spec):
    text = refused(spec, kind=UsageError)
    assert "datasets: mnist, tfds:NAME, a folder that TFDS prepared, a folder of IDX files" in text
    assert "did you mean" not in text


@pytest.mark.parametrize("spec", ["/no/such/folder", "./nothing", "nothing.npz", "~/nothing-here", "/dev/null/x"])
def test_missing_path(spec):
    assert "does not exist" in refused(spec)
    assert "does not exist" in refused(spec, load=load_images)


@pytest.mark.parametrize("spec", ["/a\0b", "/" + "x" * 5000, "/\udcff"])
def test_impossible_path(spec):
    refused(spec)
    refused(spec, load=load_images)


def test_empty_path_is_not_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(write_pngs(tmp_path, IMAGES))
    refused("", kind=UsageError)
    refused("", load=load_images, kind=UsageError)


def test_working_directory_that_is_gone(tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert "the working directory" in refused("images")


def test_file_of_another_kind(tmp_path):
    (tmp_path / "a.csv").write_text("1,2")
    os.mkfifo(tmp_path / "pipe.npz")
    for name in ("a.csv", "pipe.npz"):
        assert "is of no kind that can be read" in refused(tmp_path / name)
        assert "is of no kind that can be read" in refused(tmp_path / name, load=load_images)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_no_permission(open_folder, without_privileges, kind):
    folder = write_pngs(open_folder / "pngs", IMAGES)
    load_dataset(str(folder))
    (folder / "0003.png" if kind == "file" else folder).chmod(0)
    with without_privileges():
        for load in (load_dataset, load_images):
            assert f"{'0003.png' if kind == 'file' else 'pngs'}: Permission denied" in refused(folder, load=load)
    folder.chmod(0o755)


@pytest.mark.parametrize("name", ["a.npz", "d/train-images-idx3-ubyte"])
def test_no_permission_for_arrays(open_folder, without_privileges, name):
    write_idx(open_folder / "d", IMAGES, IMAGES, zipped=False)
    np.savez(open_folder / "a.npz", images=IMAGES)
    (open_folder / name).chmod(0)
    with without_privileges():
        assert "Permission denied" in refused((open_folder / name) if name == "a.npz" else open_folder / "d")
