"""Who is train, validation and test: recorded results depend on these staying as they are."""

from __future__ import annotations

import numpy as np
import pytest

from nfcli.data.dataset import Part, assemble
from nfcli.errors import DataError
from tests.data.image_writers import some_images


def numbered(count):
    """Images whose label is their place in the source."""
    return Part(some_images(count, seed=count), np.arange(count))


def places(dataset):
    return [dataset.split(name).labels.tolist() for name in ("train", "val", "test")]


def test_permutation_is_pinned():
    order = np.random.default_rng(42).permutation(60_000)
    assert order[:5].tolist() == [3493, 57546, 8815, 19332, 15566]
    assert order[50_000:50_003].tolist() == [40982, 39928, 27078]


def test_sixty_thousand_become_fifty_and_ten():
    part = Part(np.zeros((60_000, 1, 1, 1), np.uint8), np.arange(60_000))
    train, val, test = places(assemble("x", "x", {"train": part, "test": Part(part.images[:3], part.labels[:3])}))
    assert (len(train), len(val), test) == (50_000, 10_000, [0, 1, 2])
    assert train[:5] == [3493, 57546, 8815, 19332, 15566]
    assert val[:3] == [40982, 39928, 27078]
    assert sorted(train + val) == list(range(60_000))


def test_three_ways_is_pinned():
    source = numbered(14)
    dataset = assemble("x", "x", {"all": source})
    assert places(dataset) == [[6, 7, 9, 3, 0, 11, 13, 10, 5, 2], [4, 12], [1, 8]]
    np.testing.assert_array_equal(dataset.test.images, source.images[[1, 8]])


def test_given_splits_are_left_alone():
    parts = {name: numbered(count) for name, count in (("train", 7), ("val", 2), ("test", 3))}
    dataset = assemble("x", "x", parts)
    assert places(dataset) == [list(range(7)), [0, 1], [0, 1, 2]]
    np.testing.assert_array_equal(dataset.train.images, parts["train"].images)


@pytest.mark.parametrize(
    ("parts", "sizes"), [({"all": 3}, [1, 1, 1]), ({"train": 2, "test": 1}, [1, 1, 1]), ({"all": 13}, [11, 1, 1])]
)
def test_no_split_is_ever_empty(parts, sizes):
    dataset = assemble("x", "x", {name: numbered(count) for name, count in parts.items()})
    assert [len(ids) for ids in places(dataset)] == sizes


def test_labels_may_be_missing_in_one_split():
    dataset = assemble("x", "x", {"train": numbered(6), "test": Part(some_images(2), None)})
    assert dataset.test.labels is None
    assert dataset.val.labels is not None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"all": numbered(2)}, "has 2 images, too few to split into train, val, test"),
        ({"train": numbered(1), "test": numbered(1)}, "has 1 image, too few to split into train, val"),
        ({"train": numbered(9)}, "has train but no test images"),
        ({"test": numbered(9), "val": numbered(9)}, "has test and val but no train images"),
        ({"all": Part(some_images(9), np.arange(8))}, "has 9 images but 8 labels"),
        ({"train": numbered(9), "test": Part(some_images(9), np.arange(8))}, "has 9 test images but 8 labels"),
        (
            {"train": numbered(9), "test": Part(some_images(9, channels=3), None)},
            "the test images are 6x5x3, but the train images 6x5x1",
        ),
    ],
)
def test_impossible_parts(parts, message):
    with pytest.raises(DataError, match=message):
        assemble("x", "/a/b", parts)
