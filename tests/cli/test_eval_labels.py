"""`nf eval` of a class-conditional run: its labels, and images with labels."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from nfcli.cli.app import run
from nfcli.drawing.grid import image_grid
from nfcli.evaluation.latents import decode_file
from nfcli.runs import find_run
from nfcli.runs.restore import restore
from tests.cli.program import assert_refused
from tests.runs.untrained import untrained

CLASSES = 3


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a class-conditional run `simple` of labelled images. Do not change it."""
    path, generator, arrays = tmp_path_factory.mktemp("labels"), np.random.default_rng(5), {}
    for split, count in {"train": 48, "val": 16, "test": 12}.items():
        arrays[split] = generator.integers(0, 256, (count, 8, 8), np.uint8)
        arrays[f"{split}_labels"] = np.arange(count) % CLASSES
    np.savez(path / "tiny.npz", **arrays)
    untrained(path, "simple", "tiny.npz", conditional=True, train_size=47)
    return path


def copied(made, to):
    copy = shutil.copytree(made, to)
    config = copy / "runs/simple/config.json"
    content = json.loads(config.read_text())
    content["data"]["source"] = str(copy / "tiny.npz")
    config.write_text(json.dumps(content))
    return copy


@pytest.fixture
def home(made, tmp_path):
    """A copy of it, to be changed."""
    return copied(made, tmp_path / "copy")


@pytest.fixture(scope="module")
def measured_once(made, tmp_path_factory):
    """What results.json says after `nf eval`."""
    home = copied(made, tmp_path_factory.mktemp("measured") / "copy")
    words = ("eval", "simple", "--limit", "2", "--split", "test", "-k", "1", "--runs-dir", home / "runs")
    assert run([*map(str, words)]) == 0
    return json.loads((home / "runs/simple/results.json").read_text())


def results(home):
    return json.loads((home / "runs/simple/results.json").read_text())["evaluations"]


def test_labels_are_asked_for_and_recorded(home, call):
    plain = call("eval", "simple", "--split", "test", "-k", "2", "--json", cwd=home).json
    assert (plain["conditional"], plain["classification"]) == (True, {})
    settings = ("eval", "simple", "--split", "test", "-k", "2", "--classify")
    told = call(*settings, "--save-per-image", "each.csv", "--json", cwd=home).json
    assert told["splits"]["test"] == pytest.approx(plain["splits"]["test"], rel=1e-6)
    said = told["classification"]["test"]
    assert (said["calibration_bins"], said["label_prior"]) == (15, "shares of the training images")
    (recorded,) = results(home)
    assert recorded["classification"] == said
    with (home / "each.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    right = [row["label"] == row["predicted"] for row in rows]
    assert said["accuracy"] == np.mean(right)
    assert said["bpd"] == pytest.approx(np.mean([float(row["marginal_bpd"]) for row in rows]))
    probability = np.array([float(row["label_probability"]) for row in rows])
    # p(x) = p(x | y) p(y) / p(y | x), of 47 training images, 16, 16 and 15 of a label.
    shares = np.array([16, 16, 15])[[int(row["label"]) for row in rows]] / 47
    log_prob = np.array([float(row["log_prob"]) for row in rows]) + np.log(shares) - np.log(probability)
    assert said["bpd"] == pytest.approx(np.mean(-log_prob / (64 * np.log(2))))
    # A later measurement of the same, without the labels, keeps what was said of them.
    assert call("eval", "simple", "--split", "test", "-k", "2", cwd=home).code == 0
    assert results(home)[0]["classification"] == said


def test_a_table_that_fits_the_terminal(home, call):
    done = call("eval", "simple", "--limit", "5", "-k", "1", "--classify", cwd=home)
    assert done.code == 0
    assert "p(x | label): each image is given its label\n" in done.err
    assert "bpd of p(x)" in done.out
    assert "expected calibration error, 15 bins" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("value", ["x", [], {}, 1, {"bpd": "x"}])
def test_a_classification_of_another_kind_is_refused(value, measured_once, home, call):
    (evaluation,) = measured_once["evaluations"]
    content = {**measured_once, "evaluations": [{**evaluation, "classification": value}]}
    (home / "runs/simple/results.json").write_text(json.dumps(content))
    assert_refused(call("compare", "simple", cwd=home), 3)


def test_a_run_without_labels_has_none_to_ask_for(home, call):
    untrained(home, "multiscale", "tiny.npz")
    plain = call("eval", "multiscale", "--limit", "2", "--split", "test", "-k", "1", cwd=home)
    assert "label" not in plain.err
    done = call("eval", "multiscale", "--classify", cwd=home)
    assert_refused(done, 2)
    assert "trained with --conditional" in done.err


@pytest.fixture
def mine(home):
    """A few images in several forms: with labels, without, in folders named by label."""
    with np.load(home / "tiny.npz") as arrays:
        images, labels = arrays["test"][:5], arrays["test_labels"][:5]
    np.savez(home / "labelled.npz", images=images, labels=labels)
    np.savez(home / "alone.npz", images=images)
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        folder = home / "folder" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index}.png")
    return images, labels


def test_images_come_with_labels_or_are_given_one(mine, home, call):
    _, labels = mine
    settings = ("eval", "simple", "-k", "2", "--json", "--images")
    told = call(*settings, "labelled.npz", cwd=home).json["images"]
    assert [image["label"] for image in told] == labels.tolist()
    assert all(image["bpd"] > 0 and image["predicted"] is None for image in told)
    in_folders = call(*settings, "folder", cwd=home).json["images"]
    assert [image["label"] for image in in_folders] == sorted(labels)
    given = call(*settings, "labelled.npz", "--label", "1", cwd=home).json["images"]
    assert {image["label"] for image in given} == {1}
    for mine_, theirs in zip(given, told, strict=True):
        assert (mine_["bpd"] == pytest.approx(theirs["bpd"], rel=1e-6)) is (theirs["label"] == 1)
    asked = call(*settings, "alone.npz", "--classify", cwd=home)
    assert asked.json["classification"]["accuracy"] is None
    assert [image["bpd"] for image in asked.json["images"]] == [None] * 5
    known = call(*settings, "labelled.npz", "--classify", cwd=home).json
    assert known["classification"]["bpd"] == pytest.approx(asked.json["classification"]["bpd"])
    right = [image["predicted"] == image["label"] for image in known["images"]]
    assert known["classification"]["accuracy"] == np.mean(right)
    table = call("eval", "simple", "-k", "2", "--images", "labelled.npz", "--classify", cwd=home).out
    assert "predicted" in table
    assert f"\nmean of 5: {known['bpd']:.4f} ± " in table
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--images", "alone.npz"), "has no labels"),
        (("--images", "alone.npz", "--label", "3"), "knows no label 3"),
        (("--images", "alone.npz", "--classify", "--save-latents", "z.npz"), "has no labels"),
        (("--label", "1"), "--label is for your own images"),
        (("--save-latents", "z.npz"), "--save-latents is for your own images"),
        (("--images", "labelled.npz", "--save-latents", "z.npy"), "is not .npz"),
        (("--images", "labelled.npz", "--save-latents", "labelled.npz"), "would replace the images"),
        (("--images", "labelled.npz", "--save-latents", "a.npz", "--save-per-image", "a.npz"), "the same file"),
    ],
)
@pytest.mark.usefixtures("mine")
def test_what_cannot_be_asked(options, words, home, call):
    done = call("eval", "simple", *options, cwd=home)
    assert_refused(done, 2)
    assert words in done.err
    assert not (home / "z.npz").exists()


def test_latents_of_labelled_images_come_back(mine, home, call):
    images, labels = mine
    done = call("eval", "simple", "-k", "1", "--images", "labelled.npz", "--save-latents", "z.npz", cwd=home)
    assert "warning" not in done.err
    with np.load(home / "z.npz") as content:
        assert content["label"].tolist() == labels.tolist()
        assert content["name"].tolist() == [f"labelled.npz[{index}]" for index in range(5)]
    drawn = call("sample", "simple", "--from-latents", "z.npz", "-o", "again.png", "--json", cwd=home).json
    assert (drawn["num"], drawn["labels"]) == (5, labels.tolist())
    again, _ = decode_file(restore(find_run("simple", home / "runs")), home / "z.npz")
    np.testing.assert_array_equal(again[..., 0], images)
    want = image_grid(images[..., None], columns=3)
    np.testing.assert_array_equal(np.asarray(Image.open(home / "again.png")), want[..., 0])


def test_what_was_said_of_labels_is_compared(home, call):
    call("eval", "simple", "--split", "test", "-k", "2", "--classify", cwd=home)
    done = call("compare", cwd=home)
    assert "bpd of p(x)" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    (row,) = call("compare", "--json", cwd=home).json["rows"]
    said = results(home)[0]["classification"]
    assert (row["marginal_bpd"], row["accuracy"]) == (said["bpd"], said["accuracy"])
    (line,) = csv.DictReader(call("compare", "--format", "csv", cwd=home).out.splitlines())
    assert (line["test bpd of p(x)"], line["accuracy"]) == (f"{said['bpd']:.4f}", f"{said['accuracy']:.4f}")


def test_p_of_x_stands_against_a_run_that_knows_no_labels(home, call):
    untrained(home, "vardeq", "tiny.npz", train_size=47)
    call("eval", "vardeq", "--split", "test", "-k", "2", cwd=home)
    call("eval", "simple", "--split", "test", "-k", "2", cwd=home)
    refused = call("compare", "--paired", "vardeq", "simple", cwd=home)
    assert_refused(refused, 2)
    assert "nf eval simple --split test --classify -k 2" in refused.err
    call("eval", "simple", "--split", "test", "-k", "2", "--classify", cwd=home)
    told = call("compare", "--paired", "vardeq", "simple", "--json", cwd=home).json
    means = {row["run"]: row for row in call("compare", "--json", cwd=home).json["rows"]}
    assert told["difference_bpd"] == pytest.approx(means["vardeq"]["test_bpd"] - means["simple"]["marginal_bpd"])
    assert told["summed_over_labels"] == "simple"
    call("eval", "simple", "--split", "test", "-k", "2", cwd=home)  # and the numbers of images are those without
    assert_refused(call("compare", "--paired", "vardeq", "simple", cwd=home), 2)
