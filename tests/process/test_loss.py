"""A process that dies, hangs or is told to stop: the other one ends too, says why, and the run goes on later."""

from __future__ import annotations

import signal
import time

import pytest

from nfcli.runs import Checkpoints
from tests.process.pairs import LONG, Pair, run_pair, settings
from tests.survival.processes import assert_same_run, rows


def assert_told(process):
    """Ended with one error and one hint, and nothing of a stack."""
    assert process.process.returncode == 1, process.lines
    ends = [line for line in process.lines if line.startswith(("error: ", "hint: "))]
    assert [line.split(": ")[0] for line in ends] == ["error", "hint"], process.lines
    assert "lost contact with another process" in ends[0]
    assert "start all of them again" in ends[1]
    assert not [line for line in process.lines if "Traceback" in line or "Fatal" in line], process.lines


VICTIMS = [(0, signal.SIGKILL), (1, signal.SIGSTOP)]


@pytest.fixture(scope="module")
def bereaved(digits, tmp_path_factory):
    """Pairs of which one process was lost, all at the same time: noticing takes long, and is nothing but waiting."""
    pairs = []
    try:
        for _ in VICTIMS:
            words = settings(digits, tmp_path_factory.mktemp("runs"), epochs=100_000)
            pairs.append(Pair(*words, NF_LOST_SECONDS="5"))
        for pair in pairs:
            pair.trains()
        start = time.monotonic()
        for (victim, signum), pair in zip(VICTIMS, pairs, strict=True):
            (pair.first, pair.second)[victim].send(signum)
        yield pairs, start
    finally:
        for pair in pairs:
            pair.kill()


@pytest.mark.parametrize(("victim", "signum"), VICTIMS)
def test_a_process_that_dies_or_freezes_ends_the_other(bereaved, victim, signum):
    pairs, start = bereaved
    pair = pairs[VICTIMS.index((victim, signum))]
    lost, other = (pair.first, pair.second) if victim == 0 else (pair.second, pair.first)
    other.finish(LONG)
    assert time.monotonic() - start < 30
    lost.send(signal.SIGKILL)
    pair.finish()
    assert_told(other)


def test_a_killed_run_continues_with_the_same_commands(together, digits, tmp_path):
    arguments = settings(digits, tmp_path)
    pair = Pair(*arguments, "--checkpoint-minutes", 1e-6, NF_LOST_SECONDS="5")
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    pair.wait_until(lambda: len(checkpoints.steps()) >= 2)
    pair.second.send(signal.SIGKILL)
    assert pair.finish() == (1, -signal.SIGKILL)
    assert_told(pair.first)
    again = run_pair(*arguments)
    assert [line for line in again.first.lines if line.startswith("continuing run 'run' after step ")]
    assert_same_run(together.path, tmp_path / "run")


def test_a_signal_to_one_stops_both_after_saving(digits, tmp_path):
    pair = Pair(*settings(digits, tmp_path, epochs=100_000))
    pair.trains()
    pair.second.send(signal.SIGTERM)
    assert pair.finish() == (143, 143)
    (stopped,) = [line for line in pair.first.lines if line.startswith("error: stopped after step ")]
    assert pair.second.lines == pair.first.lines[-2:] == [stopped, "hint: the same command continues the run"]
    step = int(stopped.split("step ")[1].split()[0])
    assert max(Checkpoints(tmp_path / "run" / "checkpoints").steps()) == step
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, step + 1))


def test_no_process_begins_a_run_that_the_other_has_no_time_for(digits, tmp_path):
    words = settings(digits, tmp_path, epochs=1)
    pair = Pair(*words, "--seeds", "1,2", last=("--max-minutes", 1e-9), NF_LOST_SECONDS="5")
    assert pair.finish() == (0, 0), (pair.first.lines, pair.second.lines)
    assert [path.name for path in tmp_path.iterdir()] == ["run-seed1"]
