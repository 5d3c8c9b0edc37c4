"""How long inference and sampling take for one batch: compiled, warmed up, median of several."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.evaluation.bound import PRECISION
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.randomness import Purpose, indexed_keys, stream

BATCH = 64
REPETITIONS = 11


@dataclass(frozen=True)
class Timing:
    """Milliseconds for a batch of 64 images on one device, median of 11 calls.

    Attributes:
        inference_ms: One noise draw's bound on log p(x).
        sampling_ms: Sampling images.
        batch_size: 64.
    """

    inference_ms: float
    sampling_ms: float
    batch_size: int = BATCH


def time_model(model: FlowModel, parameters: Parameters) -> Timing:
    """Time inference and sampling at the precision that evaluation uses."""
    parameters = jax.device_put(parameters, jax.local_devices()[0])
    keys = indexed_keys(stream(0, Purpose.TIMING), jnp.arange(BATCH))
    generator = np.random.default_rng(0)
    images = jnp.asarray(generator.integers(0, model.levels, (BATCH, *model.shape)), jnp.uint8)
    labels = jnp.arange(BATCH) % model.classes if model.classes else None
    with jax.default_matmul_precision(PRECISION):
        inference = jax.jit(model.log_prob)
        sampling = jax.jit(model.sample)
        return Timing(
            inference_ms=_median_ms(lambda: inference(parameters, images, keys, labels)),
            sampling_ms=_median_ms(lambda: sampling(parameters, keys, labels)),
        )


def _median_ms(call: Callable[[], Any]) -> float:
    jax.block_until_ready(call())
    times = []
    for _ in range(REPETITIONS):
        start = time.perf_counter()
        jax.block_until_ready(call())
        times.append(1000 * (time.perf_counter() - start))
    return float(np.median(times))
