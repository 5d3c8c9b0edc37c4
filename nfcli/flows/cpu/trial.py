"""Whether the matrix units of this CPU compute what they should, and fast enough; this may end the process."""

from __future__ import annotations

from functools import partial
from timeit import repeat
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


def passes() -> bool:
    """Try every operation and its gradients against plain ones, and time a convolution."""
    generator = np.random.default_rng(0)

    def draw(*shape: int) -> Any:
        return jnp.asarray(generator.normal(size=shape), jnp.float32)

    for channels, width in ((4, 7), (16, 8)):
        x = draw(8, 6, width, channels).astype(jnp.bfloat16)
        kernels = 0.2 * draw(3, 3, 2 * channels, channels), 0.2 * draw(1, 1, 2 * channels, 2 * channels)
        rest = [*kernels, 1 + 0.1 * draw(channels), draw(channels)], draw(*x.shape)
        found, wanted = (jax.tree.leaves(_trial(compute, x.astype(dtype), *rest)) for compute, dtype in WAYS)
        for got, want in zip(found, wanted, strict=True):
            if not np.allclose(got, want, rtol=0, atol=TOLERANCE * np.abs(want).max()):
                return False
    x, rest = draw(32, 28, 28, 64), (draw(3, 3, 64, 32), jnp.zeros(32))
    units, plain = (_seconds(jax.jit(compute.convolve), x.astype(dtype), *rest) for compute, dtype in WAYS)
    return plain >= WORTH * units


@partial(jax.jit, static_argnums=0)
@partial(jax.value_and_grad, argnums=(1, 2))
def _trial(compute: ModuleType, x: Any, parameters: Any, weights: Any) -> Any:
    conv, gate, scale, bias = parameters
    hidden = compute.convolve(compute.concat_elu(x), conv, bias)
    result = compute.layer_norm(compute.add_gated(x, hidden, gate, jnp.tile(bias, 2)), scale, bias)
    return jnp.sum(result.astype(jnp.float32) * weights)


def _seconds(run: Any, *arguments: Any) -> float:
    # The first time includes compiling, and is not the least.
    return min(repeat(lambda: run(*arguments).block_until_ready(), number=1, repeat=6))
