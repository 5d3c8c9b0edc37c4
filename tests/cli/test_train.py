"""`nf train`: what it prints and writes, and what the same command does to a run that is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from nfcli.cli.outcome import in_words
from nfcli.config import TrainConfig
from nfcli.training.reporter import TrainResult
from nfcli.training.setup import data_in_words, prepare_job
from tests.cli.conftest import SETTINGS, write_images
from tests.cli.program import ESCAPE, assert_refused, contents, succeeds

KEYS = {"run", "preset", "parameters", "epochs", "steps", "best_val_bpd", "images_per_second", "seconds"}


@pytest.mark.parametrize(("steps", "said"), [(0, "(0 steps)"), (1, "(1 step)"), (1200, "(1,200 steps)")])
def test_one_step_is_no_steps(steps, said):
    assert said in in_words([TrainResult("a", "runs/a", "simple", 1, 0, steps, None, None, None, 1.0, False)])


@pytest.mark.parametrize("preset", ["simple", "multiscale"])
def test_json_tells_the_result(preset, workshop):
    told = workshop.told[preset].json
    assert told.keys() >= KEYS
    assert (told["run"], told["preset"], told["epochs"], told["steps"]) == (preset, preset, 1, 2)
    assert 0 < told["best_val_bpd"] < 20
    assert told["images_per_second"] > 0


def test_progress_goes_to_stderr_as_plain_lines(workshop):
    err = workshop.told["simple"].err
    assert [line for line in err.splitlines() if line.startswith("epoch 1/1")]
    assert "\r" not in err
    assert not ESCAPE.search(err)


def test_the_run_directory_is_complete(workshop):
    run = workshop.runs / "simple"
    config = json.loads((run / "config.json").read_text())
    assert config["settings"]["epochs"] == 1
    assert config["model"]["parameters"] == workshop.told["simple"].json["parameters"]
    (row,) = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert row["val_bpd"] == workshop.told["simple"].json["best_val_bpd"]
    assert [path.name for path in (run / "checkpoints").iterdir()] == ["00000002"]


@pytest.mark.parametrize(
    ("preset", "parameters"), [("simple", 556_312), ("vardeq", 628_388), ("multiscale", 1_711_818)]
)
def test_dry_run_counts_parameters_and_writes_nothing(preset, parameters, tmp_path):
    told = succeeds("train", preset, "--dry-run", "--json", cwd=tmp_path).json
    assert told["parameters"] == parameters
    assert told["steps"] == 200 * (50_000 // 128)
    assert not contents(tmp_path)


def test_smoke_takes_what_there_is_unless_more_is_asked_for(tmp_path, call):
    write_images(tmp_path / "few.npz", train=20, val=4, test=4)
    words = ("train", "simple", "--dataset", "few.npz", "--smoke", "--dry-run", "--json")
    told = call(*words, cwd=tmp_path).json
    wanted = {"train_size": 20, "val_size": 4, "batch_size": 16}
    assert {name: told["settings"][name] for name in wanted} == wanted
    assert told["steps"] == 2
    for option in ("--train-size", "--batch-size"):
        assert_refused(call(*words, option, "21", cwd=tmp_path), 2)
    assert_refused(call(*words, "--val-size", "5", cwd=tmp_path), 2)


def test_a_dry_run_names_the_sides_of_an_image(tmp_path, call):
    np.savez(tmp_path / "a.npz", images=np.zeros((40, 12, 8, 3), np.uint8))
    done = call("train", "simple", "--dry-run", "--batch-size", "8", "--dataset", "a.npz", cwd=tmp_path)
    assert "shape  " in done.out
    assert "  12 x 8 x 3 (height x width x channels)\n" in done.out


def test_control_characters_of_a_path_are_escaped(tmp_path, call):
    images = write_images(tmp_path / "nl\nx\x1b[31mred.npz")
    done = call("train", "simple", "--dry-run", "--batch-size", "8", "--dataset", images, cwd=tmp_path)
    assert done.code == 0, done.err
    described = data_in_words(prepare_job(TrainConfig(preset="simple", dataset=str(images), batch_size=8)))
    for text in (done.out, described):
        assert not ESCAPE.search(text)
        assert r"nl\nx\x1b[31mred.npz" in text


def test_how_many_of_the_images_are_used_is_said(digits):
    config = TrainConfig(preset="simple", dataset=str(digits), batch_size=8, train_size=80, val_size=48)
    lines = data_in_words(prepare_job(config)).splitlines()[1:]
    assert lines == ["      80 of 160 train, 48 val, 48 test images", "      of 8x8x1, 256 levels"]


def test_an_impossible_name_is_refused_before_data_are_loaded(tmp_path, call):
    done = call("train", "simple", "--dataset", "nowhere.npz", "--name", "a/b", cwd=tmp_path)
    assert_refused(done, 2)
    assert "'a/b' is no run name" in done.err


def test_a_finished_run_is_left_alone(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    before = contents(home)
    done = succeeds("train", "simple", *SETTINGS, "--epochs", "1", "--name", "simple", "--json", cwd=home)
    assert "is finished" in done.err
    assert done.json == workshop.told["simple"].json
    assert contents(home) == before


def test_more_epochs_extend_a_run_and_quiet_is_quiet(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    first = (home / "runs/simple/metrics.jsonl").read_text()
    done = succeeds("train", "simple", *SETTINGS, "--epochs", "2", "--name", "simple", "--json", "-q", cwd=home)
    assert done.err == ""
    assert (done.json["epochs"], done.json["steps"]) == (2, 4)
    metrics = (home / "runs/simple/metrics.jsonl").read_text()
    assert metrics.startswith(first)
    assert [json.loads(line)["epoch"] for line in metrics.splitlines()] == [1, 2]
    curve = home / "runs/simple/figures/learning-curve.png"
    Image.open(curve).verify()
    drawn = curve.stat().st_mtime_ns
    succeeds("train", "simple", *SETTINGS, "--epochs", "2", "--name", "simple", cwd=home)
    assert curve.stat().st_mtime_ns == drawn
    assert json.loads((home / "runs/simple/config.json").read_text())["settings"]["epochs"] == 2


def test_overwrite_starts_again(measured, tmp_path):
    home = measured.copy(tmp_path / "copy")
    assert (home / "runs/simple/results.json").exists()
    settings = (*SETTINGS, "--epochs", "1", "--name", "simple", "--overwrite", "--seed", "43")
    done = succeeds("train", "simple", *settings, cwd=home)
    assert "deleting the earlier run" in done.err
    assert "parameters" in done.out
    config = json.loads((home / "runs/simple/config.json").read_text())
    assert config["settings"]["seed"] == 43
    assert not (home / "runs/simple/results.json").exists()
    assert len((home / "runs/simple/metrics.jsonl").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    "changed",
    [
        ("--seed", "1"),
        ("--learning-rate", "0.1"),
        ("--batch-size", "8"),
        ("--train-size", "48"),
        ("--dataset", "mnist"),
        ("--eval-every", "3"),
    ],
    ids=lambda changed: changed[0],
)
def test_other_settings_are_refused(changed, workshop, call):
    before = contents(workshop.path)
    done = call("train", "simple", *SETTINGS, "--epochs", "1", "--name", "simple", *changed, cwd=workshop.path)
    assert_refused(done, 2)
    assert changed[0] in done.err or "other images than mnist" in done.err
    assert "--overwrite" in done.err
    assert contents(workshop.path) == before


def test_fewer_epochs_and_another_preset_are_refused(workshop, call):
    before = contents(workshop.path)
    done = call("train", "vardeq", *SETTINGS, "--epochs", "1", "--name", "simple", cwd=workshop.path)
    assert_refused(done, 2)
    assert "vardeq" in done.err
    assert contents(workshop.path) == before


def test_out_of_time_ends_well_and_says_how_to_go_on(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    settings = (*SETTINGS, "--epochs", "50", "--name", "simple", "--max-minutes", "0.0001")
    done = succeeds("train", "simple", *settings, cwd=home)
    assert "the same command continues" in done.err
    last = max(int(path.name) for path in (home / "runs/simple/checkpoints").iterdir())
    assert 2 < last < 100


def test_other_images_than_before_are_refused(workshop, tmp_path, call):
    home = workshop.copy(tmp_path / "copy")
    images = (home / "tiny.npz").read_bytes()
    before = contents(home / "runs")
    write_images(home / "tiny.npz", train=48, val=16, test=15)
    assert (home / "tiny.npz").read_bytes() != images
    assert_refused(call("train", "simple", *SETTINGS, "--epochs", "1", "--name", "simple", cwd=home), 2)
    assert_refused(call("eval", "simple", cwd=home), 3)
    assert contents(home / "runs") == before


def test_a_dry_run_refuses_what_training_would(workshop, call):
    words = ("train", "simple", *SETTINGS, "--epochs", "1", "--name", "simple", "--dry-run", "--learning-rate", "0.1")
    done = call(*words, cwd=workshop.path)
    assert_refused(done, 2)
    assert "--learning-rate" in done.err
    assert call(*words, "--overwrite", cwd=workshop.path).code == 0


def test_a_file_of_settings_brings_its_images_and_how_memory_is_saved(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    path = home / "runs/simple/config.json"
    known = json.loads(path.read_text())
    path.write_text(json.dumps({**known, "device": {**known["device"], "remat": True, "accumulate": 2}}))
    words = ("train", "--config", path, "--name", "again", "--dry-run", "--json")
    told = succeeds(*words, cwd=home, NF_DATASET="mnist").json
    assert (told["device"]["remat"], told["device"]["accumulate"]) == (True, 2)
    assert told["data"]["fingerprint"] == known["data"]["fingerprint"]
