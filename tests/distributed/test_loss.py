"""A process that dies, hangs or is told to stop: the other one ends too, says why, and the run goes on later."""

from __future__ import annotations

import signal
import time

import pytest

from nfcli.runs import Checkpoints
from tests.distributed.pairs import Pair, run_pair, settings
from tests.survival.processes import assert_same_run, rows

# A checkpoint after every step, and steps enough to be met by a kill.
OFTEN = {"checkpoint-minutes": 1e-6}


def assert_told(process, code=1):
    """Ended with one error and one hint, and nothing of a stack."""
    assert process.process.returncode == code, process.lines
    ends = [line for line in process.lines if line.startswith(("error: ", "hint: "))]
    assert [line.split(": ")[0] for line in ends] == ["error", "hint"], process.lines
    assert "lost contact with another process" in ends[0]
    assert "the same commands" in ends[1]
    assert not [line for line in process.lines if "Traceback" in line or "Fatal" in line], process.lines


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_ends_the_other_and_both_continue(together, digits, tmp_path, victim):
    arguments = settings(digits, tmp_path, **OFTEN)
    pair = Pair(*arguments, NF_LOST_SECONDS="10")
    killed, other = (pair.first, pair.second) if victim == 0 else (pair.second, pair.first)
    checkpoints = Checkpoints(tmp_path / "run" / "checkpoints")
    assert pair.first.wait_until(lambda: len(checkpoints.steps()) >= 2)
    killed.send(signal.SIGKILL)
    start = time.monotonic()
    pair.finish()
    assert time.monotonic() - start < 30
    assert_told(other)
    again = run_pair(*arguments)
    assert [line for line in again.first.lines if line.startswith("continuing run 'run' after step ")]
    assert_same_run(together[1], tmp_path / "run")


@pytest.mark.parametrize("frozen", [0, 1])
def test_a_frozen_process_is_not_waited_for(digits, tmp_path, frozen):
    pair = Pair(*settings(digits, tmp_path, epochs=100_000), NF_LOST_SECONDS="5")
    stopped, other = (pair.first, pair.second) if frozen == 0 else (pair.second, pair.first)
    assert pair.first.says("epoch 2/")
    stopped.send(signal.SIGSTOP)
    start = time.monotonic()
    other.finish()
    assert time.monotonic() - start < 25
    stopped.send(signal.SIGKILL)
    pair.finish()
    assert_told(other)


def test_a_signal_to_one_stops_both_after_saving(together, digits, tmp_path):
    arguments = settings(digits, tmp_path, name="run")
    pair = Pair(*arguments[:-2], "--epochs", 100_000)
    assert pair.first.says("epoch 2/")
    pair.second.send(signal.SIGTERM)
    assert pair.finish() == (143, 143)
    (stopped,) = [line for line in pair.first.lines if line.startswith("error: stopped after step ")]
    assert pair.second.lines == pair.first.lines[-2:] == [stopped, "hint: the same command continues the run"]
    step = int(stopped.split("step ")[1].split()[0])
    assert max(Checkpoints(tmp_path / "run" / "checkpoints").steps()) == step
    assert [row["step"] for row in rows(tmp_path / "run")] == list(range(1, step + 1))
