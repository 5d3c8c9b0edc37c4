"""Training on the matrix units of a CPU: chosen by itself, kept for life, and as exact to continue as any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from nfcli.config import TrainConfig
from nfcli.flows.networks import PLAIN
from nfcli.runs import RunDir
from nfcli.training.loop import train
from nfcli.training.reporter import Reporter
from nfcli.training.setup import prepare_job
from nfcli.training.step import TrainStep
from tests.training.test_loop import Crash, CrashAt, assert_same_state, final_state, rows

Configure = Callable[..., TrainConfig]


class Heard(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def message(self, text: str) -> None:
        self.said.append(text)


def config_of(config: TrainConfig) -> dict:
    return RunDir(config.runs_dir / str(config.name)).config()


@pytest.fixture
def finished(matrix_units_here: None, configure: Configure) -> TrainConfig:
    config = configure(name="finished", epochs=1)
    heard = Heard()
    train(config, heard)
    assert "networks: bfloat16, on the matrix units of this CPU" in heard.said
    return config


@pytest.mark.usefixtures("one_block")
def test_a_run_says_what_it_is_computed_with_and_continues_bit_for_bit(
    finished: TrainConfig, configure: Configure, tmp_path: Path
) -> None:
    assert config_of(finished)["settings"]["network_dtype"] == "bfloat16"
    assert config_of(finished)["device"]["matrix_units"] is True
    other = configure(epochs=1, checkpoint_minutes=1e-9)
    with pytest.raises(Crash):
        train(other, CrashAt(3))
    assert train(other).finished
    assert config_of(other)["continued"] == []
    assert rows(other) == rows(finished)
    assert_same_state(final_state(other), final_state(finished))


def test_without_the_units_it_goes_on_in_the_same_type_and_says_so(
    finished: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NF_MATRIX_UNITS", "0")
    heard = Heard()
    assert train(replace(finished, epochs=2), heard).finished
    assert "networks: bfloat16" in heard.said
    assert any("matrix_units True became False" in text for text in heard.said)
    assert config_of(finished)["continued"][0]["device"]["matrix_units"] is False
    assert config_of(finished)["settings"]["network_dtype"] == "bfloat16"


def test_a_run_in_single_precision_stays_so_where_there_are_units(
    matrix_units_here: None, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(epochs=1)
    with monkeypatch.context() as patch:
        patch.setenv("NF_MATRIX_UNITS", "0")
        train(config)
    assert prepare_job(replace(config, epochs=2)).config.network_dtype == "float32"
    assert prepare_job(replace(config, overwrite=True)).config.network_dtype == "bfloat16"
    assert prepare_job(replace(config, name="quick", smoke=True)).config.network_dtype == "float32"


def test_the_next_seed_needs_no_compiling(matrix_units_here: None, configure: Configure) -> None:
    states = {}
    for seed, compiled in ((1, True), (2, False), (1, False)):
        job = prepare_job(configure(seed=seed, clip_norm=0.75))
        step = TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh, job.policy)
        if not compiled:
            step._compiled = None  # what would be compiled
        state = step.init()
        step.compile(state)
        state = jax.device_get(step(state, job.train.images[:32])[0])
        states.setdefault(seed, []).append(state)
    jax.tree.map(np.testing.assert_array_equal, *states[1])
    assert float(states[1][0]["loss_sum"]) != float(states[2][0]["loss_sum"])


def test_what_starts_from_data_does_not_depend_on_the_units(matrix_units_here: None, configure: Configure) -> None:
    job = prepare_job(configure(preset="tiny-mixture"))
    assert job.policy.matrix_units
    steps = [TrainStep(job.model, job.config, 5, job.mesh, policy) for policy in (job.policy, PLAIN)]
    images = job.train.images[:32]
    here, plain = (step.data_dependent_init(step.init(), images)["parameters"] for step in steps)
    jax.tree.map(np.testing.assert_array_equal, here, plain)
