"""In which precision, and by what, the networks of couplings are computed; all else is float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from nfcli.backend.probe import matrix_units_found
from nfcli.config import TrainConfig
from nfcli.flows.networks import ComputePolicy
from nfcli.runs import RunDir


def network_dtype(config: TrainConfig, run: RunDir) -> str:
    """What "auto" becomes; a run that is continued has settled it."""
    if config.network_dtype != "auto":
        return config.network_dtype
    if run.exists() and not config.overwrite:
        return str(run.config()["settings"].get("network_dtype", "float32"))
    return "bfloat16" if not config.smoke and _has_matrix_units() else "float32"


def policy_in_words(policy: ComputePolicy) -> str:
    """How the networks are computed, for a line at the start."""
    if policy.matrix_units:
        return "bfloat16, on the matrix units of this CPU"
    return "float32" if policy.dtype is None else str(policy.dtype)


def policy_of(config: TrainConfig) -> ComputePolicy:
    """How the networks of a configuration, whose "auto" is resolved, are computed on this machine."""
    if config.network_dtype != "bfloat16":
        return ComputePolicy(remat=config.remat)
    return ComputePolicy(jnp.dtype(jnp.bfloat16), matrix_units=_has_matrix_units(), remat=config.remat)


def _has_matrix_units() -> bool:
    return jax.default_backend() == "cpu" and matrix_units_found()
