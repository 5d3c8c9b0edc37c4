"""Sets that do not fit into memory: the same images from a mapped file, decoded once."""

from __future__ import annotations

import os

import numpy as np
import pytest

from nfcli.data import Transform, load_dataset
from nfcli.data import store as intake
from nfcli.data.store import MappedImages
from nfcli.errors import DataError
from tests.data.image_writers import some_images, write_idx, write_labelled_pngs, write_pngs
from tests.data.refusals import refused

TRAIN, TEST = some_images(30, seed=1), some_images(7, seed=2)


@pytest.fixture(params=["idx", "npz", "pngs", "all"])
def source(request, tmp_path):
    """One dataset in every form; the last one without splits."""
    if request.param == "idx":
        write_idx(tmp_path / "idx", TRAIN, TEST, np.arange(30), np.arange(7))
    elif request.param == "npz":
        np.savez(tmp_path / "npz.npz", train=TRAIN, test=TEST)
    elif request.param == "pngs":
        write_pngs(tmp_path / "pngs" / "train", TRAIN)
        write_pngs(tmp_path / "pngs" / "test", TEST)
    else:
        write_labelled_pngs(tmp_path / "all", TRAIN, np.arange(30) % 3)
    return next(tmp_path.iterdir())


@pytest.fixture
def on_disk(monkeypatch, tmp_path_factory):
    """Nothing fits into memory; what is kept lies in this folder."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("NF_CACHE_DIR", str(cache))
    (cache / "images").mkdir()
    return lambda: monkeypatch.setattr(intake, "IN_MEMORY", 0) or cache / "images"


def test_mapped_images_are_those_of_memory(source, on_disk):
    plain = load_dataset(str(source))
    folder = on_disk()
    for _ in range(2):  # decoded, then found again
        mapped = load_dataset(str(source))
        assert mapped.fingerprint == plain.fingerprint
        assert mapped.shape == plain.shape
        for split in ("train", "val", "test"):
            images = mapped.split(split).images
            assert isinstance(images, MappedImages)
            np.testing.assert_array_equal(images[:], plain.split(split).images)
            if plain.split(split).labels is not None:
                np.testing.assert_array_equal(mapped.split(split).labels, plain.split(split).labels)
        assert {path.suffix for path in folder.iterdir()} == {".npy"}


def test_indexing_is_that_of_arrays(source, on_disk):
    plain = load_dataset(str(source)).train.images
    on_disk()
    mapped = load_dataset(str(source)).train
    chosen = np.array([[3, 0], [5, 5]])
    np.testing.assert_array_equal(mapped.images[chosen], plain[chosen])
    np.testing.assert_array_equal(mapped.images[2:7], plain[2:7])
    np.testing.assert_array_equal(np.asarray(mapped.first(4).images), plain[:4])
    assert (len(mapped.images), mapped.images.nbytes, mapped.images.dtype) == (len(plain), plain.nbytes, plain.dtype)


def test_kept_images_are_used_again_until_their_source_changes(tmp_path, on_disk):
    path = tmp_path / "a.npz"
    np.savez(path, images=TRAIN)
    folder = on_disk()
    first = load_dataset(str(path)).fingerprint
    (kept,) = folder.iterdir()
    written = kept.stat().st_mtime_ns
    load_dataset(str(path))
    assert kept.stat().st_mtime_ns == written
    assert load_dataset(str(path), Transform(levels=2)).levels == 2
    assert len(list(folder.iterdir())) == 2

    np.savez(path, images=TRAIN[::-1])
    os.utime(path, ns=(1, 1))
    assert load_dataset(str(path)).fingerprint != first


def test_a_kept_file_that_was_cut_is_refused(tmp_path, on_disk):
    path = tmp_path / "a.npz"
    np.savez(path, images=TRAIN)
    folder = on_disk()
    load_dataset(str(path))
    (kept,) = folder.iterdir()
    kept.write_bytes(kept.read_bytes()[:-1])
    assert str(folder) in refused(path)


def test_a_source_that_is_cut_leaves_nothing_behind(tmp_path, on_disk):
    folder = write_idx(tmp_path / "idx", TRAIN, TEST, zipped=False)
    images = folder / "train-images-idx3-ubyte"
    images.write_bytes(images.read_bytes()[:-1])
    kept = on_disk()
    assert "is cut short" in refused(folder)
    assert list(kept.iterdir()) == []


def test_too_little_room_is_said_before_anything_is_written(tmp_path, on_disk, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez(path, images=TRAIN)
    kept = on_disk()
    monkeypatch.setattr(intake, "SPARE", 2**60)
    text = refused(path)
    assert "NF_CACHE_DIR" in text
    assert list(kept.iterdir()) == []


def test_a_place_that_cannot_be_written(tmp_path, on_disk, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez(path, images=TRAIN)
    on_disk()
    monkeypatch.setenv("NF_CACHE_DIR", "/proc/nowhere")
    with pytest.raises(DataError, match="cannot keep the images"):
        load_dataset(str(path))
