"""Whether the matrix units of this CPU compute what they should, and fast enough; this may end the process."""

from collections.abc import Callable
from functools import partial
from timeit import timeit
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.flows import operations
from nfcli.flows.cpu import matrix_units

WAYS = (matrix_units, jnp.bfloat16), (operations, jnp.float32)

TOLERANCE = 0.03
"""Of a result, relative to the largest one: bfloat16 has 8 bits."""

WORTH = 1.2
"""The units must be so many times as fast as XLA's own convolution in float32."""

ENOUGH, MOST = 6, 30
"""Each is timed so often before the units can count as fast enough, and before they count as too slow."""


def are_right() -> bool:
    """Whether every operation and its gradients give what the plain ones do."""
    draw: Any = partial(np.random.default_rng(0).standard_normal, dtype=np.float32)
    for channels, width in ((4, 7), (16, 8)):
        x = draw((8, 6, width, channels)).astype(jnp.bfloat16)
        kernels = 0.2 * draw((3, 3, 2 * channels, channels)), 0.2 * draw((1, 1, 2 * channels, 2 * channels))
        parameters, weights = [*kernels, 1 + 0.1 * draw(channels), draw(channels)], draw(x.shape)
        results = [jax.tree.leaves(_trial(compute, x.astype(dtype), parameters, weights)) for compute, dtype in WAYS]
        for got, want in zip(*results, strict=True):
            if not np.allclose(got, want, rtol=0, atol=TOLERANCE * np.abs(want).max()):
                return False
    return True


@partial(jax.jit, static_argnums=0)
@partial(jax.value_and_grad, argnums=(1, 2))
def _trial(compute: ModuleType, x: Any, parameters: Any, weights: Any) -> Any:
    conv, gate, scale, bias = parameters
    hidden = compute.convolve(compute.concat_elu(x), conv, bias)
    result = compute.layer_norm(compute.add_gated(x, hidden, gate, jnp.tile(bias, 2)), scale, bias)
    return jnp.sum(result.astype(jnp.float32) * weights)


def are_fast() -> bool:
    """Whether a convolution on them is worth it."""
    x, kernel, bias = jnp.ones((32, 28, 28, 64)), jnp.ones((3, 3, 64, 32)), jnp.zeros(32)
    runs = [partial(jax.jit(compute.convolve), x.astype(dtype), kernel, bias) for compute, dtype in WAYS]
    return is_faster(*(lambda run=run: run().block_until_ready() for run in runs))


def is_faster(units: Callable[[], Any], plain: Callable[[], Any]) -> bool:
    """Whether the first is `WORTH` its place, by the shortest time of each: other work on the machine only adds to it.

    They take turns, so that such work meets both. The first turn includes compiling, and is not the shortest.

    Args:
        units, plain: Compute, and wait for the result.
    """
    shortest = np.full(2, np.inf)
    for turn in range(1, MOST + 1):
        shortest = np.minimum(shortest, [timeit(run, number=1) for run in (units, plain)])
        if turn >= ENOUGH and shortest[1] >= WORTH * shortest[0]:
            return True
    return False
