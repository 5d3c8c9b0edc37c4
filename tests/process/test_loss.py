"""A process that dies, hangs or is told to stop: the other one ends too, says why, and the run goes on later."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True)
class Bereaved:
    """Pairs of which one process was lost.

    Attributes:
        endless: For each of `VICTIMS`.
        killed: The pair of a run that has an end, by SIGKILL to the second process after two checkpoints.
        words: Its command line.
        run: Its run.
        since: When the first of those of `endless` was lost.
    """

    endless: list[Pair]
    killed: Pair
    words: Sequence[Any]
    run: Path
    since: float


@pytest.fixture(scope="module")
def bereaved(digits, tmp_path_factory):
    """All at the same time: noticing takes long, and is nothing but waiting."""
    folder, pairs = tmp_path_factory.mktemp("runs"), []
    words = settings(digits, folder / "killed")
    checkpoints = Checkpoints(folder / "killed/run/checkpoints")
    try:
        killed = Pair(*words, "--checkpoint-minutes", 1e-6, NF_LOST_SECONDS="5")
        pairs.append(killed)
        for number, _ in enumerate(VICTIMS):
            pairs.append(Pair(*settings(digits, folder / f"{number}", epochs=100_000), NF_LOST_SECONDS="5"))
        killed.wait_until(lambda: len(checkpoints.steps()) >= 2)
        killed.second.send(signal.SIGKILL)
        for pair in pairs[1:]:
            pair.trains()
        since = time.monotonic()
        for (victim, signum), pair in zip(VICTIMS, pairs[1:], strict=True):
            (pair.first, pair.second)[victim].send(signum)
        yield Bereaved(pairs[1:], killed, words, folder / "killed/run", since)
    finally:
        for pair in pairs:
            pair.kill()


@pytest.mark.parametrize(("victim", "signum"), VICTIMS)
def test_a_process_that_dies_or_freezes_ends_the_other(bereaved, victim, signum):
    pair = bereaved.endless[VICTIMS.index((victim, signum))]
    lost, other = (pair.first, pair.second) if victim == 0 else (pair.second, pair.first)
    other.finish(LONG)
    assert time.monotonic() - bereaved.since < 30
    lost.send(signal.SIGKILL)
    pair.finish()
    assert_told(other)


def test_a_killed_run_continues_with_the_same_commands(together, bereaved):
    assert bereaved.killed.finish() == (1, -signal.SIGKILL)
    assert_told(bereaved.killed.first)
    again = run_pair(*bereaved.words)
    assert [line for line in again.first.lines if line.startswith("continuing run 'run' after step ")]
    assert_same_run(together.path, bereaved.run)


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
