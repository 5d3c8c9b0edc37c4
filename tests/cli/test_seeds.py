"""`nf train --seeds`: one run after the other, and the same command again."""

from __future__ import annotations

import json
from statistics import mean, stdev

import pytest

from nfcli.errors import DivergedError
from nfcli.training import loop
from tests.cli.conftest import SETTINGS
from tests.cli.program import assert_refused, contents, succeeds

WORDS = ("train", "simple", *SETTINGS, "--epochs", "1", "--name", "a")


@pytest.mark.parametrize("seeds", ["", "x", "1,", "1,1", "1,01", "-1", "1.5", "4294967296", "9" * 5000])
def test_lists_that_are_none_are_refused(seeds, workshop, call):
    assert_refused(call(*WORDS, "--dry-run", "--seeds", seeds, cwd=workshop.path), 2)


def test_one_seed_besides_is_refused(workshop, call):
    done = call(*WORDS, "--dry-run", "--seeds", "1,2", "--seed", "3", cwd=workshop.path)
    assert_refused(done, 2)
    assert "--seed and --seeds exclude each other" in done.err


def test_a_dry_run_tells_all(workshop, call):
    done = call(*WORDS, "--dry-run", "--seeds", "1,2", "--json", cwd=workshop.path)
    assert done.code == 0, done.err
    told = json.loads(done.out)
    assert [(each["run"], each["settings"]["seed"]) for each in told] == [("a-seed1", 1), ("a-seed2", 2)]


def test_a_run_a_seed_and_the_same_command_again(workshop, tmp_path, call):
    home = workshop.copy(tmp_path / "copy")
    told = json.loads(succeeds(*WORDS, "--seeds", "1,2", "--json", cwd=home).out)
    assert [(each["run"], each["finished"]) for each in told] == [("a-seed1", True), ("a-seed2", True)]
    bounds = [each["best_val_bpd"] for each in told]
    assert bounds[0] != bounds[1]
    assert json.loads((home / "runs/a-seed2/config.json").read_text())["settings"]["seed"] == 2
    before = contents(home / "runs")
    done = call(*WORDS, "--seeds", "1,2", cwd=home)
    assert done.code == 0, done.err
    assert done.err.count("is finished") == 2
    assert "hint: nf eval a-seed1 --split test --limit 500 measures one of them" in done.err
    assert f"{mean(bounds):.4f} bpd, std over 2 seeds {stdev(bounds):.4f}" in done.out
    assert max(map(len, done.out.splitlines())) <= 80
    assert contents(home / "runs") == before


def test_time_is_that_of_all(workshop, tmp_path, call):
    home = workshop.copy(tmp_path / "copy")
    done = call(*WORDS, "--seeds", "1,2", "--max-minutes", "1e-9", "--json", cwd=home)
    assert done.code == 0, done.err
    assert [(each["run"], each["finished"]) for each in json.loads(done.out)] == [("a-seed1", False)]
    assert not (home / "runs/a-seed2").exists()


def test_one_that_diverges_does_not_keep_the_others(workshop, tmp_path, call, monkeypatch):
    home = workshop.copy(tmp_path / "copy")
    train = loop.train

    def diverges_with_one(config, reporter):
        if config.seed == 1:
            raise DivergedError("training diverged at step 3", hint="try a smaller --learning-rate")
        return train(config, reporter)

    monkeypatch.setattr(loop, "train", diverges_with_one)
    done = call(*WORDS, "--seeds", "1,2", "--json", cwd=home)
    assert done.code == 1
    assert [each["run"] for each in json.loads(done.out)] == ["a-seed2"]
    assert "warning: seed 1: training diverged at step 3\n" in done.err
    assert done.err.splitlines()[-2] == "error: training diverged with 1 of 2 seeds"
