"""Image grids: every pixel at its place."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfcli.drawing.grid import GAP, MARK, check_size, image_grid, interpolation_grid, save_grid
from nfcli.errors import UsageError, WriteError
from nfcli.runs.outputs import SIGNATURE


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
    canvas = interpolation_grid(frames, scale=1)
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
    canvas = interpolation_grid(_images(1, 1, 4, 4, 1), scale=1)
    assert (canvas == MARK).all(axis=2).sum() == 8 * 8 - 4 * 4


def test_interpolation_that_makes_no_sense() -> None:
    with pytest.raises(UsageError):
        interpolation_grid(np.zeros((2, 4, 4, 1), np.uint8))


def _read(picture: Path | io.BytesIO) -> np.ndarray:
    with Image.open(picture) as image:
        return np.asarray(image)


def test_a_png_of_one_channel_is_grey_and_says_its_resolution_only_when_asked(tmp_path: Path) -> None:
    grid = image_grid(_images(2, 4, 4, 1), 2)
    save_grid(grid, tmp_path / "a" / "plain.png")
    np.testing.assert_array_equal(_read(tmp_path / "a" / "plain.png"), grid[:, :, 0])
    assert [entry.name for entry in (tmp_path / "a").iterdir()] == ["plain.png"]
    save_grid(grid, tmp_path / "print.png", dpi=300)
    with Image.open(tmp_path / "a" / "plain.png") as plain, Image.open(tmp_path / "print.png") as printed:
        assert plain.mode == "L"
        assert plain.info == {"Software": SIGNATURE}
        assert printed.info["dpi"] == pytest.approx((300, 300), abs=0.1)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("rows", "columns"), [(("7", "10"), ()), ((), ("0", "1", "12")), (("7", "8"), ("0", "1", "2"))]
)
@pytest.mark.parametrize("dpi", [None, 37, 300])
def test_captions_lie_beside_the_grid_and_hide_no_pixel(
    tmp_path: Path, channels: int, rows: tuple[str, ...], columns: tuple[str, ...], dpi: int | None
) -> None:
    grid = image_grid(_images(6, 13, 17, channels), 3)
    save_grid(grid, tmp_path / "grid.png", dpi=dpi, rows=rows, columns=columns)
    picture = _read(tmp_path / "grid.png")[:, :, :3]
    height, width = grid.shape[:2]
    np.testing.assert_array_equal(picture[-height:, -width:], np.broadcast_to(grid, (height, width, 3)))
    for wanted, margin in ((rows, picture[-height:, :-width]), (columns, picture[:-height, -width:])):
        assert (margin.size > 0) == bool(wanted)
        if wanted:
            assert (margin < 100).any()
            border = np.concatenate(
                [margin[0].ravel(), margin[-1].ravel(), margin[:, 0].ravel(), margin[:, -1].ravel()]
            )
            assert (border == 255).all(), "a caption is cropped"


def test_captions_give_way_to_small_tiles(tmp_path: Path) -> None:
    grid = image_grid(_images(40, 4, 4, 1), 20, scale=1)
    save_grid(grid, tmp_path / "grid.png", columns=[str(100 + index) for index in range(20)])
    height, width, _ = _read(tmp_path / "grid.png").shape
    assert width == grid.shape[1]
    assert grid.shape[0] < height < grid.shape[0] + 10


def test_a_vector_picture_has_every_pixel_unblurred(tmp_path: Path) -> None:
    grid = image_grid(_images(2, 4, 4, 3), 2)
    for name in ("a.svg", "b.svg", "a.pdf", "b.pdf"):
        save_grid(grid, tmp_path / name, rows=["7"])
    text = (tmp_path / "a.svg").read_text()
    found = re.search(r"base64,([^\"]+)\"", text)
    assert found
    np.testing.assert_array_equal(_read(io.BytesIO(base64.b64decode(found[1])))[:, :, :3], grid)
    assert "image-rendering:pixelated" in text
    assert b"/Interpolate true" not in (tmp_path / "a.pdf").read_bytes()
    for kind in ("svg", "pdf"):
        assert (tmp_path / f"a.{kind}").read_bytes() == (tmp_path / f"b.{kind}").read_bytes()


def test_same_images_same_bytes(tmp_path: Path) -> None:
    for name in ("a.png", "b.png"):
        save_grid(image_grid(_images(3, 28, 28, 1), 2), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("name", ["grid.png", "grid.svg"])
def test_write_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(WriteError):
        save_grid(image_grid(_images(1, 4, 4, 1), 1), tmp_path / "file" / name)


def test_a_grid_that_no_viewer_opens_is_refused_as_soon_as_its_numbers_are_known() -> None:
    check_size(10_000, 100, (28, 28, 1), 3)
    with pytest.raises(UsageError, match="7,840,000,000 pixels") as caught:
        check_size(1000, 10, (28, 28, 1), 100)
    assert caught.value.hint
    with pytest.raises(UsageError):
        image_grid(_images(1000, 8, 8, 1), 10, scale=100)
