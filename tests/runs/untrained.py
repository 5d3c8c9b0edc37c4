"""Run directories that every command reads, without any training: the weights are random."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np

from nfcli.config import TrainConfig
from nfcli.runs import CheckpointMeta, Checkpoints, RunDir
from nfcli.training.setup import prepare_job

SPREAD = 0.05
"""Of the weights around those that training begins with, of which many are 0, so that nothing would count."""


def untrained(folder: Path, preset: str, dataset: str, **settings) -> RunDir:
    """Write the run `preset` of the narrow twin of a preset into `folder/runs`."""
    chosen = {"dataset": str(folder / dataset), "name": preset, "runs_dir": folder / "runs", "batch_size": 16}
    job = prepare_job(TrainConfig.of_preset(preset, smoke=True, **chosen, **settings))
    generator = np.random.default_rng(0)
    parameters = jax.tree.map(
        lambda leaf: np.asarray(leaf + SPREAD * generator.standard_normal(leaf.shape), np.float32),
        job.model.init(jax.random.key(0)),
    )
    job.run.write_config(job.description())
    meta = CheckpointMeta(step=2, steps_per_epoch=2, best_step=2, best_val_bpd=1.0, best_val_stderr=0.1)
    Checkpoints(job.run.checkpoints).save({"parameters": parameters}, meta)
    return job.run
