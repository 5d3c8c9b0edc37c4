"""SIGTERM and SIGINT, once and twice; two trainers; reading while training writes."""

from __future__ import annotations

import json
import signal
import time

import pytest

from tests.survival.kills import newest
from tests.survival.processes import Process, assert_same_run, run, train_arguments

LONG = ("--checkpoint-minutes", "60")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)])
def test_a_signal_saves_says_how_to_go_on_and_ends(signum, code, digits, undisturbed, tmp_path):
    arguments = train_arguments(tmp_path, digits, "--eval-every", "1000", *LONG, epochs=100_000)
    process = Process(*arguments)
    assert process.says("epoch 2/")
    process.send(signum)
    assert process.says("stopping after this step")
    assert process.finish() == code
    (stopped,) = [line for line in process.lines if line.startswith("error: stopped after step ")]
    step = int(stopped.split("step ")[1].split()[0])
    assert process.lines[-1] == "hint: the same command continues the run"
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"{step:08d}"]


def test_a_run_stopped_by_a_signal_and_continued_is_the_same(digits, undisturbed, tmp_path):
    arguments = train_arguments(tmp_path, digits, epochs=undisturbed.epochs)
    for _ in range(2):
        process = Process(*arguments)
        process.says("epoch ")
        process.send(signal.SIGTERM)
        assert process.finish() in (143, 0)
    assert run(*arguments).process.returncode == 0
    assert_same_run(undisturbed.path, tmp_path / "run")


def test_a_signal_ends_a_run_at_once_that_has_nothing_to_save(digits, tmp_path):
    # A batch size of its own: no program of it is in the cache.
    process = Process(*train_arguments(tmp_path, digits, "--batch-size", 40))
    assert process.says("compiling")
    time.sleep(0.5)
    start = time.monotonic()
    process.send(signal.SIGTERM)
    assert process.finish() == 143
    assert time.monotonic() - start < 1
    assert process.lines[-1] == "error: terminated"
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_out_of_time_ends_well(digits, undisturbed, tmp_path):
    arguments = train_arguments(tmp_path, digits, epochs=undisturbed.epochs)
    limited = run(*arguments, "--max-minutes", "0.001")
    assert limited.process.returncode == 0
    assert any("the same command continues" in line for line in limited.lines)
    assert run(*arguments).process.returncode == 0
    assert_same_run(undisturbed.path, tmp_path / "run")


def test_one_writer_and_any_number_of_readers(digits, tmp_path):
    arguments = train_arguments(tmp_path, digits, *LONG, epochs=100_000)
    first = Process(*arguments)
    assert first.wait_until(lambda: newest(tmp_path / "run" / "checkpoints") > 0)
    second = run(*arguments)
    assert second.process.returncode == 3
    assert [line for line in second.lines if line.startswith("error: run 'run' is being trained by another process")]
    for reader in (("eval", "run", "-k", "1", "--limit", "8", "--batch-size", "8"), ("sample", "run"), ("compare",)):
        done = run(*reader, "--runs-dir", tmp_path)
        assert done.process.returncode == 0, done.lines
    assert first.process.poll() is None
    first.send(signal.SIGTERM)
    assert first.finish() == 143
    results = json.loads((tmp_path / "run" / "results.json").read_text())
    assert [entry["images"] for entry in results["evaluations"]] == [8, 8]
