"""Runs that differ in the seed alone become one row, and no others do."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nfcli.runs.comparison import compare
from nfcli.runs.seeds import SeedRow, group_seeds
from tests.runs.measured import CONFIG, measured

BPD = 1 + 0.3 * np.random.default_rng(0).standard_normal(50)


@pytest.fixture
def runs(tmp_path):
    """Three seeds of one recipe, better than one of another."""
    for seed, shift in ((1, -0.02), (2, 0.0), (3, 0.02)):
        measured(tmp_path, f"a{seed}", BPD + shift, {"seed": seed})
    measured(tmp_path, "b", BPD + 0.1, {"seed": 1, "learning_rate": 0.1})
    return tmp_path


def grouped(folder):
    return group_seeds(compare([], folder), folder)


def test_one_row_for_three_seeds(runs):
    rows = grouped(runs).rows
    assert all(isinstance(row, SeedRow) for row in rows)
    first, second = rows
    assert (first.run, first.runs, first.seeds) == ("a1 +2", ("a1", "a2", "a3"), (1, 2, 3))
    assert first.test_bpd == pytest.approx(BPD.mean())
    assert first.test_bpd_seed_std == pytest.approx(0.02)
    assert first.test_bpd_stderr == pytest.approx(0.1)
    assert (first.val_bpd, first.val_bpd_seed_std) == (None, None)
    assert (first.images, first.importance_samples, first.inference_ms, first.group) == (50, 8, 1.0, 0)
    assert (second.run, second.seeds, second.test_bpd_seed_std) == ("b", (1,), None)


@pytest.mark.parametrize(
    ("settings", "changes"),
    [
        ({"batch_size": 2}, {}),
        ({"weight_decay": 0.1}, {}),
        ({}, {"importance_samples": 64}),
        ({}, {"split_fingerprint": "e" * 64}),
    ],
)
def test_what_differs_in_more_than_the_seed_stays_apart(runs, settings, changes):
    measured(runs, "a4", BPD, {"seed": 4, **settings}, **changes)
    names = {row.run for row in grouped(runs).rows}
    assert names == {"a1 +2", "a4", "b"}


def test_a_run_that_is_not_finished_is_told(runs):
    measured(runs, "a4", BPD, {"seed": 4}).append_metrics({"epoch": 1, "step": 1})
    measured(runs, "c", BPD, {"seed": 4, "epochs": 3}).append_metrics({"epoch": 2, "step": 2})
    (measured(runs, "d", BPD, {"seed": 5}).path / "metrics.jsonl").write_text("{}\n")
    assert grouped(runs).notes == ("'c' was trained for 2 of its 3 epochs",)


def test_the_same_images_may_have_several_names(runs):
    run = measured(runs, "a4", BPD, {"seed": 4})
    run.write_config({**run.config(), "data": {**run.config()["data"], "name": "emnist"}})
    assert len(compare([], runs).questions) == 1
    assert "a1 +3" in {row.run for row in grouped(runs).rows}


def test_a_setting_that_is_newer_than_a_run_has_its_default(runs):
    measured(runs, "a4", BPD, {"seed": 4, "weight_decay": 0.0, "dataset": "./digits"})
    assert "a1 +3" in {row.run for row in grouped(runs).rows}


def test_the_same_seed_counts_once(runs):
    measured(runs, "again", BPD + 1, {"seed": 2})
    comparison = grouped(runs)
    assert comparison.rows[0].run == "a1 +2"
    assert comparison.notes == ("'again' is left out: it has the seed and the settings of 'a2'",)


def test_runs_that_were_not_measured(runs):
    for seed in (1, 2):
        (runs / f"c{seed}").mkdir()
        content = {"schema_version": 1, **CONFIG, "settings": {**CONFIG["settings"], "seed": seed, "batch_size": 7}}
        (runs / f"c{seed}" / "config.json").write_text(json.dumps(content))
    row = grouped(runs).rows[-1]
    assert (row.run, row.test_bpd, row.group) == ("c1 +1", None, None)


@pytest.mark.parametrize("damage", [None, [], "x"])
def test_a_seed_of_another_kind(runs, damage):
    measured(runs, "d", BPD, {"seed": damage})
    assert grouped(runs).rows[0].seeds == (1, 2, 3, None)
