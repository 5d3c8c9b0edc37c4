"""One device, several, or several processes: the same numbers, and checkpoints that move between them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nfcli.config import TrainConfig
from nfcli.evaluation.config import EvalConfig
from nfcli.evaluation.evaluate import evaluate
from nfcli.runs import RunDir
from nfcli.runs.results import load_results
from nfcli.training.loop import train
from tests.process.pairs import STEPS, run_pair, settings
from tests.survival.processes import rows


def alone(digits, runs, devices, **more):
    """The run of `settings`, by this process."""
    sizes = {"train_size": 32, "batch_size": 32, "epochs": STEPS, "eval_every": STEPS // 2}
    return TrainConfig("tiny", str(digits), runs_dir=runs, name="run", devices=devices, **sizes, **more)


def assert_same_losses(mine, theirs):
    """Every step's loss and every validation within 1e-5, everything else equal."""
    assert len(mine) == len(theirs) == STEPS
    for left, right in zip(mine, theirs, strict=True):
        assert left.keys() == right.keys()
        for name, value in left.items():
            close = name.endswith(("bpd", "stderr"))
            assert value == (pytest.approx(right[name], abs=1e-5) if close else right[name]), name


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_losses_of_two_processes_are_those_of_one(together, digits, tmp_path, devices):
    assert train(alone(digits, tmp_path, devices)).finished
    assert_same_losses(rows(together.path), rows(tmp_path / "run"))


def test_only_the_first_process_prints(together):
    assert together.err[0]
    assert together.err[1] == []
    assert together.out[1] == ""
    told = json.loads(together.out[0])
    assert told["finished"]
    assert RunDir(together.path).config()["device"] | {"kind": ""} == {
        "platform": "cpu",
        "kind": "",
        "count": 2,
        "processes": 2,
        "onednn": False,
        "remat": False,
        "accumulate": 1,
    }


def test_an_evaluation_by_two_processes_is_that_of_one(together, tmp_path):
    """The last batch is ragged, and 20 is no multiple of what a device would get."""
    run = together.path
    per_image = tmp_path / "both.npz"
    words = ("-k", 3, "--limit", 45, "--batch-size", 20, "--runs-dir", run.parent, "--save-per-image", per_image)
    both = run_pair("eval", "run", *words, "--json")
    told = json.loads(both.out[0])
    assert both.out[1] == ""
    assert both.second.lines == []
    recorded = {entry.split: entry.bpd for entry in load_results(RunDir(run)).evaluations}
    config = EvalConfig("run", run.parent, 3, limit=45, batch_size=48, devices=1, save_per_image=tmp_path / "one.npz")
    one = evaluate(config)
    for split, summary in one.splits.items():
        assert told["splits"][split]["bpd"] == recorded[split] == pytest.approx(summary.bpd, abs=1e-6)
    with np.load(per_image) as mine, np.load(tmp_path / "one.npz") as theirs:
        np.testing.assert_allclose(mine["bpd"], theirs["bpd"], atol=2e-5)
        np.testing.assert_array_equal(mine["index"], theirs["index"])


def test_a_run_moves_between_devices_and_processes(together, digits, tmp_path):
    """4 devices, two processes, 1 device, two processes, 2 devices: each takes over the other's checkpoint."""
    stop = ("--max-minutes", 1e-9)
    pieces = []

    def by_one(devices, **limit):
        pieces.append(train(alone(digits, tmp_path, devices, **limit)).steps)

    def by_two(*more):
        done = run_pair(*settings(digits, tmp_path), *stop, *more, "--json")
        pieces.append(json.loads(done.out[0])["steps"])

    by_one(4, max_minutes=1e-9)
    by_two()
    by_one(1, max_minutes=1e-9)
    by_two("--steps-per-dispatch", 2)
    by_one(2)
    assert pieces == [1, 2, 3, 4, STEPS]
    assert_same_losses(rows(tmp_path / "run"), rows(together.path))
    history = RunDir(tmp_path / "run").config()["continued"]
    assert [(entry["device"]["processes"], entry["device"]["count"]) for entry in history] == [
        (2, 2),
        (1, 1),
        (2, 2),
        (1, 2),
    ]
