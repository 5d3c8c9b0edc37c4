"""`nf eval` of a class-conditional run: its labels, and images with labels."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from tests.cli.program import assert_refused, succeeds
from tests.sharing import made_once

CLASSES = 3


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """A folder with a class-conditional run `simple` of labelled images. Do not change it."""

    def make(path):
        generator = np.random.default_rng(5)
        arrays = {}
        for split, count in {"train": 48, "val": 16, "test": 12}.items():
            labels = np.arange(count) % CLASSES
            noise = generator.integers(0, 60, (count, 8, 8))
            arrays |= {split: (noise + 60 * labels[:, None, None]).astype(np.uint8), f"{split}_labels": labels}
        np.savez(path / "tiny.npz", **arrays)
        settings = ("--dataset", "tiny.npz", "--conditional", "--smoke", "--batch-size", "16", "--name", "simple")
        succeeds("train", "simple", *settings, "--train-size", "47", "--epochs", "1", "--json", cwd=path)

    path, _ = made_once(tmp_path_factory, "trained-with-labels", make)
    return path


@pytest.fixture
def home(trained, tmp_path):
    """A copy of it, to be changed."""
    copy = shutil.copytree(trained, tmp_path / "copy")
    config = copy / "runs/simple/config.json"
    content = json.loads(config.read_text())
    content["data"]["source"] = str(copy / "tiny.npz")
    config.write_text(json.dumps(content))
    return copy


def results(home):
    return json.loads((home / "runs/simple/results.json").read_text())["evaluations"]


def test_labels_are_asked_for_and_recorded(home, call):
    plain = succeeds("eval", "simple", "--split", "test", "-k", "2", "--json", cwd=home).json
    assert plain["classification"] == {}
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
    assert "bpd of p(x)" in done.out
    assert "expected calibration error, 15 bins" in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize("value", ["x", [], {}, 1, {"bpd": "x"}])
def test_a_classification_of_another_kind_is_refused(value, home, call):
    assert call("eval", "simple", "--limit", "2", "--split", "test", "-k", "1", cwd=home).code == 0
    path = home / "runs/simple/results.json"
    content = json.loads(path.read_text())
    content["evaluations"][0]["classification"] = value
    path.write_text(json.dumps(content))
    assert_refused(call("compare", "simple", cwd=home), 3)


def test_a_run_without_labels_has_none_to_ask_for(measured, call):
    done = call("eval", "simple", "--classify", cwd=measured.path)
    assert_refused(done, 2)
    assert "trained with --conditional" in done.err
