"""Run directories with measurements in them, without any training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.runs import RunDir
from nfcli.runs.per_image import keep_per_image
from nfcli.runs.results import Evaluation, record

IMAGES = 200
CONFIG: dict[str, Any] = {
    "id": "0",
    "settings": {"epochs": 1, "batch_size": 1, "dataset": "digits"},
    "model": {"preset": "simple", "smoke": False, "shape": [8, 8, 1], "levels": 256, "alpha": 1e-5, "parameters": 10},
    "data": {"name": "digits", "source": "digits", "fingerprint": "0", "train_images": 1, "val_images": 1},
    "versions": {},
    "device": {},
    "continued": [],
}


def evaluation_of(bpd: np.ndarray) -> Evaluation:
    """A measurement with these bits per dimension of each image."""
    return Evaluation(
        split="test",
        split_fingerprint="f" * 64,
        images=len(bpd),
        importance_samples=8,
        seed=42,
        checkpoint_step=10,
        bpd=float(bpd.mean()),
        bpd_stderr=0.1,
        elbo_bpd=2.0,
        effective_sample_size=1.5,
        precision="float32",
        versions={},
        device={},
    )


def measured(folder: Path, name: str, bpd: np.ndarray, settings: dict | None = None, **changes) -> RunDir:
    """A run directory with one measurement, some settings of training and of the measurement changed."""
    run, config = RunDir(folder / name), {**CONFIG, "settings": {**CONFIG["settings"], **(settings or {})}}
    run.write_config(config)
    evaluation = replace(evaluation_of(bpd), **changes)
    keep_per_image(run, evaluation, {"bpd": bpd})
    record(run, config, [evaluation], {"inference_ms": 1.0, "sampling_ms": 2.0})
    return run
