"""Crop, resize and levels, alone and on their way in."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from nfcli.data import Transform, load_dataset, load_images
from nfcli.errors import UsageError
from tests.data.image_writers import some_images, write_idx, write_pngs
from tests.data.refusals import refused

IMAGES = some_images(9, height=8, width=12)


def test_nothing_is_done_unless_asked():
    assert Transform.parse(None, None, 256)(IMAGES, "") is IMAGES
    assert str(Transform()) == ""


def test_crop_takes_the_middle():
    cropped = Transform.parse("4x6", None, 256)(IMAGES, "")
    np.testing.assert_array_equal(cropped, IMAGES[:, 2:6, 3:9])


@pytest.mark.parametrize("channels", [1, 3])
def test_halving_averages_four_pixels(channels):
    images = some_images(5, height=8, width=12, channels=channels)
    halved = Transform.parse(None, "4x6", 256)(images, "")
    means = images.reshape(5, 4, 2, 6, 2, channels).mean(axis=(2, 4))
    assert halved.shape == means.shape
    assert np.abs(halved - means).max() <= 1  # rounded twice, once a side


@pytest.mark.parametrize("levels", [2, 3, 32, 255])
def test_levels_divide_the_range_evenly(levels):
    values = np.arange(256, dtype=np.uint8).reshape(1, 16, 16, 1)
    reduced = Transform.parse(None, None, levels)(values, "").ravel()
    assert np.unique(reduced).tolist() == list(range(levels))
    counts = np.bincount(reduced)
    assert counts.max() - counts.min() <= 1
    assert (np.diff(reduced.astype(int)) >= 0).all()


def test_order_is_crop_resize_levels():
    transform = Transform.parse("8", "2x4", 4)
    assert str(transform) == "crop 8x8, resize 2x4, 4 levels"
    cropped = IMAGES[:, :, 2:10]
    means = cropped.reshape(9, 2, 4, 4, 2, 1).mean(axis=(2, 4))
    result = transform(IMAGES, "")
    assert np.abs(result - means / 64).max() <= 1
    assert result.max() <= 3


@pytest.mark.parametrize("text", ["", "0", "-3", "3x", "x3", "3x0", "3x4x5", "4097", "1e3", "99999999999"])
@pytest.mark.parametrize("option", ["crop", "resize"])
def test_what_is_no_size(option, text):
    with pytest.raises(UsageError, match=f"--{option} {text}".strip()):
        Transform.parse(**{"crop": None, "resize": None, "levels": 256, option: text})


@pytest.mark.parametrize("levels", [1, 0, -2, 257])
def test_what_is_no_number_of_levels(levels):
    with pytest.raises(UsageError, match=f"--levels {levels}"):
        Transform.parse(None, None, levels)


def test_every_source_is_transformed_alike(tmp_path):
    train, test = some_images(12, 8, 12, seed=1), some_images(3, 8, 12, seed=2)
    write_idx(tmp_path / "idx", train, test)
    np.savez(tmp_path / "bytes.npz", train=train, test=test)
    np.savez(tmp_path / "integers.npz", train=train.astype(np.int32), test=np.asfortranarray(test))
    write_pngs(tmp_path / "pngs" / "train", train)
    write_pngs(tmp_path / "pngs" / "test", test)
    transform = Transform.parse("8", "4", 16)
    names = ("idx", "bytes.npz", "integers.npz", "pngs")
    loaded = [load_dataset(str(tmp_path / name), transform) for name in names]
    assert len({dataset.fingerprint for dataset in loaded}) == 1
    assert loaded[0].fingerprint != load_dataset(str(tmp_path / "idx")).fingerprint
    assert loaded[0].shape == (4, 4, 1)
    assert loaded[0].levels == 16
    np.testing.assert_array_equal(loaded[0].test.images, transform(test, ""))


def test_mnist_is_transformed():
    dataset = load_dataset("mnist", Transform.parse("20", None, 2))
    assert dataset.shape == (20, 20, 1)
    assert set(np.unique(dataset.test.images)) == {0, 1}


def test_photographs_of_many_sizes_become_one(tmp_path):
    for index, (height, width) in enumerate([(8, 12), (16, 8), (9, 9)]):
        Image.fromarray(some_images(1, height, width, 3, seed=index)[0]).save(tmp_path / f"{index}.png")
    text = refused(tmp_path)
    assert "1.png is 16x8x3, but 0.png is 8x12x3" in text
    assert "--resize" in text
    for transform in (Transform.parse("8", None, 256), Transform.parse(None, "4", 256)):
        images, _, _ = load_images(tmp_path, transform)
        assert images.shape == (3, *(transform.crop or transform.resize), 3)


def test_a_photograph_that_is_too_small_is_named(tmp_path):
    write_pngs(tmp_path, IMAGES)
    text = refused(tmp_path, load=lambda spec: load_dataset(spec, Transform.parse("9", None, 256)))
    assert "0000.png is 8x12, too small for --crop 9x9" in text


def test_grey_and_colour_do_not_mix(tmp_path):
    Image.fromarray(IMAGES[0, ..., 0]).save(tmp_path / "0.png")
    Image.fromarray(some_images(1, 8, 12, 3)[0]).save(tmp_path / "1.png")
    refused(tmp_path, load=lambda spec: load_dataset(spec, Transform.parse(None, "4", 256)))
