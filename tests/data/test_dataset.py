"""ImageSplit and ImageDataset."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from nfcli.data import ImageDataset, ImageSplit
from nfcli.errors import UsageError
from tests.data.image_writers import some_images


def make_split(count=5, name="train", seed=0):
    return ImageSplit(name, some_images(count, seed=seed), np.arange(count))


def make_dataset(**changes):
    splits = {name: make_split(name=name, seed=seed) for seed, name in enumerate(("train", "val", "test"))}
    return ImageDataset("some", "/some", 256, **(splits | changes))


def test_fingerprint_depends_on_bytes_shape_and_order():
    images = some_images(4)
    prints = [
        ImageSplit("val", variant).fingerprint
        for variant in (images, images + np.uint8(1), images[::-1], images.reshape(4, 5, 6, 1), images[:3])
    ]
    assert len(set(prints)) == len(prints)
    assert ImageSplit("test", images.copy(), np.zeros(4, np.int64)).fingerprint == prints[0]


def test_fingerprint_sees_values_not_memory_layout():
    images = some_images(4, channels=3)
    assert ImageSplit("val", np.asfortranarray(images)).fingerprint == ImageSplit("val", images).fingerprint


def test_arrays_cannot_change_under_the_fingerprint():
    images = some_images(2)
    split = ImageSplit("val", images)
    with pytest.raises(ValueError, match="read-only"):
        split.images[0] = 0
    images[0] = 0  # the caller's own array stays writable


def test_first_takes_images_and_labels_from_the_front():
    split = make_split(5)
    part = split.first(2)
    assert len(part) == 2
    assert part.name == split.name
    np.testing.assert_array_equal(part.images, split.images[:2])
    np.testing.assert_array_equal(part.labels, [0, 1])
    assert part.fingerprint != split.fingerprint
    assert len(split.first(None)) == len(split.first(5)) == 5


@pytest.mark.parametrize("n", [6, 0, -1])
def test_first_refuses_what_is_not_there(n):
    told = rf"cannot take {n} images from the train split, which has 5\nhint: ask for 1 to 5 images$"
    with pytest.raises(UsageError, match=told):
        make_split(5).first(n)


@pytest.mark.parametrize(
    "arrays",
    [
        (some_images(2).astype(np.float32), None),
        (some_images(2)[..., 0], None),
        (some_images(2), np.zeros(3, np.int64)),
        (some_images(2), np.zeros(2, np.int32)),
    ],
)
def test_split_refuses_other_arrays(arrays):
    with pytest.raises(ValueError, match="must be"):
        ImageSplit("train", *arrays)


def test_dataset_fingerprint_covers_every_split_and_the_levels():
    dataset = make_dataset()
    others = [make_dataset(**{name: make_split(name=name, seed=9)}) for name in ("train", "val", "test")]
    others.append(dataclasses.replace(dataset, levels=32))
    assert len({dataset.fingerprint, *(other.fingerprint for other in others)}) == 5
    assert make_dataset().fingerprint == dataset.fingerprint


def test_dataset_shape_and_splits():
    dataset = make_dataset()
    assert dataset.shape == (6, 5, 1)
    assert dataset.split("val") is dataset.val
    with pytest.raises(UsageError, match="unknown split 'valid'") as caught:
        dataset.split("valid")
    assert caught.value.hint == "splits: train, val, test"
