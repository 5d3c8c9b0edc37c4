"""What a preset may want beyond the reference recipe: cosine, warm-up, weight decay, averages, a start from data."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.backend.mesh import compiler_options
from nfcli.config import SMOKE, TrainConfig
from nfcli.errors import UsageError
from nfcli.presets import PRESETS
from nfcli.runs import RunDir
from nfcli.training.loop import train
from nfcli.training.optimizer import ema_decay, learning_rate_schedule
from nfcli.training.setup import multiplies_bfloat16, policy_in_words, prepare_job
from nfcli.training.step import TrainStep
from tests.training.test_loop import Crash, CrashAt, assert_same_state, final_state, rows

Configure = Callable[..., TrainConfig]
MIXTURE: dict[str, Any] = {
    "preset": "tiny-mixture",
    "ema_decay": 0.9,
    "optimizer": "muon",
    "schedule": "cosine",
    "warmup_steps": 3,
}


def steps_of(config: TrainConfig, count: int, *, more: float = 0.0) -> list[dict[str, Any]]:
    """The states after each of the first steps, on the same batch, from initial weights and so much more."""
    job = prepare_job(config)
    step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.policy)
    images = job.train.images[: config.batch_size]
    fresh = step.data_dependent_init(step.init(), images)["parameters"]
    state = step.start_from(jax.tree.map(lambda leaf: np.asarray(leaf) + np.float32(more), fresh))
    step.compile(state)
    states = [jax.tree.map(np.array, state)]
    for _ in range(count):
        state, _ = step(state, images)
        states.append(jax.tree.map(np.array, state))
    return states


def test_a_preset_s_recipe_gives_way_to_smoke_and_to_the_user() -> None:
    recipe = PRESETS["mixture"].recipe
    plain = TrainConfig.of_preset("mixture")
    assert {name: getattr(plain, name) for name in recipe} == dict(recipe)
    assert TrainConfig.of_preset("multiscale") == TrainConfig("multiscale")
    smoke = TrainConfig.of_preset("mixture", smoke=True, epochs=7)
    assert (smoke.batch_size, smoke.epochs, smoke.schedule) == (SMOKE["batch_size"], 7, "cosine")


def test_a_smoke_recipe_fits_its_data_and_what_the_user_says_stays() -> None:
    """Sizes, batch and warm-up (160 steps of all of MNIST) give way where nobody chose them."""
    names = ("train_size", "val_size", "batch_size", "warmup_steps")

    def fitted(train: int, val: int, **settings: Any) -> tuple[Any, ...]:
        config = TrainConfig.of_preset("mixture", smoke=True, **settings).fitted(train, val)
        return tuple(getattr(config, name) for name in names)

    assert fitted(50_000, 10_000) == (2560, 256, 32, 16)
    assert fitted(50_000, 10_000, warmup_steps=400, batch_size=64) == (2560, 256, 64, 400)
    assert fitted(172, 34) == (172, 34, 32, 1)
    assert fitted(20, 4) == (20, 4, 16, 0)
    assert fitted(172, 34, train_size=20, val_size=35) == (20, 35, 16, 0)
    assert fitted(20, 4, train_size=21, batch_size=32) == (21, 4, 32, 0)
    assert TrainConfig.of_preset("simple", smoke=True).fitted(50_000, 10_000).warmup_steps == 0
    assert TrainConfig.of_preset("mixture").fitted(1, 1) == TrainConfig.of_preset("mixture")


def test_cosine_with_warm_up() -> None:
    config = TrainConfig("simple", schedule="cosine", epochs=10, learning_rate=1e-2, warmup_steps=5)
    schedule = learning_rate_schedule(config, 10)
    assert float(schedule(0)) == pytest.approx(1e-2 / 5, rel=1e-3)
    assert float(schedule(50)) == pytest.approx((1e-2 + 1e-5) / 2)
    assert float(schedule(100)) == pytest.approx(1e-5)
    assert np.all(np.diff([float(schedule(step)) for step in range(5, 101)]) < 0)


@pytest.mark.parametrize(
    "changes", [{"schedule": "linear"}, {"warmup_steps": -1}, {"weight_decay": 1.0}, {"ema_decay": -0.1}]
)
def test_impossible_recipes_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(changes)).replace("_", "-")):
        TrainConfig("simple", **changes)


@pytest.mark.usefixtures("one_block")
def test_weight_decay_is_of_kernels_alone(configure: Configure) -> None:
    # No weight is 0, which would not decay in any case.
    with_decay, without = (steps_of(configure(weight_decay=decay), 1, more=0.1) for decay in (0.5, 0.0))
    before = with_decay[0]["parameters"]
    pairs = zip(*map(jax.tree.leaves_with_path, (with_decay[1]["parameters"], without[1]["parameters"])), strict=True)
    for (path, left), (_, right) in pairs:
        old = before
        for entry in path:
            old = old[entry.key]
        shrunk = 1e-3 * 0.5 * old if path[-1].key == "kernel" else np.zeros_like(old)
        np.testing.assert_allclose(right - left, shrunk, atol=1e-6)


@pytest.mark.usefixtures("changed_code")
def test_the_average_is_that_of_the_weights(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    # XLA's older emitters, which tests are compiled with where there are any, round the last bits of these two programs
    # differently.
    if (option := "xla_cpu_use_fusion_emitters") in os.environ["XLA_FLAGS"]:
        newer = {**(compiler_options(jax.make_mesh((1,), ("data",))) or {}), option: True}
        monkeypatch.setattr("nfcli.training.step.compiler_options", lambda mesh: newer)
    states = steps_of(configure(ema_decay=0.9), 3)
    raw = steps_of(configure(), 3)
    for plain, averaged in zip(raw, states, strict=True):
        jax.tree.map(np.testing.assert_array_equal, plain["parameters"], averaged["trained"])
    want = raw[0]["parameters"]
    for step, state in enumerate(raw[1:]):
        decay = min(0.9, (1 + step) / (10 + step))
        assert float(ema_decay(0.9, jnp.int32(step))) == pytest.approx(decay)
        want = jax.tree.map(lambda mean, new, d=decay: d * mean + (1 - d) * new, want, state["parameters"])
    jax.tree.map(lambda got, mean: np.testing.assert_allclose(got, mean, atol=1e-6), states[3]["parameters"], want)


def test_activations_start_normalized_on_the_first_batch(configure: Configure) -> None:
    config = configure(**MIXTURE)
    job = prepare_job(config)
    step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.policy)
    state = step.data_dependent_init(step.init(), job.train.images[:32])
    layer = state["parameters"]["transform"]["levels"]["0"]["1"]
    assert set(layer) == {"log_scale", "shift"}
    assert np.all(layer["log_scale"] != 0)
    jax.tree.map(np.testing.assert_array_equal, state["parameters"], state["trained"])


def test_a_run_with_averages_continues_bit_for_bit_and_its_cosine_cannot_be_extended(configure: Configure) -> None:
    whole = configure(**MIXTURE, name="whole")
    train(whole)
    with pytest.raises(UsageError, match="cosine over --epochs 2"):
        train(replace(whole, epochs=3))
    for step in (2, 7):
        cut = configure(**MIXTURE, name=f"cut-{step}")
        with pytest.raises(Crash):
            train(cut, CrashAt(step))
        train(cut)
        assert rows(cut) == rows(whole)
        assert_same_state(final_state(cut), final_state(whole))
        assert RunDir(cut.runs_dir / f"cut-{step}").config()["settings"]["ema_decay"] == 0.9


@pytest.mark.parametrize(
    ("platform", "capability", "found"),
    [("gpu", "9.0", True), ("gpu", "8.6", True), ("gpu", "7.5", False), ("gpu", "gfx90a", False), ("cpu", None, False)],
)
def test_gpus_that_multiply_bfloat16_are_known_by_their_generation(platform, capability, found):
    known = {} if capability is None else {"compute_capability": capability}
    assert multiplies_bfloat16(SimpleNamespace(platform=platform, **known)) == found


def test_smoke_does_not_try_onednn(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nfcli.backend.probe._answer", lambda dtype: pytest.fail("tried"))
    assert prepare_job(configure(smoke=True)).config.network_dtype == "float32"


def test_where_the_gpu_multiplies_bfloat16_networks_do(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nfcli.training.setup.multiplies_bfloat16", lambda device: True)
    job = prepare_job(configure())
    assert (job.config.network_dtype, policy_in_words(job.policy)) == ("bfloat16", "bfloat16")
    assert prepare_job(configure(network_dtype="float32")).policy.dtype is None
