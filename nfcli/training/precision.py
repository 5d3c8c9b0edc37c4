"""In which precision, and by what, the networks of couplings are computed; all else is float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nfcli.flows.networks import Computing
from nfcli.probe import has_tiles, matrix_units_found
from nfcli.runs import RunDir
from nfcli.training.config import TrainConfig


def network_dtype(config: TrainConfig, run: RunDir) -> str:
    """What "auto" becomes; a run that is continued has settled it."""
    if config.network_dtype != "auto":
        return config.network_dtype
    if run.exists() and not config.overwrite:
        return str(run.config()["settings"].get("network_dtype", "float32"))
    return "bfloat16" if not config.smoke and _has_matrix_units() else "float32"


def computing_in_words(computing: Computing) -> str:
    """How the networks are computed, for a line at the start."""
    if computing.matrix_units:
        return "bfloat16, on the matrix units of this CPU"
    return "float32" if computing.dtype is None else str(computing.dtype)


def computing_of(config: TrainConfig) -> Computing:
    """How the networks of a configuration, whose "auto" is resolved, are computed on this machine."""
    if config.network_dtype != "bfloat16":
        return Computing(remat=config.remat)
    return Computing(jnp.dtype(jnp.bfloat16), matrix_units=_has_matrix_units(), remat=config.remat)


def devices_of(config: TrainConfig, computing: Computing) -> int | None:
    """How many devices share a batch, None for as many as pay.

    Where the units are tiles, one device with all cores was ahead: multiscale at 56 images/s, and at 37 with a device a
    core. Where they are vectors, a device a core is ahead by a fifth.
    """
    if config.devices is None and computing.matrix_units and has_tiles():
        return jax.process_count()
    return config.devices


def _has_matrix_units() -> bool:
    return jax.default_backend() == "cpu" and matrix_units_found()
