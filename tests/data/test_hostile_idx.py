"""Damaged and oversized IDX files: always an error that names the culprit."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from tests.data.image_writers import idx_bytes, some_images, write_idx
from tests.data.refusals import refused

IMAGES = some_images(7)


@pytest.fixture
def idx_folder(tmp_path):
    return write_idx(tmp_path / "idx", IMAGES, IMAGES, np.arange(7), np.arange(7))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "starts with nothing"),
        (b"\x00\x00", "starts with 00 00, not with the IDX magic number 00 00 08 03"),
        (b"<!DOCTYPE html>" * 9, "starts with 3c 21 44 4f"),
        (idx_bytes(np.arange(7, dtype=np.uint8)), "starts with 00 00 08 01"),
        (b"\x00\x00\x0d\x03" + idx_bytes(IMAGES[..., 0])[4:], "starts with 00 00 0d 03"),
        (idx_bytes(IMAGES[..., 0])[:9], "ends inside its IDX header"),
        (idx_bytes(IMAGES[..., 0])[:-1], "cut short: its header promises 210 bytes of data, and 209 follow"),
        (idx_bytes(IMAGES[..., 0]) + b"x", "holds more than the 210 bytes"),
        (idx_bytes(IMAGES[:0, ..., 0]), "is empty: its shape is 0x6x5"),
        (idx_bytes(np.zeros((1, 9000, 8000), np.uint8))[:16], "claims an image of 9000x8000 pixels"),
        (b"\x00\x00\x08\x03" + b"\xff\xff\xff\xff" + idx_bytes(IMAGES[..., 0])[8:], "claims 4294967295x6x5 values"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_damaged_idx(idx_folder, little_memory, data, message, zipped):
    path = idx_folder / "t10k-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(data) if zipped else data)
    text = refused(idx_folder)
    assert path.name in text
    assert message in text


def test_truncated_and_corrupted_gzip(idx_folder):
    path = idx_folder / "train-images-idx3-ubyte.gz"
    whole = path.read_bytes()
    for data in (whole[:-1], whole[:-9], whole[:40], whole[:5], whole[:-6] + b"\x00\x00" + whole[-4:]):
        path.write_bytes(data)
        assert f"cannot read {path} as an IDX file" in refused(idx_folder)


def test_gzip_bomb(idx_folder, little_memory):
    path = idx_folder / "train-images-idx3-ubyte.gz"
    with gzip.open(path, "wb", compresslevel=1) as stream:
        stream.write(idx_bytes(IMAGES[..., 0]))
        for _ in range(20):
            stream.write(bytes(10**7))
    assert "holds more than the 210 bytes" in refused(idx_folder)


def test_idx_labels_of_another_length(tmp_path):
    folder = write_idx(tmp_path / "idx", IMAGES, IMAGES, np.arange(7), np.arange(6))
    assert "has 7 test images but 6 labels" in refused(folder)


def test_idx_without_test_images(idx_folder):
    (idx_folder / "t10k-images-idx3-ubyte.gz").unlink()
    assert "has no t10k-images-idx3-ubyte" in refused(idx_folder)
