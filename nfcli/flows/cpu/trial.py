"""Whether oneDNN computes what it should on this CPU, and fast enough; this may end the process."""

from collections.abc import Callable
from functools import partial
from timeit import timeit
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.flows import operations
from nfcli.flows.cpu import onednn

TOLERANCE = {"bfloat16": 0.03, "float32": 1e-4}
"""Of a result, relative to the largest one: bfloat16 has 8 bits."""

WORTH = 1.1
"""It must be so many times as fast as every other way, and counts as slower if one is so many times as fast."""

ENOUGH, MOST = 6, 18
"""Each is timed so often before oneDNN can count as fast enough, and before it counts as too slow."""


def is_right(dtype: str) -> bool:
    """Whether every operation and its gradients give what the plain ones do."""
    for channels, width in ((4, 7), (16, 8)):
        runs = _ways((8, 6, width, channels), dtype)
        ours, plain = (jax.tree.leaves(run()) for run in (runs[0], runs[-1]))
        for got, want in zip(ours, plain, strict=True):
            if not np.allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * np.abs(want).max()):
                return False
    return True


def is_fast(dtype: str) -> bool | None:
    """Whether a residual block and its gradients are worth it, as `is_faster`."""
    runs = _ways((64, 28, 28, 32), dtype)
    return is_faster(*(lambda run=run: jax.block_until_ready(run()) for run in runs))


def _ways(shape: tuple[int, ...], dtype: str) -> list[Callable[[], Any]]:
    """The same block with the same values: by oneDNN in this type, in float32, and by XLA in float32."""
    draw: Any = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    channels = shape[-1]
    x = draw(shape).astype(jnp.bfloat16)  # what both types can hold
    kernels = 0.2 * draw((3, 3, 2 * channels, channels)), 0.2 * draw((1, 1, 2 * channels, 2 * channels))
    parameters, weights = [*kernels, 1 + 0.1 * draw(channels), draw(channels)], draw(shape)
    ways = *((onednn, of) for of in dict.fromkeys((dtype, "float32"))), (operations, "float32")
    return [partial(_block, compute, x.astype(of), parameters, weights) for compute, of in ways]


@partial(jax.jit, static_argnums=0)
@partial(jax.value_and_grad, argnums=(1, 2))
def _block(compute: ModuleType, x: Any, parameters: Any, weights: Any) -> Any:
    conv, gate, scale, bias = parameters
    hidden = compute.convolve(compute.concat_elu(x), conv, bias)
    result = compute.layer_norm(compute.add_gated(x, hidden, gate, jnp.tile(bias, 2)), scale, bias)
    return jnp.sum(result.astype(jnp.float32) * weights)


def is_faster(ours: Callable[[], Any], *others: Callable[[], Any]) -> bool | None:
    """Whether the first is `WORTH` its place, by the shortest time of each: other work on the machine only adds to it.

    They take turns, so that such work meets all. The first turn includes compiling, and is not the shortest.

    Args:
        ours, others: Compute, and wait for the result.

    Returns:
        None where they are closer than that: on another day it may be.
    """
    shortest = np.full(1 + len(others), np.inf)
    for turn in range(1, MOST + 1):
        shortest = np.minimum(shortest, [timeit(run, number=1) for run in (ours, *others)])
        if turn >= ENOUGH and shortest[1:].min() >= WORTH * shortest[0]:
            return True
    return False if WORTH * shortest[1:].min() <= shortest[0] else None
