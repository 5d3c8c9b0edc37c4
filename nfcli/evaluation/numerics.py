"""A self-check that the installed jaxlib computes right on this machine, before any number is trusted."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.errors import NumericsError

TOLERANCE = 1e-4


@functools.cache
def check_numerics() -> float:
    """Compare a long batch of small matrix-vector products, each squared and summed, with its exact value.

    This is the program that jaxlib 0.10.2 gets wrong on CPU when it fuses with YNNPACK (jax issue 39103).

    Returns:
        The relative error that was found, below `TOLERANCE`.

    Raises:
        NumericsError: The error is larger: every number from this installation would be in doubt.
    """
    rows = np.zeros((32769, 3), np.float32)
    rows[:, 0] = np.arange(len(rows))
    with jax.default_matmul_precision("highest"):
        got = jax.jit(jax.vmap(lambda row: jnp.sum(jnp.square(jnp.eye(3) @ row))))(rows)
    want = np.arange(len(rows), dtype=np.float64) ** 2
    error = float(np.max(np.abs(np.asarray(got, np.float64) - want) / np.maximum(want, 1)))
    if not error < TOLERANCE:
        raise NumericsError(
            f"jaxlib computes wrong on this machine: a sum of a matrix product is off by {error:.1%}",
            hint="add --xla_cpu_experimental_ynn_fusion_type= to XLA_FLAGS (nf does so unless XLA_FLAGS sets it)",
        )
    return error
