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

CLOSE = 1.1
"""Times that differ by less are close."""

TURNS = 15
"""Each is timed so often: ending as soon as one seems fast enough would take chance for speed."""


def is_right(dtype: str) -> bool:
    """Whether every operation and its gradients give what the plain ones do."""
    for channels, width in ((4, 7), (16, 8)):
        runs = _ways((8, 6, width, channels), dtype)
        ours, plain = (jax.tree.leaves(run()) for run in (runs[0], runs[-1]))
        for got, want in zip(ours, plain, strict=True):
            if not np.allclose(got, want, rtol=0, atol=TOLERANCE[dtype] * np.abs(want).max()):
                return False
    return True


def is_fast(dtype: str, *, expected: bool) -> bool:
    """Whether a residual block and its gradients are computed fastest so; where times are close, what is expected."""
    runs = _ways((32, 28, 28, 64), dtype)  # mostly convolutions, as a step of training
    waited = [lambda run=run: jax.block_until_ready(run()) for run in runs]
    return is_faster(*waited, worth=1 / CLOSE if expected else CLOSE)


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


def is_faster(ours: Callable[[], Any], *others: Callable[[], Any], worth: float) -> bool:
    """Whether the first is `worth` times as fast as all others, by the shortest time of each: other work adds to it.

    They take turns, so that such work meets all. The first turn includes compiling, and is not the shortest.

    Args:
        ours, others: Compute, and wait for the result.
        worth: Below 1 it may be slower.
    """
    shortest = np.full(1 + len(others), np.inf)
    for _ in range(TURNS):
        shortest = np.minimum(shortest, [timeit(run, number=1) for run in (ours, *others)])
    return bool(shortest[1:].min() >= worth * shortest[0])
