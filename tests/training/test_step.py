"""The step: Adam by hand, clipping, and what happens to a loss that is not finite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from nfcli.backend.mesh import data_mesh, replicated
from nfcli.config import TrainConfig
from nfcli.errors import DivergedError
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.presets import MaskedCouplings, Preset, Split, Squeeze
from nfcli.runs import RunDir
from nfcli.training import saved
from nfcli.training.loop import train
from nfcli.training.optimizer import _kernels, learning_rate_schedule, make_optimizer
from nfcli.training.reporter import Reporter
from nfcli.training.setup import prepare_job
from nfcli.training.step import TrainStep
from tests.cli.small import shorten
from tests.tiny import TINY

Configure = Callable[..., TrainConfig]


def make_step(config: TrainConfig) -> tuple[TrainStep, np.ndarray]:
    """A step and a batch for it."""
    job = prepare_job(config)
    step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.policy)
    return step, job.train.images[: config.batch_size]


def gradient_of(step: TrainStep, parameters: dict, images: np.ndarray) -> tuple[jax.Array, dict]:
    """Loss and gradient of the first step, written out."""
    keys = indexed_keys(jax.random.fold_in(stream(42, Purpose.TRAINING), 0), jnp.arange(len(images)))

    def loss(parameters: dict) -> jax.Array:
        return -jnp.mean(step.model.log_prob(parameters, images, keys)) / (64 * jnp.log(2))

    return jax.device_get(jax.jit(jax.value_and_grad(loss))(parameters))


def test_the_first_step_is_adam_s(configure: Configure) -> None:
    loss: Any = None
    for clip in (1e-3, 1e6):
        step, images = make_step(configure(clip_norm=clip))
        state = step.init()
        before = jax.tree.map(np.array, state["parameters"])
        if loss is None:  # it does not depend on how it is clipped
            loss, gradient = gradient_of(step, before, images)
        norm = np.sqrt(sum(np.sum(np.square(leaf)) for leaf in jax.tree.leaves(gradient)))
        scale = min(1.0, clip / norm)
        after, (reported, skipped) = step(state, images)
        assert float(reported) == pytest.approx(float(loss), rel=1e-5)
        assert int(skipped) == 0
        for old, new, slope in zip(*map(jax.tree.leaves, (before, after["parameters"], gradient)), strict=True):
            # After bias correction, Adam's first step is the learning rate times g / (|g| + eps).
            slope = slope * scale
            np.testing.assert_allclose(new, old - 1e-3 * slope / (np.abs(slope) + 1e-8), atol=1e-4)


@pytest.mark.parametrize("clip", [0.5, 1e6])
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_one_vector_is_updated_as_its_parts_are(configure: Configure, clip: float, decay: float) -> None:
    config = configure(clip_norm=clip, weight_decay=decay)
    schedule = learning_rate_schedule(config, 5)
    adam = optax.adamw(schedule, weight_decay=decay, mask=_kernels) if decay else optax.adam(schedule)
    # One coupling has all kinds of them, and takes a third of the time to compile.
    coupling = jax.device_get(make_step(config)[0].init()["parameters"]["transform"]["levels"]["0"]["0"])
    parameters = jax.tree.map(lambda leaf: leaf + np.float32(0.1), coupling)  # what is 0 does not decay
    outcomes = []
    for optimizer in (make_optimizer(config, 5), optax.chain(optax.clip_by_global_norm(clip), adam)):

        @jax.jit
        def move(weights: Any, state: Any, step: int, optimizer: Any = optimizer) -> tuple[Any, Any]:
            slope = jax.tree.map(lambda leaf: jnp.cos(leaf + step), weights)
            updates, state = optimizer.update(slope, state, weights)
            return optax.apply_updates(weights, updates), state

        weights, state = parameters, optimizer.init(parameters)
        for step in range(3):
            weights, state = move(weights, state, step)
        outcomes.append(weights)
    jax.tree.map(lambda *both: np.testing.assert_allclose(*both, atol=1e-6), *outcomes)


def test_muon_moves_large_kernels_and_adam_the_rest() -> None:
    draw = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    shapes = {"wide": (1, 1, 16, 24), "high": (3, 3, 16, 16), "again": (1, 1, 144, 16), "first": (3, 3, 1, 16)}
    parameters = {name: {"kernel": draw(shape), "bias": draw(16)} for name, shape in shapes.items()}
    axes = optax.contrib.MuonDimensionNumbers((0, 1, 2), 3)
    hidden = {name: {"kernel": None if name == "first" else axes, "bias": None} for name in shapes}
    muon = optax.contrib.muon(1e-3, muon_weight_dimension_numbers=lambda _: hidden, consistent_rms=0.2)
    config = TrainConfig("simple", optimizer="muon", clip_norm=1e6, learning_rate_decay=1.0)
    outcomes = []
    for optimizer in (make_optimizer(config, 5), muon, optax.adam(1e-3)):
        weights, state = parameters, optimizer.init(parameters)
        for step in range(3):
            slope = jax.tree.map(lambda leaf, step=step: np.cos(leaf + step), parameters)
            updates, state = optimizer.update(slope, state, weights)
            weights = optax.apply_updates(weights, updates)
        outcomes.append(weights)
    got, by_muon, by_adam = outcomes
    for name, part in got.items():
        np.testing.assert_allclose(part["kernel"], (by_adam if name == "first" else by_muon)[name]["kernel"], atol=1e-6)
        np.testing.assert_allclose(part["bias"], by_adam[name]["bias"], atol=1e-6)
    assert np.abs(by_muon["high"]["kernel"] - by_adam["high"]["kernel"]).max() > 1e-4


def test_devices_share_the_matrices_of_muon() -> None:
    draw = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    slope = {name: {"kernel": draw((1, 1, 16, 24)), "bias": draw(24)} for name in "abcd"}
    config, mesh = TrainConfig("simple", optimizer="muon"), data_mesh(32, 2)
    alone, shared = make_optimizer(config, 5), make_optimizer(config, 5, mesh)
    state, same = alone.init(slope), replicated(mesh)
    program = jax.jit(shared.update, in_shardings=same, out_shardings=same).lower(slope, state, slope).compile()
    assert "f32[2,16,24]" in program.as_text()  # of four, two on each device
    got, _ = program(*jax.device_put((slope, state, slope), same))
    jax.tree.map(np.testing.assert_array_equal, got, jax.jit(alone.update)(slope, state, slope)[0])


@pytest.mark.parametrize(
    "settings", [{}, {"weight_decay": 0.1, "warmup_steps": 3}, {"schedule": "cosine"}, {"optimizer": "muon"}]
)
def test_the_optimizer_starts_as_optax_starts_it(configure: Configure, settings: dict) -> None:
    step, _ = make_step(configure(**settings))
    state = step.init()
    jax.tree.map(np.testing.assert_array_equal, state["optimizer"], step.optimizer.init(state["parameters"]))


@pytest.mark.usefixtures("one_block")
def test_saving_memory_changes_rounding_alone(configure: Configure) -> None:
    layers = (MaskedCouplings(1, "checkerboard", 8), Squeeze(), Split())
    one_coupling: dict = {"preset": "mine", "custom": replace(TINY, name="mine", layers=layers, dequantization=None)}
    outcomes = []
    for changes in ({}, {"remat": True}, {"accumulate": 4}, {"remat": True, "accumulate": 2, "devices": 2}):
        step, images = make_step(configure(**one_coupling, **changes))
        state, losses = step.init(), []
        for _ in range(3):
            state, (loss, _) = step(state, images)
            losses.append(float(loss))
        outcomes.append((losses, jax.tree.map(np.array, state["parameters"])))
    (losses, parameters), *others = outcomes
    for other_losses, other_parameters in others:
        np.testing.assert_allclose(losses, other_losses, rtol=1e-5)
        for leaf, other in zip(jax.tree.leaves(parameters), jax.tree.leaves(other_parameters), strict=True):
            # Adam turns the rounding of a vanishing gradient into a step of any sign.
            assert np.mean(np.abs(leaf - other)) < 1e-4


def temporary(**settings: Any) -> int:
    """Bytes that a step needs besides its arguments and results, of a preset with real networks."""
    config = TrainConfig("simple", smoke=True, batch_size=16, train_size=64, val_size=8, devices=1, **settings)
    job = prepare_job(config)
    step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.policy)
    step.compile(step.init())
    return step._compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.usefixtures("one_block")
def test_saving_memory_saves_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    narrow = Preset.smoke_twin
    monkeypatch.setattr(Preset, "smoke_twin", lambda preset: shorten(narrow(preset), most=4, blocks=9))
    plain = temporary()
    assert temporary(remat=True) < 0.4 * plain
    assert temporary(accumulate=4) < 0.4 * plain


def test_a_step_that_is_not_finite_leaves_the_parameters(configure: Configure) -> None:
    step, images = make_step(configure())
    state = step.init()
    step.compile(state)
    poisoned = jax.tree.map(np.array, state)
    poisoned["parameters"]["transform"]["levels"]["0"]["0"]["scaling_factor"][:] = np.nan
    before = jax.tree.map(np.copy, poisoned)
    after, (loss, skipped) = step(step.place(poisoned), images)
    assert not np.isfinite(loss)
    assert int(skipped) == int(after["skipped"]) == int(after["step"]) == 1
    assert float(after["loss_sum"]) == 0
    jax.tree.map(np.testing.assert_array_equal, after["parameters"], before["parameters"])
    jax.tree.map(np.testing.assert_array_equal, after["optimizer"], before["optimizer"])


class Warnings(Reporter):
    """Keeps what it was warned of."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warning(self, text: str) -> None:
        self.texts.append(text)


@pytest.mark.usefixtures("changed_code")
def test_a_run_that_stays_bad_gives_up(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "SKIPPED_IN_A_ROW", 3)
    monkeypatch.setattr(TrainStep, "_loss", lambda self, parameters, *batch: jnp.float32(jnp.nan))
    reporter = Warnings()
    with pytest.raises(DivergedError, match="after 3 recoveries"):
        train(configure(), reporter)
    assert len(reporter.texts) == 3
    assert "0.5 of the learning rate" in reporter.texts[0]
    assert "0.125 of the learning rate" in reporter.texts[2]


@pytest.mark.parametrize(
    ("batch_size", "what"), [(32, "last step gave no finite loss"), (160, "last validation bound is not finite")]
)
def test_a_run_that_ends_before_ten_bad_steps_has_diverged_too(
    configure: Configure, batch_size: int, what: str
) -> None:
    """5 steps, of which the first is fine; or 1, after which the weights are not."""
    config = configure(batch_size=batch_size, epochs=1, learning_rate=1e30)
    for _ in range(2):  # and so it has when it is continued
        with pytest.raises(DivergedError, match=f"{what}.*, also after 3 recoveries") as caught:
            train(config)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("try a smaller --learning-rate than 1e+30")
    run = RunDir(config.runs_dir / "run")
    assert (run.config()["settings"]["learning_rate"], run.metrics()) == (1e30, [])
    assert train(configure(epochs=1, overwrite=True)).finished


def bad_from(step: int) -> Callable[..., tuple]:
    """A step whose parameters cannot be used from some step on, until the learning rate has been halved."""
    real = TrainStep.map_state

    def fragile(self: TrainStep, state: dict, key: jax.Array, images: jax.Array, labels: None = None) -> tuple:
        bad = (state["step"] >= step) & (state["recoveries"] == 0)
        poison = jnp.where(bad, jnp.nan, 0.0)
        poisoned = {**state, "parameters": jax.tree.map(lambda leaf: leaf + poison, state["parameters"])}
        following, news = real(self, poisoned, key, images)
        kept = jax.tree.map(lambda new, old: jnp.where(bad, old, new), following["parameters"], state["parameters"])
        return {**following, "parameters": kept}, news

    return fragile


@pytest.mark.usefixtures("changed_code")
@pytest.mark.parametrize(("in_a_row", "bad"), [(3, 5), (10, 8)], ids=["in the middle", "at the end"])
def test_a_run_recovers_with_a_smaller_learning_rate(
    configure: Configure, monkeypatch: pytest.MonkeyPatch, in_a_row: int, bad: int
) -> None:
    monkeypatch.setattr(saved, "SKIPPED_IN_A_ROW", in_a_row)
    monkeypatch.setattr(TrainStep, "map_state", bad_from(bad))
    reporter = Warnings()
    result = train(configure(), reporter)
    assert result.finished
    assert [text for text in reporter.texts if "going back to step 5" in text]
    assert result.steps == 10


@pytest.mark.usefixtures("changed_code")
def test_a_recovery_passes_over_checkpoints_of_a_bad_row(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bad from step 6 on until the learning rate is halved, and a checkpoint after every step."""
    monkeypatch.setattr(saved, "SKIPPED_IN_A_ROW", 3)
    monkeypatch.setattr(TrainStep, "map_state", bad_from(6))
    reporter = Warnings()
    result = train(configure(checkpoint_minutes=1e-9), reporter)
    assert result.finished
    (text,) = reporter.texts
    assert "going back to step 6" in text
