"""SIGKILL at random moments, also in the middle of a checkpoint: nothing changes."""

from __future__ import annotations

from tests.survival.kills import kill_often
from tests.survival.processes import assert_same_run, run, train_arguments


def test_twenty_kills_change_nothing(digits, undisturbed, tmp_path):
    arguments = train_arguments(tmp_path, digits, epochs=undisturbed.epochs)
    killed = kill_often(arguments, tmp_path / "run", kills=20, seed=1, longest_wait=0.1)
    assert killed.while_saving >= 3
    assert len(killed.continued_after) >= 5
    assert killed.continued_after == sorted(killed.continued_after)
    assert_same_run(undisturbed.path, tmp_path / "run")
    left = [path.name for path in (tmp_path / "run").rglob("*") if path.name.startswith((".saving-", ".metrics"))]
    assert not left


def test_a_finished_run_stays_finished(digits, undisturbed):
    again = run(*train_arguments(undisturbed.path.parent, digits, epochs=undisturbed.epochs))
    assert again.process.returncode == 0
    assert any("is finished" in line for line in again.lines)
