"""The loop: the same seed gives the same run, however it is cut into pieces."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nfcli.config import TrainConfig
from nfcli.errors import Interrupted, RunError, UsageError
from nfcli.flows import build
from nfcli.presets import get_preset
from nfcli.runs import Checkpoints, RunDir
from nfcli.training import loop
from nfcli.training.loop import train
from nfcli.training.optimizer import learning_rate_schedule
from nfcli.training.reporter import Progress, Reporter
from nfcli.training.setup import epoch_order, prepare_job
from nfcli.training.step import TrainStep

Configure = Callable[..., TrainConfig]
TIMINGS = {"images_per_second", "seconds"}


class Crash(Exception):
    """Stands for a power cut."""


class CrashAt(Reporter):
    """Ends the run after some step, without a chance to save."""

    def __init__(self, step: int) -> None:
        self.at = step

    def step(self, progress: Progress) -> None:
        if progress.step == self.at:
            raise Crash


def final_state(config: TrainConfig) -> dict[str, Any]:
    """The newest checkpoint of a run."""
    job = prepare_job(config)
    like = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.policy).init()
    checkpoints = Checkpoints(job.run.checkpoints)
    found = checkpoints.latest()
    assert found is not None
    return checkpoints.load_state(found[1], like)


def rows(config: TrainConfig) -> list[dict[str, Any]]:
    """metrics.jsonl without its timings."""
    run = RunDir(config.runs_dir / str(config.name))
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in run.metrics()]


def assert_same_state(first: dict[str, Any], second: dict[str, Any]) -> None:
    """Every array equal, bit for bit."""
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for (path, left), right in zip(jax.tree.leaves_with_path(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(left, right, err_msg=jax.tree_util.keystr(path))


@pytest.fixture(scope="module")
def undisturbed(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A run of 2 epochs that nothing disturbed."""
    config = TrainConfig(
        preset="tiny",
        dataset=str(digits),
        epochs=2,
        batch_size=32,
        eval_every=1,
        runs_dir=tmp_path_factory.mktemp("runs"),
        name="run",
    )
    result = train(config)
    assert result.finished
    return config


def test_few_validation_images_get_a_small_batch(configure: Configure) -> None:
    assert prepare_job(configure(val_size=16)).evaluator().batch_size == 16


def test_training_learns(undisturbed: TrainConfig) -> None:
    first, second = rows(undisturbed)
    assert second["val_bpd"] < first["val_bpd"]
    assert [first["step"], second["step"]] == [5, 10]
    assert first["skipped_steps"] == second["skipped_steps"] == 0


def test_the_same_seed_gives_the_same_run(undisturbed: TrainConfig, configure: Configure) -> None:
    again = configure()
    train(again)
    assert rows(again) == rows(undisturbed)
    assert_same_state(final_state(again), final_state(undisturbed))


def test_another_seed_gives_another_run(undisturbed: TrainConfig, configure: Configure) -> None:
    other = configure(seed=43)
    train(other)
    assert rows(other)[0]["train_bpd"] != rows(undisturbed)[0]["train_bpd"]


@pytest.mark.parametrize("step", [1, 5, 7])
def test_a_run_cut_off_and_continued_is_the_same(undisturbed: TrainConfig, configure: Configure, step: int) -> None:
    config = configure()
    with pytest.raises(Crash):
        train(config, CrashAt(step))
    assert train(config).finished
    assert rows(config) == rows(undisturbed)
    assert_same_state(final_state(config), final_state(undisturbed))


def test_checkpoints_within_an_epoch_change_nothing(undisturbed: TrainConfig, configure: Configure) -> None:
    config = configure(checkpoint_minutes=1e-9)
    with pytest.raises(Crash):
        train(config, CrashAt(8))
    latest = Checkpoints(config.runs_dir / "run" / "checkpoints").latest()
    assert latest is not None
    assert latest[0].step in (7, 8)
    assert train(config).finished
    assert rows(config) == rows(undisturbed)
    assert_same_state(final_state(config), final_state(undisturbed))


def test_out_of_time_saves_and_continues(undisturbed: TrainConfig, configure: Configure) -> None:
    config = configure(max_minutes=1e-9)
    pieces = [train(config), train(config)]
    assert [(piece.steps, piece.finished) for piece in pieces] == [(1, False), (2, False)]
    assert train(replace(config, max_minutes=None)).finished
    assert rows(config) == rows(undisturbed)
    assert_same_state(final_state(config), final_state(undisturbed))


def test_more_epochs_extend_a_finished_run(undisturbed: TrainConfig, configure: Configure) -> None:
    train(configure(epochs=1))
    longer = configure()
    result = train(longer)
    assert (result.epochs, result.steps, result.finished) == (2, 10, True)
    assert rows(longer) == rows(undisturbed)
    assert RunDir(longer.runs_dir / "run").config()["settings"]["epochs"] == 2


def test_a_finished_run_is_left_alone(undisturbed: TrainConfig) -> None:
    config = undisturbed
    first = train(config)
    before = {path: path.stat().st_mtime_ns for path in (config.runs_dir / "run").rglob("*")}
    assert train(config) == first
    assert {path: path.stat().st_mtime_ns for path in (config.runs_dir / "run").rglob("*")} == before


def test_validating_less_often_does_not_change_training(undisturbed: TrainConfig, configure: Configure) -> None:
    config = configure(eval_every=2)
    train(config)
    assert [row["train_bpd"] for row in rows(config)] == [row["train_bpd"] for row in rows(undisturbed)]
    assert "val_bpd" not in rows(config)[0]
    assert rows(config)[1]["val_bpd"] == rows(undisturbed)[1]["val_bpd"]


def test_the_number_of_devices_changes_rounding_only(undisturbed: TrainConfig, configure: Configure) -> None:
    for devices in (1, 4):
        config = configure(devices=devices, name=f"on-{devices}")
        train(config)
        for mine, theirs in zip(rows(config), rows(undisturbed), strict=True):
            assert mine["train_bpd"] == pytest.approx(theirs["train_bpd"], abs=1e-5)
            assert mine["val_bpd"] == pytest.approx(theirs["val_bpd"], abs=1e-4)


@pytest.mark.parametrize(
    ("name", "value"), [("seed", 1), ("batch_size", 16), ("learning_rate", 1e-4), ("train_size", 64), ("eval_every", 2)]
)
def test_other_settings_are_refused(undisturbed: TrainConfig, name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=f"--{name.replace('_', '-')} .* became") as caught:
        train(replace(undisturbed, **{name: value}))
    assert "--overwrite" in str(caught.value.hint)
    assert f"nf train --config {undisturbed.runs_dir / 'run'}/config.json continues it" in str(caught.value.hint)


def test_fewer_epochs_are_refused(undisturbed: TrainConfig) -> None:
    with pytest.raises(UsageError, match="--epochs 2, and 1 is fewer"):
        train(replace(undisturbed, epochs=1))


def test_overwrite_starts_again(undisturbed: TrainConfig, configure: Configure) -> None:
    train(configure(epochs=1, seed=43))
    config = configure(overwrite=True)
    train(config)
    assert rows(config) == rows(undisturbed)


def test_checkpoints_without_their_configuration_are_kept(configure: Configure) -> None:
    config = configure()
    train(replace(config, max_minutes=1e-9))
    checkpoints = Checkpoints(config.runs_dir / "run" / "checkpoints")
    before = checkpoints.steps()
    (config.runs_dir / "run" / "config.json").unlink()
    with pytest.raises(RunError, match=r"has checkpoints and no config\.json"):
        train(config)
    assert checkpoints.steps() == before != []
    train(replace(config, overwrite=True))
    assert not set(before) & set(checkpoints.steps())


def test_two_trainers_do_not_share_a_run(configure: Configure) -> None:
    config = configure()
    with RunDir(config.runs_dir / "run").lock(), pytest.raises(RunError, match="another process"):
        train(config)


def test_a_batch_larger_than_the_data_is_refused(configure: Configure) -> None:
    with pytest.raises(UsageError, match="larger than the training set of 160 images"):
        train(configure(batch_size=161))
    assert not (configure().runs_dir).exists()


def test_order_is_a_permutation_of_each_epoch() -> None:
    first, second = epoch_order(42, 0, 100), epoch_order(42, 1, 100)
    assert sorted(first) == sorted(second) == list(range(100))
    assert not np.array_equal(first, second)
    # Pinned: another order would silently change every result.
    assert epoch_order(42, 0, 10).tolist() == [0, 8, 7, 4, 3, 1, 2, 9, 6, 5]


def test_the_schedule_is_the_recipe_s() -> None:
    job = TrainConfig(preset="simple")
    model = build(get_preset("simple", smoke=True), (4, 4, 1))
    from nfcli.backend.mesh import data_mesh

    schedule = TrainStep(model, job, 390, data_mesh(128, 1)).schedule
    assert float(schedule(0)) == pytest.approx(1e-3)
    assert float(schedule(390)) == pytest.approx(0.99e-3)
    assert float(schedule(195)) == pytest.approx(1e-3 * 0.99**0.5)
    assert float(schedule(390 * 200)) == pytest.approx(1e-3 * 0.99**200, rel=1e-5)
    assert float(schedule(390 * 2000)) == pytest.approx(1e-5)


def test_a_learning_rate_that_does_not_decay_stays() -> None:
    schedule = learning_rate_schedule(TrainConfig(preset="simple", learning_rate_decay=1.0), 390)
    assert float(schedule(0)) == float(schedule(100_000)) == pytest.approx(1e-3)


class StopDuringValidation(Reporter):
    """Asks to stop, as SIGTERM does, once the last step of an epoch is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
        self.at, self.requests = step, []
        monkeypatch.setattr(loop.StopRequest, "__enter__", self.remember(loop.StopRequest.__enter__))

    def remember(self, enter: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def enter_and_remember(request: Any) -> Any:
            self.requests.append(request)
            return enter(request)

        return enter_and_remember

    def step(self, progress: Progress) -> None:
        if progress.step == self.at:
            self.requests[-1].signum = signal.SIGTERM


@pytest.mark.parametrize("step", [5, 10])
def test_a_validation_is_not_waited_for(
    undisturbed: TrainConfig, configure: Configure, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """It is done by whoever continues the run, and the result is the same."""
    config = configure()
    with pytest.raises(Interrupted, match=f"stopped after step {step} of 10"):
        train(config, StopDuringValidation(monkeypatch, step))
    assert [row["step"] for row in rows(config)] == [5] * (step == 10)
    assert train(config).finished
    # Who validates only took no steps, and so has no speed.
    (row,) = [row for row in RunDir(config.runs_dir / "run").metrics() if row["step"] == step]
    assert row["images_per_second"] is None
    assert rows(config) == rows(undisturbed)
    assert_same_state(final_state(config), final_state(undisturbed))


class Messages(Reporter):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def message(self, text: str) -> None:
        self.texts.append(text)


def test_continuing_elsewhere_is_said_and_written_down(configure: Configure) -> None:
    config = configure(epochs=1)
    train(config)
    run = RunDir(config.runs_dir / "run")
    known = run.config()
    run.write_config({**known, "versions": {**known["versions"], "jaxlib": "0.0.1"}})
    train(config)  # finished: nothing is trained, so nothing is noted
    assert run.config()["continued"] == []
    reporter = Messages()
    train(replace(config, epochs=2), reporter)
    (text,) = [text for text in reporter.texts if "continuing elsewhere" in text]
    assert "jaxlib 0.0.1 became" in text
    assert "within rounding" in text
    (entry,) = run.config()["continued"]
    assert entry["versions"] == known["versions"]
