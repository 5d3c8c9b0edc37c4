"""Damaged, malicious and unclear npz files: always an error that names the culprit."""

from __future__ import annotations

import io
import os
import zipfile

import numpy as np
import pytest

from nfcli.data import load_dataset, load_images, npz
from tests.data.image_writers import some_images
from tests.data.refusals import damaged_variants, outcome, refused

IMAGES = some_images(7)


def npy_bytes(array, **changes):
    """An npy file, with parts of its header replaced."""
    stream = io.BytesIO()
    header = np.lib.format.header_data_from_array_1_0(array) | changes
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue() + array.tobytes()


def write_npz(path, method=zipfile.ZIP_DEFLATED, **members):
    with zipfile.ZipFile(path, "w", method) as archive:
        for key, data in members.items():
            archive.writestr(f"{key}.npy", data)
    return path


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (IMAGES / 255, "holds values of type float64, not integers | save integers from 0 to 255: numpy.round"),
        (IMAGES > 9, "holds values of type bool, not integers"),
        (np.array([{}, {}], dtype=object), "holds Python objects, not integers"),
        (np.array(["a", "b"]), "holds values of type <U1, not integers"),
        (np.zeros(3, [("a", "u1")]), "not integers"),
        (IMAGES.astype(np.int16) - 1, "has values from -1 to"),
        (IMAGES.astype(np.int64) + 2**62, "has values from 46116860"),
        (IMAGES[0, ..., 0], "has the shape (6, 5) | expected (N, H, W) or (N, H, W, C)"),
        (np.uint8(3), "has the shape ()"),
        (IMAGES[:0], "is empty: its shape is 0x6x5x1"),
        (np.zeros((4, 3, 8, 8), np.uint8), "has 8 channels: its shape is (4, 3, 8, 8) | channels come last"),
    ],
)
def test_arrays_that_are_no_images(tmp_path, array, message):
    np.savez(tmp_path / "a.npz", images=array)
    for load in (load_dataset, load_images):
        text = refused(tmp_path / "a.npz", load=load)
        assert "a.npz[images]" in text
        assert message in text


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (("x", "y", "z"), "does not say which of its arrays are images: it holds x, y, z"),
        ((), "it holds no arrays at all"),
        (("train", "test", "x_train"), "has both 'train' and 'x_train'"),
        (("images", "train", "test"), "has both 'images' and splits"),
        (("train",), "has train but no test images"),
    ],
)
def test_unclear_keys(tmp_path, keys, message):
    np.savez(tmp_path / "a.npz", **dict.fromkeys(keys, IMAGES))
    assert message in refused(tmp_path / "a.npz")


def test_listing_of_keys_is_short(tmp_path):
    np.savez(tmp_path / "a.npz", **{f"key{index}": IMAGES for index in range(100)})
    assert len(refused(tmp_path / "a.npz")) < 400


def test_header_that_python_2_wrote(tmp_path):
    data = npy_bytes(IMAGES).replace(b"(7, 6, 5, 1)", b"(7L,6L,5L,1)")
    assert b"7L" in data
    assert outcome(load_images, write_npz(tmp_path / "a.npz", images=data)) == "read"


def test_score_images_among_several_arrays(tmp_path):
    np.savez(tmp_path / "a.npz", train=IMAGES, test=IMAGES)
    assert "name them 'images'" in refused(tmp_path / "a.npz", load=load_images)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.arange(6), "has 7 images but 6 labels"),
        (np.arange(7.0), "a.npz[labels] holds values of type float64, not integers | labels are integers from 0 on"),
        (np.eye(7, dtype=int), "a.npz[labels] has the shape (7, 7) | expected (N,)"),
    ],
)
def test_bad_labels(tmp_path, labels, message):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=labels)
    assert message in refused(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "cannot read"),
        (b"not an array", "cannot read"),
        (npy_bytes(IMAGES)[:50], "cannot read"),
        (npy_bytes(IMAGES)[:-1], "is cut short"),
        (npy_bytes(IMAGES) + b"x", "holds more than the 210 bytes"),
        (npy_bytes(IMAGES, shape=(10**6, 10**3, 1000)), "claims 1000000x1000x1000 values"),
        (npy_bytes(IMAGES, shape=(1, 10**5, 10**5)), "claims an image of 100000x100000 pixels"),
        (npy_bytes(IMAGES, shape=(-7, 6, 5)), "is empty: its shape is -7x6x5"),
        (npy_bytes(IMAGES, shape=(2**70, 6, 5)), "claims 1180591620717411303424x6x5 values"),
        (npy_bytes(IMAGES, shape="(7,"), "cannot read"),
        (npy_bytes(IMAGES, descr="nonsense"), "cannot read"),
        (b"\x93NUMPY\x03\x00" + npy_bytes(IMAGES)[8:], "is no plain array (npy version 3.0)"),
    ],
)
def test_damaged_member(tmp_path, little_memory, data, message):
    path = write_npz(tmp_path / "a.npz", images=data)
    for load in (load_dataset, load_images):
        text = refused(path, load=load)
        assert "a.npz[images]" in text
        assert message in text


def test_objects_are_never_unpickled(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    np.savez(tmp_path / "a.npz", images=np.array([Trap()], dtype=object))
    refused(tmp_path / "a.npz")
    assert not (tmp_path / "sprung").exists()


def test_zip_bomb(tmp_path, monkeypatch, little_memory):
    monkeypatch.setattr(npz, "MAX_BYTES", 10**8)
    path = tmp_path / "a.npz"
    header = npy_bytes(IMAGES, shape=(2 * 10**6, 10, 10))[: -IMAGES.nbytes]
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w") as stream,
    ):
        stream.write(header)
        for _ in range(20):
            stream.write(bytes(10**7))
    assert "unpacks to 200,000,128 bytes" in refused(path)
    assert "unpacks to 200,000,128 bytes" in refused(path, load=load_images)


def test_a_header_is_not_unpacked_beyond_what_a_header_takes(tmp_path, little_memory):
    path = tmp_path / "a.npz"
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("images.npy", "w") as stream,
    ):
        stream.write(b"\x93NUMPY\x02\x00" + (5 * 10**7).to_bytes(4, "little"))
        for _ in range(5):
            stream.write(b" " * 10**7)
    assert "cannot read" in refused(path)


def test_gigabytes_in_a_small_file_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=np.zeros((3000, 10, 10), np.uint8))
    assert outcome(load_images, path) == "read"
    monkeypatch.setattr(npz, "ANY_RATIO", 10**5)
    monkeypatch.setattr(npz, "_read_header", lambda *_: pytest.fail("something was unpacked"))
    for load in (load_dataset, load_images):
        text = refused(path, load=load)
        assert f"of {path.stat().st_size:,} bytes unpacks to 300,128" in text
        assert "numpy.savez" in text


def test_limit_counts_all_arrays_together(tmp_path, tiny_limit):
    np.savez(tmp_path / "a.npz", train=some_images(20), test=some_images(20))
    assert "unpacks to" in refused(tmp_path / "a.npz")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_without_a_bound(tmp_path, method):
    path = write_npz(tmp_path / "a.npz", method, images=npy_bytes(IMAGES))
    assert "compressed in a way that numpy does not use" in refused(path)


@pytest.mark.parametrize("data", [b"", b"text", b"PK\x05\x06" + bytes(18), b"PK\x03\x04" + bytes(100)])
def test_npz_that_is_none(tmp_path, data):
    (tmp_path / "a.npz").write_bytes(data)
    assert "a.npz" in refused(tmp_path / "a.npz")


def test_every_truncation_and_bit_flip_of_an_npz_is_an_error_or_data(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, images=IMAGES[:3])
    whole = path.read_bytes()
    for variant in damaged_variants(whole):
        path.write_bytes(variant)
        message = outcome(load_dataset, path)
        assert message == "read" or path.name in message
