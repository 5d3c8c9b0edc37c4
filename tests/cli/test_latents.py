"""`nf eval --save-latents` and `nf sample --from-latents`: the same pixels, and only from the run that made them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfcli.drawing.config import MOST_IMAGES
from nfcli.errors import DataError
from nfcli.evaluation.batches import in_batches
from nfcli.evaluation.bound import images_at_once
from nfcli.evaluation.config import EvalConfig
from nfcli.evaluation.evaluate import evaluate
from nfcli.evaluation.latents import decode_file
from nfcli.evaluation.timing import time_model
from nfcli.runs import find_run
from nfcli.runs.restore import restore
from tests.cli.program import assert_refused
from tests.runs.untrained import untrained

MANY = 64 + 6


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with two runs, images of one's own, and the latents of these in both. Do not change it."""
    home, generator = tmp_path_factory.mktemp("latents"), np.random.default_rng(3)
    splits = {
        name: generator.integers(0, 256, (count, 8, 8), np.uint8) for name, count in (("train", 32), ("test", 16))
    }
    np.savez(home / "tiny.npz", **splits)
    np.savez(home / "mine.npz", images=generator.integers(0, 256, (MANY, 8, 8), np.uint8))
    for preset in ("simple", "multiscale"):
        untrained(home, preset, "tiny.npz")
        config = EvalConfig(preset, home / "runs", 1, images=home / "mine.npz", save_latents=home / f"{preset}.npz")
        warnings = []
        assert evaluate(config, warn=warnings.append).latents == str(home / f"{preset}.npz")
        assert warnings == []
    return home


@pytest.mark.parametrize("run", ["simple", "multiscale"])
def test_exactly_the_same_pixels(run, home):
    trained = restore(find_run(run, home / "runs"))
    images, labels = decode_file(trained, home / f"{run}.npz")
    with np.load(home / "mine.npz") as content:
        np.testing.assert_array_equal(images[..., 0], content["images"])
    assert labels is None
    with np.load(home / f"{run}.npz") as content:
        shapes = [content[f"level{level}"].shape for level in range(len(trained.model.latent_shapes))]
        assert shapes == [(MANY, *shape) for shape in trained.model.latent_shapes]
        assert content["name"][3] == "mine.npz[3]"


def test_they_are_drawn(home, call):
    done = call("sample", "simple", "--from-latents", "simple.npz", "--json", cwd=home).json
    assert (done["num"], done["latents"]) == (MANY, "simple.npz")
    assert done["temperature"] is done["seed"] is None
    assert done["image"].endswith("from-latents.png")
    with np.load(home / "mine.npz") as content:
        assert done["mean_pixel"] == pytest.approx(content["images"].mean())


def test_they_are_not_replaced_by_their_images(home, call, tmp_path):
    place = Path(shutil.copy(home / "simple.npz", tmp_path))
    before = place.read_bytes()
    done = call("sample", "simple", "--from-latents", place, "--output", place, cwd=home)
    assert_refused(done, 2)
    assert "would replace the images" in done.err
    assert place.read_bytes() == before


def test_names_of_images_are_shown_as_text(home, call, tmp_path):
    """Whatever bytes they are: another encoding than the terminal's, or what would move its cursor."""
    for number, name in enumerate((b"bad\xff.png", b"\x1b[31m.png")):
        Image.fromarray(np.full((8, 8), number, np.uint8)).save(tmp_path / os.fsdecode(name))
    words = ("eval", "simple", "-k", "1", "--images", tmp_path, "--save-per-image", tmp_path / "x.csv")
    done = call(*words, cwd=home)
    assert done.code == 0
    assert "\x1b" not in done.out
    assert "\\x1b[31m.png" in (tmp_path / "x.csv").read_text()


def test_large_images_go_through_a_model_few_at_a_time(home, monkeypatch):
    assert [images_at_once(side**2) for side in (28, 64, 128, 1024)] == [64, 64, 16, 1]
    trained = restore(find_run("simple", home / "runs"))
    whole, _ = decode_file(trained, home / "simple.npz")
    monkeypatch.setattr("nfcli.evaluation.bound.ENOUGH_ON_CPU", 30 * 64)
    seen = []

    def watched(call, count, size):
        seen.append(size)
        return in_batches(call, count, size)

    monkeypatch.setattr("nfcli.evaluation.latents.in_batches", watched)
    np.testing.assert_array_equal(decode_file(trained, home / "simple.npz")[0], whole)
    assert seen == [30]
    assert time_model(trained.model, trained.parameters)["batch_size"] == 30


def test_a_grid_of_them_is_as_wide_as_they_are_many(home, call):
    words = ("sample", "simple", "--from-latents", "simple.npz", "--json", "--columns")
    for columns in (MANY, MANY + 1):
        assert call(*words, columns, cwd=home).json["columns"] == MANY


def test_more_of_them_than_are_drawn_are_refused(home, call, tmp_path):
    with np.load(home / "simple.npz") as content:
        latents = np.resize(content["level0"], (MOST_IMAGES + 1, *content["level0"].shape[1:]))
        np.savez(tmp_path / "z.npz", level0=latents, about=content["about"])
    done = call("sample", "simple", "--from-latents", tmp_path / "z.npz", cwd=home)
    assert_refused(done, 2)
    assert "z.npz has 10,001 images, and 10,000 are drawn at most" in done.err


def test_of_another_run_they_are_refused(home, call):
    done = call("sample", "multiscale", "--from-latents", "simple.npz", cwd=home)
    assert_refused(done, 2)
    assert "latents of run 'simple'" in done.err


@pytest.mark.parametrize("option", ["--real", "--share-final-latent", "--label=3"])
def test_what_makes_no_sense_together(option, home, call):
    assert_refused(call("sample", "multiscale", "--from-latents", "multiscale.npz", option, cwd=home), 2)


def test_labels_that_are_not_whole_are_refused(tmp_path):
    np.savez(tmp_path / "told.npz", images=np.zeros((32, 8, 8), np.uint8), labels=np.arange(32) % 2)
    trained = restore(untrained(tmp_path, "simple", "told.npz", conditional=True))
    latents = {"level0": np.zeros((1, *trained.model.latent_shapes[0]), np.float32), "label": np.array([1.0])}
    about = {"run_id": trained.config["id"], "checkpoint_step": trained.checkpoint.step}
    np.savez(tmp_path / "z.npz", **latents, about=np.array(json.dumps(about)))
    with pytest.raises(DataError, match="no label for each"):
        decode_file(trained, tmp_path / "z.npz")


@pytest.mark.parametrize(
    "damage",
    ["missing", "cut off", "other arrays", "not finite", "another shape", "a number", "objects", "encrypted", "text"],
)
def test_damaged_files(damage, home, call, tmp_path):
    path = tmp_path / "z.npz"
    with np.load(home / "simple.npz") as content:
        arrays = dict(content)
    if damage == "other arrays":
        del arrays["level0"]
    elif damage == "not finite":
        arrays["level0"][0] = np.nan
    elif damage == "another shape":
        arrays["level0"] = arrays["level0"][:, :1]
    elif damage == "a number":
        arrays["level0"] = np.float32(1)
    elif damage == "objects":
        arrays["about"] = np.array([{}], dtype=object)
    if damage != "missing":
        np.savez(path, **arrays)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "encrypted":
        changed = bytearray(path.read_bytes())
        for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            changed[changed.index(start) + flags] |= 1
        path.write_bytes(changed)
    elif damage == "text":
        path.write_text("no archive at all")
    done = call("sample", "simple", "--from-latents", path, cwd=home)
    assert_refused(done, 3)
    assert str(path) in done.err
    assert "allow_pickle" not in done.err or damage == "objects"
    if damage == "other arrays":
        assert "holds no latents: it has no 'level0'" in done.err
