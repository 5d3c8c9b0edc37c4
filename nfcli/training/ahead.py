"""Programs of a long run, compiled in a process of their own.

A compiler leaves memory in many small pieces behind. On CPU, where a step takes gigabytes of temporary memory, a
process that compiled its own programs trains a fifth slower than one that loads them from the compilation cache.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np

from nfcli import distributed, runtime
from nfcli.programs import fingerprint
from nfcli.training.config import TrainConfig
from nfcli.training.dispatch import make_dispatch
from nfcli.training.setup import Job, prepare_job
from nfcli.training.step import TrainStep

WORTH_STEPS = 500
"""A shorter run would lose more time by starting another process than it gains."""


class CompilingAhead:
    """A process that fills the compilation cache with the programs of a run, if that is worth its while.

    Starts at once, and is waited for with `wait`. What goes wrong there costs nothing but time: the programs are then
    compiled here.

    Args:
        job: Of the run.
        step: Of the run.
        steps: That are left to do.
    """

    def __init__(self, job: Job, step: TrainStep, steps: int) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        cache, platform = jax.config.values["jax_compilation_cache_dir"], job.mesh.devices.flat[0].platform
        if cache is None or platform != "cpu" or steps < WORTH_STEPS or distributed.count() > 1:
            return
        name = fingerprint({"program": "all of a run", **step.decides(), "devices": job.mesh.size})
        self._done = Path(cache) / f"{name}.done"
        if self._done.exists():
            return
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from nfcli.training import ahead; ahead.main()"],
            # It runs no step, and so needs no memory for one.
            env={**os.environ, "NF_KEEP_MEMORY": "0"},
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self._process.stdin as pipe:
            pipe.write(pickle.dumps(job.config))

    def wait(self) -> None:
        """Return when the programs are in the cache, or the process failed."""
        if self._process is not None and self._process.wait() == 0:
            with contextlib.suppress(OSError):
                self._done.touch()


def main() -> None:
    """Compile the programs of the configuration that comes, pickled by the parent, through standard input."""
    config: TrainConfig = pickle.load(sys.stdin.buffer)
    runtime.prepare(config.devices)
    job = prepare_job(config)
    step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.computing)
    state = step.init()
    make_dispatch(step, job.train.images, config.steps_per_dispatch, job.labels(job.train)).compile(state)
    images = np.zeros((1, *job.model.shape), np.uint8)
    labels = None if job.labels(job.val) is None else np.zeros(1, np.int64)
    job.evaluator()(state["parameters"], images, samples=1, seed=config.seed, labels=labels)
