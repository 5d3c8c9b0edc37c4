"""Damaged, mislabelled and oversized PNG and JPEG files: always an error that names the culprit."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from nfcli.data import load_dataset, load_images
from tests.data.image_writers import png_bytes, some_images, write_pngs
from tests.data.refusals import damaged_variants, outcome, refused

IMAGES = some_images(7)


@pytest.mark.parametrize("load", [load_dataset, load_images])
@pytest.mark.parametrize("content", [(), (".DS_Store",), ("a.txt", "b.gif")])
def test_folder_without_images(tmp_path, load, content):
    folder = tmp_path / "x.npz"
    folder.mkdir()
    for name in content:
        (folder / name).write_bytes(b"junk")
    assert "x.npz holds no PNG or JPEG images" in refused(folder, load=load)


def test_empty_split_folder(tmp_path):
    write_pngs(tmp_path / "train", IMAGES)
    (tmp_path / "test").mkdir()
    assert "test holds no PNG or JPEG images" in refused(tmp_path)


def test_ambiguous_folders(tmp_path):
    write_pngs(tmp_path, IMAGES)
    write_pngs(tmp_path / "cats", IMAGES)
    assert "images of its own and in the sub-folder cats" in refused(tmp_path)
    for name in ("train", "val", "validation", "test"):
        write_pngs(tmp_path / name, IMAGES)
    assert "two folders of validation images" in refused(tmp_path)


def test_broken_link_and_pipe(tmp_path):
    write_pngs(tmp_path, IMAGES)
    (tmp_path / "0009.png").symlink_to(tmp_path / "nowhere.png")
    assert "0009.png is a broken link" in refused(tmp_path)
    (tmp_path / "0009.png").unlink()
    os.mkfifo(tmp_path / "0009.png")
    assert "0009.png is not a regular file" in refused(tmp_path)


@pytest.mark.parametrize("load", [load_dataset, load_images])
@pytest.mark.parametrize(("odd", "text"), [((6, 4), "6x4x1"), ((6, 5, 3), "6x5x3")])
def test_first_odd_image_is_named(tmp_path, load, odd, text):
    write_pngs(tmp_path, IMAGES)
    for index in (4, 5):
        Image.fromarray(np.zeros(odd, np.uint8)).save(tmp_path / f"{index:04d}.png")
    assert f"0004.png is {text}, but 0000.png is 6x5x1" in refused(tmp_path, load=load)


def test_resizing_is_advised_only_where_it_helps(tmp_path):
    write_pngs(tmp_path, IMAGES)
    Image.fromarray(np.zeros((6, 4), np.uint8)).save(tmp_path / "0004.png")
    assert "--resize" in refused(tmp_path)
    Image.fromarray(np.zeros((6, 4, 3), np.uint8)).save(tmp_path / "0004.png")
    text = refused(tmp_path)
    assert "--resize" not in text
    assert "all gray or all colour" in text


def test_odd_image_in_another_split(tmp_path):
    write_pngs(tmp_path / "train", IMAGES)
    write_pngs(tmp_path / "test", some_images(2, channels=3))
    assert "test/0000.png is 6x5x3" in refused(tmp_path)


@pytest.mark.parametrize("data", [b"", b"just text", b"GIF89a" + bytes(40)])
def test_mislabelled_image(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    assert "a.png is not a PNG or JPEG image" in refused(tmp_path, load=load_images)
    assert "a.png is not a PNG or JPEG image" in refused(tmp_path / "a.png", load=load_images)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_truncated_image(tmp_path, suffix):
    write_pngs(tmp_path, some_images(2, 40, 40), suffix)
    path = tmp_path / f"0001{suffix}"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert f"cannot read {path} as a PNG or JPEG image" in refused(tmp_path, load=load_images)


def test_every_truncation_and_bit_flip_is_an_error_or_an_image(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(some_images(1, channels=3)[0]).save(path)
    whole = path.read_bytes()
    for variant in damaged_variants(whole):
        path.write_bytes(variant)
        message = outcome(load_images, path)
        assert message == "read" or path.name in message


@pytest.mark.parametrize("size", [8_001, 10_000, 60_000, 2**31 - 1])
def test_image_of_absurd_size(tmp_path, little_memory, size):
    (tmp_path / "a.png").write_bytes(png_bytes(size, size, data=bytes(1000)))
    text = refused(tmp_path, load=load_images)
    assert "a.png claims an image of" in text
    assert "64,000,000 pixels" in text


def test_too_many_images(tmp_path, tiny_limit):
    write_pngs(tmp_path, some_images(40))
    text = refused(tmp_path)
    assert "claims 40x6x5x1 values, which is 1,200 bytes" in text
    assert "the limit is 1,000 bytes" in text


@pytest.mark.parametrize("colour", [0, 2])
def test_sixteen_bits_are_refused_not_rounded(tmp_path, colour):
    (tmp_path / "a.png").write_bytes(png_bytes(2, 2, 16, colour, bytes(100)))
    assert "a.png has 16 bits a sample" in refused(tmp_path, load=load_images)
