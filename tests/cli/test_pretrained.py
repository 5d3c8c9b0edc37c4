"""`pretrained:NAME` in every command: as good as a run of one's own, and never written to."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from nfcli.runs import pretrained as pretrained
from tests.cli.program import assert_refused, contents, nf, succeeds

COMMANDS = ("eval", "sample", "interpolate", "inspect-dequant", "compare")


@pytest.fixture
def ships(shipment, monkeypatch):
    """What ships, for commands within this process too."""
    monkeypatch.setattr(pretrained, "pretrained_dir", lambda: shipment.ships)
    return shipment.ships


@pytest.fixture
def empty(workshop, tmp_path):
    """A folder with the images and no runs."""
    shutil.copy(workshop.path / "tiny.npz", tmp_path)
    return tmp_path


@pytest.fixture
def unchanged(shipment):
    """What ships must be the same afterwards."""
    before = contents(shipment.ships)
    yield
    assert contents(shipment.ships) == before


@pytest.mark.usefixtures("unchanged")
def test_samples_are_those_of_the_run_that_was_exported(shipment, empty):
    done = succeeds("sample", "pretrained:multiscale", "-n", "4", cwd=empty, ships=shipment.ships)
    picture = "runs/pretrained-multiscale/figures/samples.png"
    assert done.out.splitlines() == [picture, picture.replace(".png", ".json")]
    own = succeeds("sample", "multiscale", "-n", "4", "--output", "own.png", cwd=shipment.home)
    assert own.out.splitlines()[0] == "own.png"
    assert (empty / picture).read_bytes() == (shipment.home / "own.png").read_bytes()
    # That folder is none of a run.
    assert nf("sample", cwd=empty, ships=shipment.ships).code == 3


@pytest.mark.usefixtures("unchanged")
def test_pictures_that_need_images(shipment, empty):
    walked = succeeds("interpolate", "pretrained:simple", "--steps", "2", "--json", cwd=empty, ships=shipment.ships)
    assert walked.json["ends_exact"]
    assert walked.json["image"] == "runs/pretrained-simple/figures/interpolation.png"
    settings = ("--images", "4", "--draws", "1", "--runs-dir", "mine", "--json")
    seen = succeeds("inspect-dequant", "pretrained:multiscale", *settings, cwd=empty, ships=shipment.ships).json
    assert (seen["image"], seen["moved_pixels"]) == ("mine/pretrained-multiscale/figures/dequantization.png", 0)


@pytest.mark.usefixtures("unchanged")
def test_a_measurement_is_printed_and_not_recorded(shipment, empty):
    settings = ("-k", "8", "--batch-size", "16", "--save-per-image", "each.csv", "--json")
    done = succeeds("eval", "pretrained:simple", *settings, cwd=empty, ships=shipment.ships)
    assert (done.json["run"], done.json["recorded"]) == ("pretrained:simple", False)
    assert "nothing was recorded" in done.err
    assert {path.name for path in empty.iterdir()} == {"tiny.npz", "each.csv"}
    known_of_k = json.loads((shipment.ships / "simple/results.json").read_text())["evaluations"]
    for known in [entry for entry in known_of_k if entry["importance_samples"] == 8]:
        assert done.json["splits"][known["split"]]["bpd"] == pytest.approx(known["bpd"], rel=1e-6)


@pytest.mark.usefixtures("ships")
def test_compare_shows_what_ships_until_there_is_a_run(shipment, empty, call):
    done = call("compare", cwd=empty)
    assert done.code == 0
    assert done.err == "there is no run in runs yet; these ship with nf\n"
    assert "pretrained:multiscale" in done.out
    assert "K = 8" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    told = call("compare", "--json", cwd=empty)
    assert {row["run"] for row in told.json["rows"]} == {"pretrained:simple", "pretrained:multiscale"}
    assert all(row["shipped"] and row["test_bpd"] for row in told.json["rows"])
    assert {row["run"] for row in call("compare", "--json", cwd=shipment.home).json["rows"]} == {
        "simple",
        "multiscale",
    }
    named = call("compare", "pretrained:simple", "simple", "--json", cwd=shipment.home).json
    assert named["rankable"]
    assert sorted((row["run"], row["shipped"]) for row in named["rows"]) == [
        ("pretrained:simple", True),
        ("simple", False),
    ]
    assert_refused(call("compare", "--runs-dir", "tiny.npz", cwd=empty), 3)


def test_groups_of_what_ships_are_no_warning(empty, call):
    done = call("compare", cwd=empty)
    assert "each given its label" in done.out
    assert done.err == "there is no run in runs yet; these ship with nf\n"


@pytest.mark.usefixtures("unchanged", "ships")
def test_compare_image_by_image(shipment, call):
    same = call("compare", "--paired", "pretrained:simple", "simple", "--json", cwd=shipment.home).json
    assert (same["images"], same["difference_bpd"], same["decided"]) == (16, 0, False)
    done = call("compare", "--paired", "pretrained:simple", "multiscale", "-k", "64", cwd=shipment.home)
    assert_refused(done, 3)
    assert "leave -k out" in done.err
    assert call("compare", "-k", "64", "pretrained:simple", cwd=shipment.home).err == ""


@pytest.mark.usefixtures("unchanged")
def test_page(shipment, empty):
    done = succeeds("compare", "--html", "page.html", cwd=empty, ships=shipment.ships)
    assert done.err.count("drawing runs/pretrained-") == 4
    text = (empty / "page.html").read_text(encoding="utf-8")
    assert "<h3>pretrained:multiscale</h3>" in text
    assert "1 epoch of 32 images in " in text
    assert "minutes, on two cores" in text


def published_here(ships, tmp_path, name="simple"):
    """What ships, changed to look as if it were of the full preset and of MNIST, with a number in print."""
    copy = shutil.copytree(ships, tmp_path / "ships")
    file = copy / name / "config.json"
    content = json.loads(file.read_text())
    content["model"] |= {"smoke": False, "shape": [28, 28, 1]}
    content["data"] |= {"name": "mnist", "source": "mnist"}
    file.write_text(json.dumps(content))
    return copy


def test_published_results_stand_beside_and_are_not_ranked(shipment, tmp_path, call, monkeypatch):
    folder = published_here(shipment.ships, tmp_path)
    monkeypatch.setattr(pretrained, "pretrained_dir", lambda: folder)
    told = {row["run"]: row for row in call("compare", "--json", cwd=tmp_path).json["rows"]}
    assert told["pretrained:simple"]["published_test_bpd"] == 1.078
    assert told["pretrained:multiscale"]["published_test_bpd"] is None
    lines = call("compare", cwd=tmp_path).out.splitlines()
    (line,) = [line for line in lines if line.startswith("published simple")]
    assert line.split()[2:] == ["1.080", "1.078"]
    assert lines[lines.index(line) - 1].startswith("pretrained:simple")
    assert "another budget" in " ".join(lines)
    assert max(map(len, lines)) <= 80
    table = call("compare", "--format", "tsv", cwd=tmp_path)
    rows = {row["run"]: row for row in csv.DictReader(table.out.splitlines(), delimiter="\t")}
    assert rows.keys() == told.keys()
    for name, published in (("simple", ("1.080", "1.078")), ("multiscale", ("", ""))):
        row = rows[f"pretrained:{name}"]
        assert (row["published val bpd"], row["published test bpd"]) == published
    assert "another budget" in table.err
    done = call("compare", "pretrained:simple", "--html", "page.html", cwd=tmp_path)
    assert done.code == 0
    assert "published simple" in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("ships", "unchanged")
@pytest.mark.parametrize("name", ["pretrained:nothere", "pretrained:", "pretrained:../simple", "pretrained:simple/"])
@pytest.mark.parametrize("command", COMMANDS)
def test_unknown_names(command, name, empty, call):
    done = call(command, name, cwd=empty)
    assert_refused(done, 3)
    assert done.err.splitlines()[1] == "hint: there are: pretrained:multiscale, pretrained:simple"


def test_nothing_ships(empty, nothing_ships, call):
    done = call("sample", "pretrained:simple", cwd=empty)
    assert_refused(done, 3)
    assert "nf train" in done.err
    assert "pretrained" not in call("sample", cwd=empty).err


@pytest.mark.usefixtures("ships")
@pytest.mark.parametrize("command", ["eval", "sample", "interpolate", "inspect-dequant"])
def test_who_has_no_run_is_told_of_those_that_ship(command, empty, call):
    done = call(command, cwd=empty)
    assert_refused(done, 3)
    assert "pretrained:multiscale" in done.err
    done = call(command, "simple", cwd=empty)
    assert_refused(done, 3)
    assert "pretrained:simple" in done.err


@pytest.mark.parametrize(
    "words",
    [
        ("pretrained:simple",),
        ("simple", "--name", "pretrained:mine"),
        ("simple", "--name", "pretrained-multiscale"),
        ("simple", "--name", "pretrained-mixture-conditional"),
    ],
)
def test_what_ships_is_not_trained(words, empty, call):
    before = contents(empty)
    assert_refused(call("train", *words, "--dataset", "tiny.npz", "--smoke", cwd=empty), 2)
    assert contents(empty) == before


@pytest.mark.usefixtures("ships", "unchanged")
def test_its_settings_can_be_trained_again(shipment, empty, call):
    done = call("train", "--config", "pretrained:simple", "--dry-run", "--json", cwd=empty)
    assert done.code == 0, done.err
    settings = json.loads((shipment.ships / "simple/config.json").read_text())["settings"]
    assert (done.json["run"], done.json["settings"]["preset"]) == ("simple", "simple")
    # A later nf may know more settings than a run that ships has.
    told = {name: done.json["settings"][name] for name in settings}
    assert told | {"dataset": "tiny.npz"} == settings
    assert_refused(call("train", "--config", "pretrained:nothere", cwd=empty), 3)


@pytest.mark.usefixtures("ships", "unchanged")
def test_output_among_what_ships_is_refused(shipment, empty, call):
    for place in (shipment.ships / "mine.png", shipment.ships / "simple/figures/mine.png"):
        assert_refused(call("sample", "pretrained:simple", "--output", place, cwd=empty), 2)


def test_damage_is_found_and_the_package_is_to_blame(shipment, empty, tmp_path, call, monkeypatch):
    folder = shutil.copytree(shipment.ships, tmp_path / "ships")
    monkeypatch.setattr(pretrained, "pretrained_dir", lambda: folder)
    weights = (folder / "simple/checkpoints").rglob("d/*")
    max(weights, key=lambda path: path.stat().st_size).write_bytes(b"")
    shutil.rmtree(folder / "simple/per-image")
    for words in (
        ("sample", "pretrained:simple"),
        ("compare", "--paired", "pretrained:simple", "pretrained:multiscale"),
    ):
        done = call(*words, cwd=empty)
        assert_refused(done, 3, warnings=1)
        assert "install the package again" in done.err
