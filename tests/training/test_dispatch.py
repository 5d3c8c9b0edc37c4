"""Many steps a dispatch: the same run as one by one, however it is cut."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from nfcli.config import TrainConfig
from nfcli.errors import UsageError
from nfcli.limits import LARGEST
from nfcli.training.dispatch import ManyAtOnce, OneByOne, make_dispatch
from nfcli.training.loop import train
from nfcli.training.setup import prepare_job
from nfcli.training.step import News, State, TrainStep
from tests.training.test_loop import Crash, CrashAt, assert_same_state, final_state, rows

Configure = Callable[..., TrainConfig]


def test_many_at_once_is_the_same(configure: Configure) -> None:
    """5 steps an epoch: whole epochs at once, in pieces of 2, 2 and 1, and one by one, the same within rounding.

    Bit for bit where a run is cut off within an epoch and goes on from there.
    """
    train(configure(name="single", steps_per_dispatch=1))
    single = rows(configure(name="single"))
    for per_dispatch in (50, 2):
        whole = configure(name=f"by-{per_dispatch}", steps_per_dispatch=per_dispatch)
        train(whole)
        for mine, theirs in zip(rows(whole), single, strict=True):
            assert mine["train_bpd"] == pytest.approx(theirs["train_bpd"], abs=1e-5)
            assert mine["val_bpd"] == pytest.approx(theirs["val_bpd"], abs=1e-4)
    config = configure(steps_per_dispatch=2, checkpoint_minutes=1e-9)
    assert train(replace(config, max_minutes=1e-9)).steps == 2
    with pytest.raises(Crash):
        train(config, CrashAt(7))
    assert train(config).finished
    assert rows(config) == rows(whole)
    assert_same_state(final_state(config), final_state(whole))


def test_on_cpu_steps_go_one_by_one(configure: Configure) -> None:
    job = prepare_job(configure())
    step = TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh, job.policy)
    assert isinstance(make_dispatch(step, job.examples, None), OneByOne)
    assert isinstance(make_dispatch(step, job.examples, 4), ManyAtOnce)


def test_no_more_than_an_epoch_is_asked_for_at_a_time(configure: Configure) -> None:
    job = prepare_job(configure())
    step = TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh)
    assert make_dispatch(step, job.examples, LARGEST).per_dispatch == job.steps_per_epoch == 5


def test_on_cpu_a_step_begins_when_the_one_before_is_done(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of them at a time would take twice the memory."""
    done, latest, call = [], [], OneByOne.__call__

    def watched(self: OneByOne, state: State, chosen: np.ndarray) -> tuple[State, News]:
        done.extend(all(value.is_ready() for value in news) for news in latest)
        result = call(self, state, chosen)
        latest[:] = [result[1]]
        return result

    monkeypatch.setattr(OneByOne, "__call__", watched)
    train(configure(epochs=1, devices=2))
    assert done == [True] * 4


def test_images_are_those_of_the_order(configure: Configure) -> None:
    """A dispatch of steps 1 and 2 equals the two steps on these images."""
    job = prepare_job(configure(devices=2))
    step = TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh, job.policy)
    chosen = np.random.default_rng(0).permutation(160)[:64].reshape(2, 32)
    many = ManyAtOnce(step, job.examples, 4)
    many.compile(step.init())
    together, (loss, _) = many(step.init(), chosen)
    apart = step.init()
    step.compile(apart)
    for indices in chosen:
        apart, (last, _) = step(apart, job.train.images[indices])
    assert float(loss) == pytest.approx(float(last), rel=1e-5)
    assert int(together["step"]) == int(apart["step"]) == 2


def test_none_at_a_time_is_refused(configure: Configure) -> None:
    with pytest.raises(UsageError, match="--steps-per-dispatch 0"):
        configure(steps_per_dispatch=0)


def test_bad_steps_that_end_within_a_dispatch_are_seen(configure: Configure) -> None:
    """Ten in a row send a run back, wherever they lie in what is asked for at a time."""
    job = prepare_job(configure(batch_size=8))
    step = TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh, job.policy)
    many = ManyAtOnce(step, job.examples, 20)
    whole = TrainStep.map_state

    def fails_at_first(state: State, key: Array, *batch: Array) -> tuple[State, News]:
        # So that the loss of the first ten steps is not finite.
        poisoned = jax.tree.map(lambda leaf: jnp.where(state["step"] < 10, jnp.nan, leaf), state["parameters"])
        following, news = whole(step, {**state, "parameters": poisoned}, key, *batch)
        bad = state["step"] < 10
        return {
            **following,
            "parameters": jax.tree.map(
                lambda old, new: jnp.where(bad, old, new), state["parameters"], following["parameters"]
            ),
        }, news

    step.map_state = fails_at_first  # type: ignore[method-assign]
    state = step.init()
    many.compile(state)
    state, (loss, skipped_in_a_row) = many(state, job.batches(0))
    assert np.isfinite(loss)
    assert (int(skipped_in_a_row), int(state["skipped_in_a_row"])) == (10, 0)
