"""Compiling in another process: the programs that it leaves in the cache are those of the run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import jax
import pytest
from jax.experimental.compilation_cache import compilation_cache

from nfcli import runtime
from nfcli.programs import SUFFIX
from nfcli.training import ahead
from nfcli.training.ahead import CompilingAhead
from nfcli.training.config import TrainConfig
from nfcli.training.dispatch import make_dispatch
from nfcli.training.setup import Job, prepare_job
from nfcli.training.step import TrainStep


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Other tests, at work beside these, fill the one that all share."""
    shared = jax.config.jax_compilation_cache_dir
    monkeypatch.setenv("NF_CACHE_DIR", str(tmp_path / "cache"))
    own = str(runtime.compilation_cache())
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", own)
    for folder in (own, shared):
        jax.config.update("jax_compilation_cache_dir", folder)
        compilation_cache.reset_cache()
        if folder == own:
            yield


def kept() -> set[str]:
    return {path.name for path in Path(str(jax.config.jax_compilation_cache_dir)).glob("*" + SUFFIX)}


def make_step(job: Job) -> TrainStep:
    return TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh, job.computing)


def make_job(tmp_path: Path, *, seed: int) -> Job:
    settings = {"epochs": 1, "train_size": 64, "val_size": 16, "batch_size": 32}
    return prepare_job(TrainConfig("simple", smoke=True, runs_dir=tmp_path, devices=1, seed=seed, **settings))


def test_programs_are_those_of_the_run_and_are_made_once(tmp_path, monkeypatch):
    job = make_job(tmp_path, seed=1234567)
    CompilingAhead(job, make_step(job), ahead.WORTH_STEPS).wait()
    made = kept()
    assert len(made) == 1
    assert job.evaluator().batch_size == 16  # that holds the validation images, and so half a batch does

    step = make_step(job)
    make_dispatch(step, job.train.images, None).compile(step.init())
    assert kept() == made  # nothing was compiled here

    monkeypatch.setattr(ahead.subprocess, "Popen", pytest.fail)
    CompilingAhead(job, make_step(job), ahead.WORTH_STEPS).wait()


def test_short_runs_compile_where_they_train(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead.subprocess, "Popen", pytest.fail)
    job = make_job(tmp_path, seed=7654321)
    CompilingAhead(job, make_step(job), ahead.WORTH_STEPS - 1).wait()


def test_a_process_that_fails_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setattr(ahead.sys, "executable", "/bin/false")
    job = make_job(tmp_path, seed=7654321)
    CompilingAhead(job, make_step(job), ahead.WORTH_STEPS).wait()
    assert kept() == set()
