"""`nf eval --save-latents` and `nf sample --from-latents`: the same pixels, and only from the run that made them."""

from __future__ import annotations

import numpy as np
import pytest

from nfcli.evaluation.latents import CHUNK, decode_file
from nfcli.runs import find_run
from nfcli.runs.restore import restore
from tests.cli.program import assert_refused, succeeds

MANY = CHUNK + 6


@pytest.fixture(scope="module")
def home(workshop, tmp_path_factory):
    """The workshop with images of one's own, and the latents of both runs. Only `copied` may be changed."""
    home = workshop.copy(tmp_path_factory.mktemp("latents") / "home")
    np.savez(home / "mine.npz", images=np.random.default_rng(3).integers(0, 256, (MANY, 8, 8), np.uint8))
    for run in ("simple", "multiscale"):
        options = ("--images", "mine.npz", "--save-latents", f"{run}.npz", "-k", "1", "--json")
        done = succeeds("eval", run, *options, cwd=home)
        assert done.json["latents"] == f"{run}.npz"
        assert "warning" not in done.err
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


def test_they_are_drawn(home):
    done = succeeds("sample", "simple", "--from-latents", "simple.npz", "--json", cwd=home).json
    assert (done["num"], done["latents"]) == (MANY, "simple.npz")
    assert done["image"].endswith("from-latents.png")
    with np.load(home / "mine.npz") as content:
        assert done["mean_pixel"] == pytest.approx(content["images"].mean())


def test_of_another_run_they_are_refused(home, call):
    done = call("sample", "multiscale", "--from-latents", "simple.npz", cwd=home)
    assert_refused(done, 2)
    assert "latents of run 'simple'" in done.err


@pytest.mark.parametrize("option", ["--real", "--share-final-latent"])
def test_what_makes_no_sense_together(option, home, call):
    assert_refused(call("sample", "multiscale", "--from-latents", "multiscale.npz", option, cwd=home), 2)


@pytest.mark.parametrize("damage", ["missing", "cut off", "other arrays", "not finite", "another shape", "objects"])
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
    elif damage == "objects":
        arrays["about"] = np.array([{}], dtype=object)
    if damage != "missing":
        np.savez(path, **arrays)
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    done = call("sample", "simple", "--from-latents", path, cwd=home)
    assert_refused(done, 3)
    assert str(path) in done.err
