"""How long inference and sampling take for one batch: compiled, warmed up, median of several."""

import timeit
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.backend.mesh import device_description
from nfcli.evaluation.bound import PRECISION, images_at_once
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.versions import versions

IMAGES, REPETITIONS = 64, 11


def time_model(model: FlowModel, parameters: Parameters) -> dict[str, Any]:
    """Time inference and sampling at the precision that evaluation uses, on one device.

    Returns:
        `inference_ms` of one noise draw's bound on log p(x) and `sampling_ms`, milliseconds for 64 images, median of
        11 calls, of as many at a time as evaluation takes; and what they depend on: `batch_size`, `versions`, `device`.
    """
    batch = images_at_once(model.dimensions, IMAGES)
    parameters = jax.device_put(parameters, jax.local_devices()[0])
    keys = indexed_keys(stream(0, Purpose.TIMING), jnp.arange(batch))
    images = jnp.asarray(np.random.default_rng(0).integers(0, model.levels, (batch, *model.shape)), jnp.uint8)
    labels = jnp.arange(batch) % model.classes if model.classes else None
    inference, sampling = jax.jit(model.log_prob), jax.jit(model.sample)
    with jax.default_matmul_precision(PRECISION):
        times = {
            "inference_ms": IMAGES / batch * _median_ms(lambda: inference(parameters, images, keys, labels)),
            "sampling_ms": IMAGES / batch * _median_ms(lambda: sampling(parameters, keys, labels)),
        }
    return {**times, "batch_size": batch, "versions": versions(), "device": device_description(1)}


def _median_ms(call: Callable[[], Any]) -> float:
    jax.block_until_ready(call())
    return 1000 * float(np.median(timeit.repeat(lambda: jax.block_until_ready(call()), number=1, repeat=REPETITIONS)))
