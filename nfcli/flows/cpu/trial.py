"""Whether the matrix units of this CPU compute what they should, and fast enough; this may end the process."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.flows import operations
from nfcli.flows.cpu import matrix_units

TOLERANCE = 0.03
"""Of a result, relative to the largest one: bfloat16 has 8 bits."""

WORTH = 1.2
"""The units must be so many times as fast as XLA's own convolution in float32."""


def passes() -> bool:
    """Try every operation and its gradients against plain ones, and time a convolution."""
    generator = np.random.default_rng(0)

    def draw(*shape: int, dtype: Any = jnp.float32) -> Any:
        return jnp.asarray(generator.normal(size=shape), dtype)

    for channels, width in ((4, 7), (16, 8)):
        x = draw(8, 6, width, channels, dtype=jnp.bfloat16)
        kernels = [0.2 * draw(3, 3, 2 * channels, channels), 0.2 * draw(1, 1, 2 * channels, 2 * channels)]
        rest = [1 + 0.1 * draw(channels), draw(channels)]
        if not _agree(x, [*kernels, *rest], weights=draw(*x.shape)):
            return False
    x, kernel, bias = draw(32, 28, 28, 64), draw(3, 3, 64, 32), jnp.zeros(32)
    units = _seconds(jax.jit(matrix_units.convolve), x.astype(jnp.bfloat16), kernel, bias)
    return _seconds(jax.jit(operations.convolve), x, kernel, bias) >= WORTH * units


def _network(compute: ModuleType, x: Any, conv: Any, gate: Any, scale: Any, bias: Any) -> Any:
    hidden = compute.convolve(compute.concat_elu(x), conv, bias)
    return compute.layer_norm(compute.add_gated(x, hidden, gate, jnp.tile(bias, 2)), scale, bias)


def _agree(x: Any, parameters: list[Any], weights: Any) -> bool:
    def loss(compute: ModuleType, x: Any, parameters: list[Any]) -> Any:
        return jnp.sum(_network(compute, x, *parameters).astype(jnp.float32) * weights)

    found, wanted = (
        jax.jit(jax.value_and_grad(loss, (1, 2)), static_argnums=0)(compute, x.astype(dtype), parameters)
        for compute, dtype in ((matrix_units, jnp.bfloat16), (operations, jnp.float32))
    )
    pairs = [
        (np.asarray(got, np.float32), np.asarray(want, np.float32))
        for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True)
    ]
    return all(np.all(np.abs(got - want) <= TOLERANCE * np.abs(want).max()) for got, want in pairs)


def _seconds(run: Callable[..., Any], *arguments: Any) -> float:
    run(*arguments).block_until_ready()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        run(*arguments).block_until_ready()
        times.append(time.perf_counter() - begin)
    return min(times)
