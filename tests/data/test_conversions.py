"""Images that are not taken as they are stored: what becomes of them, and that it is said."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from nfcli.data import load_dataset, load_images
from nfcli.data import store as intake
from tests.data.image_writers import some_images, write_pngs

UPRIGHT = some_images(1, channels=3)[0]


def said(path, load=load_images):
    """What is read, and what is said of it."""
    messages: list[str] = []
    return load(str(path), message=messages.append), messages


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def test_every_conversion_is_counted_once(tmp_path):
    write_pngs(tmp_path, some_images(3, channels=3))
    picture = Image.fromarray(UPRIGHT)
    for index in range(2):
        picture.convert("RGBA").save(tmp_path / f"transparent{index}.png")
    picture.convert("P").save(tmp_path / "palette.png", transparency=0)
    picture.convert("CMYK").save(tmp_path / "print.jpg")
    picture.save(tmp_path / "keyed.png", transparency=(0, 0, 0))
    picture.save(tmp_path / "moving.png", save_all=True, append_images=[picture.rotate(180)])
    picture.rotate(180).save(tmp_path / "turned.png", exif=exif(3))
    (images, names, _), messages = said(tmp_path)
    (text,) = messages
    start, _, listing = text.partition(" converted: ")
    assert start == "note: 7 of 10 images"
    assert sorted(listing.split(", ")) == [
        "1 CMYK to RGB",
        "1 of several pictures to the first",
        "1 palette to RGB",
        "1 turned as EXIF says",
        "2 RGBA to RGB",
        "2 with a transparent colour made opaque",
    ]
    for name in ("transparent0.png", "keyed.png", "moving.png", "turned.png"):
        np.testing.assert_array_equal(images[names.index(name)], UPRIGHT)


def test_nothing_is_said_of_images_that_are_taken_as_they_are(tmp_path):
    write_pngs(tmp_path, some_images(30))
    write_pngs(tmp_path, some_images(2), ".jpg")
    assert said(tmp_path, load_dataset)[1] == []


def test_gray_with_transparency_and_one_bit(tmp_path):
    gray = Image.fromarray(some_images(1)[0, ..., 0])
    gray.convert("LA").save(tmp_path / "a.png")
    gray.convert("1").save(tmp_path / "b.png")
    (images, _, _), messages = said(tmp_path)
    assert images.shape == (2, 6, 5, 1)
    assert messages == ["note: 2 of 2 images converted: 1 gray with transparency to gray, 1 1-bit to 8-bit"]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_images_are_turned_as_their_exif_says(tmp_path, orientation, suffix):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(UPRIGHT).save(path, exif=exif(orientation))
    (images, _, _), messages = said(path)
    with Image.open(path) as stored:
        np.testing.assert_array_equal(images[0], np.asarray(ImageOps.exif_transpose(stored)))
    assert len(messages) == (orientation != 1)


def test_turned_images_have_the_size_that_they_are_seen_in(tmp_path):
    write_pngs(tmp_path, some_images(2, channels=3))
    Image.fromarray(UPRIGHT.swapaxes(0, 1)).save(tmp_path / "0002.png", exif=exif(5))
    (images, _, _), _ = said(tmp_path)
    np.testing.assert_array_equal(images[2], UPRIGHT)


@pytest.mark.parametrize("damage", [b"II", b"Exif\0\0junk", b"Exif\0\0MM\0*\xff\xff\xff\xff"])
def test_damaged_exif_is_passed_over(tmp_path, damage):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png", exif=damage)
    (images, _, _), messages = said(tmp_path)
    np.testing.assert_array_equal(images[0], UPRIGHT)
    assert messages == []


def test_images_that_were_kept_are_not_said_to_be_converted_again(tmp_path, monkeypatch):
    monkeypatch.setenv("NF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(intake, "IN_MEMORY", 0)
    write_pngs(tmp_path / "images", some_images(2, channels=4))
    (first, _, _), messages = said(tmp_path / "images")
    assert messages == ["note: 2 of 2 images converted: 2 RGBA to RGB"]
    (again, _, _), messages = said(tmp_path / "images")
    assert messages == []
    np.testing.assert_array_equal(again[:], first[:])
