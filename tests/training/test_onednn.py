"""Training and evaluation by oneDNN on a CPU: chosen by itself; a run keeps it for life, and continues as exactly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import jax
import numpy as np
import pytest

from nfcli.backend import probe
from nfcli.config import TrainConfig
from nfcli.evaluation.config import EvalConfig
from nfcli.evaluation.evaluate import evaluate
from nfcli.flows.networks import PLAIN
from nfcli.runs import RunDir
from nfcli.runs.per_image import load_per_image
from nfcli.runs.results import load_results
from nfcli.training.loop import train
from nfcli.training.setup import prepare_job
from nfcli.training.step import TrainStep
from tests.conftest import skip_without_onednn
from tests.training.test_loop import Crash, CrashAt, Messages, assert_same_state, final_state, rows

Configure = Callable[..., TrainConfig]


def config_of(config: TrainConfig) -> dict:
    return RunDir(config.runs_dir / str(config.name)).config()


def always(monkeypatch: pytest.MonkeyPatch, answer: int) -> None:
    """As on a machine where oneDNN is so in every type."""
    monkeypatch.setattr(probe, "_answer", lambda dtype: answer)


@pytest.fixture
def finished(onednn_type: str, configure: Configure) -> TrainConfig:
    config = configure(name="finished", epochs=1)
    heard = Messages()
    train(config, heard)
    assert f"networks: {onednn_type}, by oneDNN" in heard.texts
    return config


@pytest.mark.usefixtures("one_block")
def test_a_run_says_what_it_is_computed_with_and_continues_bit_for_bit(
    finished: TrainConfig, onednn_type: str, configure: Configure, tmp_path: Path
) -> None:
    assert config_of(finished)["settings"]["network_dtype"] == onednn_type
    assert config_of(finished)["device"]["onednn"] is True
    other = configure(epochs=1, checkpoint_minutes=1e-9)
    with pytest.raises(Crash):
        train(other, CrashAt(3))
    assert train(other).finished
    assert config_of(other)["continued"] == []
    assert rows(other) == rows(finished)
    assert_same_state(final_state(other), final_state(finished))


def test_without_it_a_run_goes_on_in_the_same_type_and_says_so(
    finished: TrainConfig, onednn_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Messages()
    with monkeypatch.context() as patch:
        always(patch, probe.WRONG)
        assert train(replace(finished, epochs=2), heard).finished
    assert f"networks: {onednn_type}" in heard.texts
    assert any("onednn True became False" in text for text in heard.texts)
    assert config_of(finished)["continued"][0]["device"]["onednn"] is False
    assert config_of(finished)["settings"]["network_dtype"] == onednn_type
    # What it began with counts, whatever is faster.
    for answer in (probe.FASTER, probe.SLOWER):
        always(monkeypatch, answer)
        assert prepare_job(replace(finished, epochs=3)).policy.onednn
    assert not prepare_job(replace(finished, overwrite=True)).policy.onednn


def test_a_run_that_began_without_stays_without(
    onednn_type: str, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = configure(name="plain", epochs=1)
    same = configure(name="same", epochs=1, network_dtype=onednn_type)
    with monkeypatch.context() as patch:
        always(patch, probe.WRONG)
        train(plain)
        train(same)
    for config, dtype in ((plain, "float32"), (same, onednn_type)):
        continued = prepare_job(replace(config, epochs=2))
        assert (continued.config.network_dtype, continued.policy.onednn) == (dtype, False)
    again = prepare_job(replace(plain, overwrite=True))
    assert (again.config.network_dtype, again.policy.onednn) == (onednn_type, True)
    quick = prepare_job(replace(plain, name="quick", smoke=True))
    assert (quick.config.network_dtype, quick.policy.onednn) == ("float32", False)


def test_half_precision_is_slowest_without_it(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    always(monkeypatch, probe.SLOWER)
    chosen = {name: prepare_job(configure(network_dtype=name)) for name in ("auto", "float32", "bfloat16")}
    assert {name: job.policy.onednn for name, job in chosen.items()} == {
        "auto": False,
        "float32": False,
        "bfloat16": True,
    }
    assert chosen["auto"].config.network_dtype == "float32"


def test_a_run_of_an_earlier_version_is_known(finished: TrainConfig) -> None:
    """Its config.json has another word for it, or none."""
    path = finished.runs_dir / str(finished.name) / "config.json"
    known = json.loads(path.read_text())
    began = known["device"].pop("onednn")
    for earlier, onednn in (({"matrix_units": began}, True), ({"matrix_units": False}, False), ({}, False)):
        path.write_text(json.dumps({**known, "device": {**known["device"], **earlier}}))
        assert prepare_job(finished).policy.onednn is onednn
    for platform, onednn in (("gpu", True), ("cpu", False), (None, False)):
        path.write_text(json.dumps({**known, "device": {} if platform is None else {"platform": platform}}))
        assert prepare_job(finished).policy.onednn is onednn


def test_processes_on_other_machines_compute_as_all_can(
    onednn_type: str, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = prepare_job(configure())
    assert job.agreed().policy == job.policy
    monkeypatch.setattr("nfcli.training.setup.exchange", lambda value: [value, False])
    assert job.agreed().policy == replace(job.policy, onednn=False)


def test_only_a_long_evaluation_is_worth_it_and_says_so(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    skip_without_onednn("float32")
    always(monkeypatch, probe.WRONG)
    config = configure(epochs=1)
    train(config)
    monkeypatch.setattr("nfcli.evaluation.evaluate.MANY_DRAWS", 63)
    always(monkeypatch, probe.FASTER)

    def measure(images: int) -> tuple[str, np.ndarray]:
        evaluate(EvalConfig(str(config.name), config.runs_dir, 3, ("test",), limit=images))
        run = RunDir(config.runs_dir / str(config.name))
        (found,) = [each for each in load_results(run).evaluations if each.images == images]
        return found.precision, load_per_image(run, found)["bpd"][:20]

    (short, want), (long, got) = measure(20), measure(21)
    assert short == "float32, matrix products highest"
    assert long == "float32, matrix products highest, networks by oneDNN"
    np.testing.assert_allclose(got, want, rtol=1e-5)
    monkeypatch.setattr("nfcli.evaluation.evaluate.exchange", lambda value: [value, False])
    assert measure(22)[0] == short


def test_the_next_seed_needs_no_compiling(onednn_type: str, configure: Configure) -> None:
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


def test_what_starts_from_data_does_not_depend_on_it(onednn_type: str, configure: Configure) -> None:
    job = prepare_job(configure(preset="tiny-mixture"))
    assert job.policy.onednn
    steps = [TrainStep(job.model, job.config, 5, job.mesh, policy) for policy in (job.policy, PLAIN)]
    images = job.train.images[:32]
    here, plain = (step.data_dependent_init(step.init(), images)["parameters"] for step in steps)
    jax.tree.map(np.testing.assert_array_equal, here, plain)
