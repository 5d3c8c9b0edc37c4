"""`nf sample`, `nf interpolate`, `nf inspect-dequant`: the files they name, and the pixels in them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.program import assert_refused, contents, succeeds

SIDE = 8
SCALE = 11
"""How often a pixel of an image of 8x8 is repeated in a grid."""


@pytest.fixture
def home(workshop, tmp_path):
    return workshop.copy(tmp_path / "copy")


def tiles(path, columns, padding):
    """The images in a grid, (rows, columns, side, side), and whether the enlargement repeats pixels exactly."""
    pixels = np.asarray(Image.open(path).convert("L"))
    step = SIDE * SCALE + padding
    rows = (len(pixels) - padding) // step
    corners = [[(padding + row * step, padding + column * step) for column in range(columns)] for row in range(rows)]
    size = SIDE * SCALE
    large = np.array([[pixels[top : top + size, left : left + size] for top, left in row] for row in corners])
    small = large[:, :, ::SCALE, ::SCALE]
    assert np.array_equal(small.repeat(SCALE, axis=2).repeat(SCALE, axis=3), large)
    return small


def test_samples_depend_on_seed_and_place_alone(home):
    many = succeeds("sample", "multiscale", "--num", "6", "--columns", "3", "--json", cwd=home).json
    assert (many["run"], many["num"], many["columns"], many["checkpoint_step"]) == ("multiscale", 6, 3, 2)
    assert many["image"] == "runs/multiscale/figures/samples.png"
    six = tiles(home / many["image"], 3, 2).reshape(6, SIDE, SIDE)
    assert many["mean_pixel"] == pytest.approx(six.mean())
    few = succeeds("sample", "multiscale", "-n", "2", "--columns", "2", "-o", "two.png", cwd=home)
    assert few.out.splitlines() == ["two.png", "two.json"]
    assert np.array_equal(tiles(home / "two.png", 2, 2)[0], six[:2])
    succeeds("sample", "multiscale", "-n", "2", "--columns", "2", "--seed", "1", "-o", "other.png", cwd=home)
    assert not np.array_equal(tiles(home / "other.png", 2, 2)[0], six[:2])


def test_real_images_are_those_of_the_data(home, workshop):
    succeeds("sample", "simple", "--real", "-n", "4", "-o", "real.png", cwd=home)
    assert np.array_equal(tiles(home / "real.png", 2, 2).reshape(4, SIDE, SIDE), workshop.images["train"][:4])


def test_a_shared_latent_draws_as_many_as_the_help_says(home):
    told = succeeds("sample", "multiscale", "--share-final-latent", "--json", cwd=home).json
    assert (told["num"], told["columns"]) == (16, 8)
    assert tiles(home / told["image"], 8, 2).shape[:2] == (2, 8)


def test_ends_of_an_interpolation_are_the_images(home, workshop):
    told = succeeds(
        "interpolate", "multiscale", "--pairs", "0,7", "--pairs", "15,3", "--steps", "4", "--json", cwd=home
    )
    assert told.json.keys() >= {"run", "image", "pairs", "steps", "ends_exact"}
    assert told.json["ends_exact"]
    assert told.json["pairs"] == [[0, 7], [15, 3]]
    frames = tiles(home / told.json["image"], 4, 6)
    test = workshop.images["test"]
    assert np.array_equal(frames[:, 0], test[[0, 15]])
    assert np.array_equal(frames[:, -1], test[[7, 3]])
    numbers = json.loads((home / told.json["numbers"]).read_text())
    assert numbers["pairs"] == [[0, 7], [15, 3]]


def test_inspecting_dequantization_moves_no_pixel(home):
    done = succeeds("inspect-dequant", "multiscale", "--images", "4", "--draws", "1", "--json", cwd=home)
    told = done.json
    assert told["run"] == "multiscale"
    assert told["moved_pixels"] == 0
    assert told["checked_pixels"] >= 256
    assert sum(told["prior"]) == pytest.approx(1)
    Image.open(home / told["image"]).verify()
    numbers = json.loads((home / told["numbers"]).read_text())
    assert (numbers["images"], numbers["prior_name"]) == (4, "Bell-shaped prior")
    assert len(numbers["learned_density"]) == len(numbers["edges"]) - 1
    assert "round trip: 0 of" in done.err


def test_explaining_needs_no_run(tmp_path):
    done = succeeds("inspect-dequant", "--explain", cwd=tmp_path)
    assert done.out == "explain.png\n"
    assert set(contents(tmp_path)) == {"explain.png"}
    Image.open(tmp_path / "explain.png").verify()


def test_samples_as_data_are_those_of_the_grid(home, call):
    common = ("sample", "simple", "-n", "4", "--temperature", "0.5", "--seed", "3")
    told = [call(*common, *more, "--json", cwd=home).json for more in ((), ("-o", "x.npz"), ("-o", "folder"))]
    assert [(each["image"], each["numbers"]) for each in told[1:]] == [("x.npz", "x.json"), ("folder", "folder.json")]
    assert {each["mean_pixel"] for each in told} == {told[0]["mean_pixel"]}
    shown = tiles(home / told[0]["image"], 2, 2).reshape(4, SIDE, SIDE)
    with np.load(home / "x.npz", allow_pickle=False) as archive:
        said = dict(archive)
    assert np.array_equal(said["images"], shown[..., None])
    config = json.loads((home / "runs/simple/config.json").read_text())
    identity = {"run": "simple", "run_id": config["id"], "preset": "simple", "checkpoint_step": 2}
    assert {name: said[name].item() for name in identity} == identity
    assert (said["seed"], said["temperature"], said["num"]) == (3, 0.5, 4)
    files = sorted((home / "folder").iterdir())
    assert [file.name for file in files] == ["0000.png", "0001.png", "0002.png", "0003.png"]
    assert np.array_equal(np.stack([np.asarray(Image.open(file)) for file in files]), shown)
    # Fewer of them take the place of all.
    assert call("sample", "simple", "-n", "1", "-o", "folder", cwd=home).code == 0
    assert [file.name for file in (home / "folder").iterdir()] == ["0000.png"]
    (home / "folder/notes.txt").write_text("mine")
    before = contents(home / "folder")
    assert_refused(call("sample", "simple", "-n", "1", "-o", "folder", cwd=home), 2)
    assert contents(home / "folder") == before


def test_a_grid_as_large_and_in_the_format_that_was_asked_for(home, call):
    grid = ("-n", "2", "--columns", "2", "--scale", "5")
    assert call("sample", "simple", *grid, "--dpi", "100", "-o", "small.png", cwd=home).code == 0
    with Image.open(home / "small.png") as small:
        assert small.size == (2 * 42 + 2, 44)
    assert json.loads((home / "small.json").read_text()).items() >= {("scale", 5), ("dpi", 100)}
    assert (
        call("interpolate", "simple", "--captions", "--scale", "5", "--pairs", "3,12", "-o", "w.png", cwd=home).code
        == 0
    )
    with Image.open(home / "w.png") as walk:
        assert walk.height == 46 + 6
        assert walk.width > 8 * 46 + 6
    for name in ("sample.pdf", "walk.svg"):
        command = "sample" if name == "sample.pdf" else "interpolate"
        assert call(command, "simple", "-o", name, cwd=home).out.splitlines()[0] == name
    assert (home / "sample.pdf").read_bytes().startswith(b"%PDF-")
    assert "image-rendering:pixelated" in (home / "walk.svg").read_text()


def test_a_figure_in_the_format_that_was_asked_for(home, call):
    assert call("inspect-dequant", "simple", "--images", "2", "--draws", "1", "-o", "d.pdf", cwd=home).code == 0
    assert (home / "d.pdf").read_bytes().startswith(b"%PDF-")
    assert json.loads((home / "d.json").read_text())["picture"] == "d.pdf"


@pytest.mark.parametrize(
    "arguments",
    [
        ("sample", "simple", "--output", "samples.jpg"),
        ("sample", "simple", "--output", "tiny.npz"),
        ("sample", "simple", "--output", "runs"),
        ("sample", "simple", "--output", "runs/simple/x.npz"),
        ("sample", "simple", "--output", "runs/simple/checkpoints"),
        ("sample", "simple", "--output", "x.npz", "--scale", "2"),
        ("sample", "simple", "--output", "x.npz", "--columns", "2"),
        ("sample", "simple", "--output", "folder", "--captions"),
        ("sample", "simple", "--output", "folder", "--dpi", "100"),
        ("sample", "simple", "--captions"),
        ("sample", "simple", "--scale", "0"),
        ("sample", "simple", "--scale", "101"),
        ("sample", "simple", "--dpi", "9"),
        ("sample", "simple", "--dpi", "1201"),
        ("sample", "simple", "--num", "10000", "--scale", "100"),
        ("interpolate", "simple", "--scale", "0"),
        ("interpolate", "simple", "--output", "walk.npz"),
        ("inspect-dequant", "simple", "--output", "d.npz"),
        ("inspect-dequant", "--explain", "--dpi", "0"),
        ("sample", "simple", "--output", ""),
        ("sample", "simple", "--output", ".png"),
        ("sample", "simple", "--output", "folder.png"),
        ("interpolate", "simple", "--output", "walk"),
        ("inspect-dequant", "--explain", "--output", "masks.txt"),
        ("sample", "simple", "--num", "0"),
        ("sample", "simple", "--num", "10001"),
        ("sample", "simple", "--columns", "0"),
        ("sample", "simple", "--temperature", "nan"),
        ("sample", "simple", "--temperature", "-1"),
        ("sample", "simple", "--seed", "-1"),
        ("sample", "simple", "--share-final-latent"),
        ("sample", "simple", "--real", "--share-final-latent"),
        ("sample", "simple", "--real", "--label", "3"),
        ("interpolate", "simple", "--pairs", "0"),
        ("interpolate", "simple", "--pairs", "a,b"),
        ("interpolate", "simple", "--pairs", "0,1,2"),
        ("interpolate", "simple", "--pairs", "0,16"),
        ("interpolate", "simple", "--pairs", "0,-1"),
        ("interpolate", "simple", "--steps", "1"),
        ("interpolate", "simple", "--split", "nonsense"),
        ("inspect-dequant", "simple", "--images", "0"),
        ("inspect-dequant", "simple", "--levels", "1"),
        ("inspect-dequant", "simple", "--prior", "1,x"),
        ("inspect-dequant", "simple", "--prior", "1,2"),
        ("inspect-dequant", "simple", "--levels", "2", "--prior", "0,0"),
        ("inspect-dequant", "simple", "--levels", "2", "--prior", "nan,1"),
        ("inspect-dequant", "simple", "--levels", "2", "--prior", "1e308,1e308"),
    ],
    ids=lambda arguments: " ".join(arguments),
)
def test_wrong_options_are_refused_and_nothing_is_written(arguments, home, call):
    (home / "folder.png").mkdir()
    before = contents(home)
    assert_refused(call(*arguments, cwd=home), 2)
    assert contents(home) == before


def test_a_picture_never_replaces_files_of_a_run(home, call):
    before = (home / "runs/simple/config.json").read_bytes()
    call("inspect-dequant", "simple", "--images", "1", "--draws", "1", "-o", "runs/simple/config.png", cwd=home)
    assert (home / "runs/simple/config.json").read_bytes() == before


@pytest.mark.parametrize("place", ["tiny.npz/x.png", "/proc/nowhere/x.png"])
def test_a_place_that_cannot_be_written(place, home, call):
    before = contents(home)
    assert_refused(call("inspect-dequant", "--explain", "--output", place, cwd=home), 1)
    assert contents(home) == before
