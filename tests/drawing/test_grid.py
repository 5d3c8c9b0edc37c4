"""Image grids: every pixel at its place."""

from __future__ import annotations

import numpy as np
import pytest

from nfcli.drawing.grid import GAP, MARK, image_grid, interpolation_grid
from nfcli.errors import UsageError


def _images(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_tile_is_at_its_place(channels: int) -> None:
    images = _images(5, 4, 6, channels)
    canvas = image_grid(images, 3, scale=2, padding=3)
    assert canvas.shape == (2 * 11 + 3, 3 * 15 + 3, channels)
    seen = np.zeros(canvas.shape[:2], dtype=bool)
    for index, image in enumerate(images):
        top, left = 3 + 11 * (index // 3), 3 + 15 * (index % 3)
        tile = canvas[top : top + 8, left : left + 12]
        for di in range(2):
            for dj in range(2):
                np.testing.assert_array_equal(tile[di::2, dj::2], image)
        seen[top : top + 8, left : left + 12] = True
    assert (canvas[~seen] == GAP).all()


@pytest.mark.parametrize(("side", "scale"), [(28, 3), (32, 3), (8, 11), (64, 1), (512, 1)])
def test_default_scale(side: int, scale: int) -> None:
    assert image_grid(_images(1, side, side, 1), 1).shape == (side * scale + 4, side * scale + 4, 1)


def test_fewer_images_than_columns_make_a_narrow_grid() -> None:
    assert image_grid(_images(2, 4, 4, 1), 8, scale=1, padding=1).shape == (6, 11, 1)


def test_no_padding() -> None:
    images = _images(2, 4, 4, 1)
    np.testing.assert_array_equal(image_grid(images, 2, scale=1, padding=0), np.concatenate(list(images), axis=1))


@pytest.mark.parametrize("value", [0, 255])
def test_black_and_white_tiles_stay_separable(value: int) -> None:
    canvas = image_grid(np.full((2, 4, 4, 1), value, np.uint8), 2, scale=1)
    assert abs(int(canvas[3, 6, 0]) - value) > 60


@pytest.mark.parametrize(
    ("images", "columns", "scale", "padding"),
    [
        (np.zeros((2, 4, 4, 2), np.uint8), 2, None, 2),
        (np.zeros((2, 4, 4, 4), np.uint8), 2, None, 2),
        (np.zeros((2, 4, 4, 1), np.float32), 2, None, 2),
        (np.zeros((2, 4, 4), np.uint8), 2, None, 2),
        (np.zeros((0, 4, 4, 1), np.uint8), 2, None, 2),
        (np.zeros((2, 4, 4, 1), np.uint8), 0, None, 2),
        (np.zeros((2, 4, 4, 1), np.uint8), 2, 0, 2),
        (np.zeros((2, 4, 4, 1), np.uint8), 2, None, -1),
    ],
    ids=["2 channels", "4 channels", "floats", "3 axes", "no image", "no column", "scale 0", "negative padding"],
)
def test_what_makes_no_sense(images: np.ndarray, columns: int, scale: int | None, padding: int) -> None:
    with pytest.raises(UsageError) as caught:
        image_grid(images, columns, scale=scale, padding=padding)
    assert caught.value.hint


@pytest.mark.parametrize("channels", [1, 3])
def test_interpolation_frames_the_real_images_and_hides_no_pixel(channels: int) -> None:
    frames = _images(2, 5, 4, 4, channels)
    canvas = interpolation_grid(frames, scale=1, padding=6)
    assert canvas.shape == (2 * 10 + 6, 5 * 10 + 6, 3)
    marked = (canvas == MARK).all(axis=2)
    for pair in range(2):
        for step in range(5):
            top, left = 6 + 10 * pair, 6 + 10 * step
            tile = canvas[top : top + 4, left : left + 4]
            np.testing.assert_array_equal(tile, np.broadcast_to(frames[pair, step], (4, 4, 3)))
            ring = marked[top - 2 : top + 6, left - 2 : left + 6].sum()
            assert ring == (8 * 8 - 4 * 4 if step in (0, 4) else 0)


def test_a_single_step_is_both_ends() -> None:
    canvas = interpolation_grid(_images(1, 1, 4, 4, 1), scale=1, padding=6)
    assert (canvas == MARK).all(axis=2).sum() == 8 * 8 - 4 * 4


@pytest.mark.parametrize(
    ("frames", "padding"), [(np.zeros((2, 4, 4, 1), np.uint8), 6), (np.zeros((1, 2, 4, 4, 1), np.uint8), -1)]
)
def test_interpolation_that_makes_no_sense(frames: np.ndarray, padding: int) -> None:
    with pytest.raises(UsageError):
        interpolation_grid(frames, padding=padding)
