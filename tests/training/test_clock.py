"""How long a training says that it still takes."""

from __future__ import annotations

import pytest

from nfcli.config import TrainConfig
from nfcli.runs.checkpoints import CheckpointMeta
from nfcli.training import clock as clock_module
from nfcli.training.clock import Clock


@pytest.fixture
def now(monkeypatch):
    """The seconds that the clock reads, which a test sets."""
    seconds = [1000.0]
    monkeypatch.setattr(clock_module.time, "monotonic", lambda: seconds[0])
    return seconds


def seconds_left(now, *, start, step, compiling=30.0, steps=0.0, validating=0.0, **before):
    """Of 10 epochs of 100 steps, begun after `start` and now at `step`."""
    clock = Clock(CheckpointMeta(step=start, steps_per_epoch=100, **before), TrainConfig("simple", epochs=10), now[0])
    now[0] += compiling
    clock.begin(start)
    now[0] += steps
    clock.pause()
    now[0] += validating
    return clock.progress(CheckpointMeta(step=step, steps_per_epoch=100), loss=1.0).seconds_left


def test_a_first_process_counts_its_own_steps_without_compiling(now):
    assert seconds_left(now, start=0, step=50, steps=50.0) == pytest.approx(950.0)


def test_a_long_validation_after_few_steps_of_a_continued_run_says_little(now):
    left = seconds_left(now, start=99, step=100, steps=1.0, validating=60.0, seconds=109.0)
    assert left == pytest.approx((109 + 30 + 61) / 100 * 900)


def test_a_continued_run_without_a_step_yet_goes_by_what_it_took_before(now):
    assert seconds_left(now, start=500, step=500, compiling=0.0, seconds=1000.0) == pytest.approx(1000.0)


def test_after_an_epoch_a_continued_run_goes_by_its_own_pace(now):
    assert seconds_left(now, start=100, step=300, steps=20.0, seconds=9000.0) == pytest.approx(70.0)


def test_minutes_are_counted_from_before_images_were_loaded(now):
    clock = Clock(CheckpointMeta(step=0, steps_per_epoch=100), TrainConfig("simple", max_minutes=2), now[0] - 100)
    assert not clock.out_of_time()
    now[0] += 21
    assert clock.out_of_time()
