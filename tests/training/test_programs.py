"""Programs that are kept: the next start gets the same one, nothing else, and never a damaged one."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nfcli.backend import programs, runtime
from nfcli.config import TrainConfig
from nfcli.training.setup import prepare_job
from nfcli.training.step import State, TrainStep


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NF_CACHE_DIR", str(tmp_path / "cache"))
    own = runtime.compilation_cache()
    assert own is not None
    return own


@pytest.fixture
def config(configure: Callable[..., TrainConfig]) -> TrainConfig:
    return configure(devices=2)


@pytest.fixture(scope="module")
def compiled(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, State]:
    """The file of the program of `config`, in a folder of its own, and the state after two steps of it."""
    base = tmp_path_factory.mktemp("programs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NF_CACHE_DIR", str(base / "cache"))
        settings: dict[str, Any] = {"epochs": 2, "batch_size": 32, "devices": 2, "runs_dir": base / "runs"}
        state = after_two_steps(*make_step(TrainConfig("tiny", dataset=str(digits), **settings)))
        own = runtime.compilation_cache()
    assert own is not None
    (path,) = own.glob("*" + programs.SUFFIX)
    return path, state


@pytest.fixture
def first(folder: Path, compiled: tuple[Path, State]) -> State:
    """The state after two steps by the program that `folder` holds."""
    path, state = compiled
    shutil.copy2(path, folder)
    return state


def make_step(config: TrainConfig) -> tuple[TrainStep, np.ndarray]:
    job = prepare_job(config)
    step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.policy)
    return step, job.train.images[: config.batch_size]


def after_two_steps(step: TrainStep, images: np.ndarray) -> State:
    state = step.init()
    step.compile(state)
    for _ in range(2):
        state, _ = step(state, images)
    return jax.device_get(state)


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*" + programs.SUFFIX)}


def fail_to_compile(step: TrainStep) -> None:
    class Untouchable:
        def lower(self, *_: object) -> None:
            pytest.fail("compiled again")

    step._compiled = Untouchable()


@pytest.mark.parametrize("fetched", [True, False])
def test_the_next_start_loads_the_same_program(folder: Path, config: TrainConfig, first: State, fetched: bool) -> None:
    assert len(kept(folder)) == 1
    step, images = make_step(config)
    fail_to_compile(step)
    if fetched:
        step.fetch()
    jax.tree.map(np.testing.assert_array_equal, first, after_two_steps(step, images))


def test_seeds_share_a_program_and_nothing_else(
    folder: Path, config: TrainConfig, compiled: tuple[Path, State]
) -> None:
    other, (path, first) = replace(config, seed=43), compiled
    alone = after_two_steps(*make_step(other))
    assert kept(folder) == {path.name}
    shutil.copy2(path, folder)
    step, images = make_step(other)
    fail_to_compile(step)
    second = after_two_steps(step, images)
    jax.tree.map(np.testing.assert_array_equal, alone, second)
    assert float(second["loss_sum"]) != float(first["loss_sum"])


def test_a_program_from_jax_s_cache_is_not_what_is_kept(folder: Path, config: TrainConfig) -> None:
    after_two_steps(*make_step(config))
    for path in folder.glob("*" + programs.SUFFIX):
        path.unlink()
    first = after_two_steps(*make_step(config))
    step, images = make_step(config)
    fail_to_compile(step)
    jax.tree.map(np.testing.assert_array_equal, first, after_two_steps(step, images))


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 2e-3},
        {"optimizer": "muon"},
        {"clip_norm": 2.0},
        {"ema_decay": 0.9},
        {"network_dtype": "bfloat16"},
        {"remat": True},
        {"accumulate": 2},
        {"batch_size": 16},
        {"devices": 1},
        {"preset": "tiny-mixture"},
        {"smoke": True},
        {"levels": 16},
        {"conditional": True},
        {"schedule": "cosine", "epochs": 3},
    ],
    ids=lambda change: "-".join(change),
)
def test_what_decides_the_program_changes_its_name(config: TrainConfig, change: dict) -> None:
    same = {"schedule": "cosine"} if "schedule" in change else {}
    before, after = (make_step(replace(config, **settings))[0] for settings in (same, change))
    assert before._kept._name != after._kept._name


def test_what_does_not_decide_it_does_not(config: TrainConfig) -> None:
    other = replace(config, seed=43, epochs=7, val_size=16, eval_every=3, name="other", checkpoint_minutes=1)
    assert make_step(config)[0]._kept._name == make_step(other)[0]._kept._name


def test_sources_decide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layer.py").write_text("SCALE = 1\n")
    monkeypatch.setattr(programs, "__file__", str(tmp_path / "programs.py"))
    names = []
    for scale in "1", "2", "1":
        (tmp_path / "layer.py").write_text(f"SCALE = {scale}\n")
        programs._sources.cache_clear()
        names.append(programs.fingerprint({}))
    programs._sources.cache_clear()
    assert names[0] == names[2] != names[1]


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: b"", lambda content: content + b"!"])
def test_a_damaged_program_is_compiled_again(
    folder: Path, config: TrainConfig, first: State, damage: Callable[[bytes], bytes]
) -> None:
    (path,) = folder.glob("*" + programs.SUFFIX)
    content = path.read_bytes()
    path.write_bytes(damage(content))
    step, images = make_step(config)
    step.fetch()
    jax.tree.map(np.testing.assert_array_equal, first, after_two_steps(step, images))
    digest, rest = path.read_bytes()[:32], path.read_bytes()[32:]
    assert digest == hashlib.sha256(rest).digest()  # it was written anew


def test_a_place_that_cannot_be_written_is_no_error(config: TrainConfig) -> None:
    step, images = make_step(config)
    step._kept._folder = Path("/proc/nowhere")
    assert after_two_steps(step, images)["step"] == 2


def test_a_program_that_jax_cannot_write_is_no_error(
    folder: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> None:
        raise NotImplementedError("serialize_executables with const_args")

    monkeypatch.setattr(programs.serialize_executable, "serialize", refuse)
    assert after_two_steps(*make_step(config))["step"] == 2
    assert kept(folder) == set()


def test_nothing_is_kept_without_jax_s_cache(folder: Path, config: TrainConfig) -> None:
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        after_two_steps(*make_step(config))
    finally:
        jax.config.update("jax_enable_compilation_cache", True)
    assert kept(folder) == set()


def test_the_oldest_go(folder: Path, config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "KEPT", 2)
    for age in range(3):
        path = folder / f"{age}{programs.SUFFIX}"
        path.touch()
        os.utime(path, (1e9 - age, 1e9 - age))
    after_two_steps(*make_step(config))
    assert len(kept(folder)) == 2
    assert f"0{programs.SUFFIX}" in kept(folder)
