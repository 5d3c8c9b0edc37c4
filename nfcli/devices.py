"""One mesh with a `data` axis: parameters everywhere, a batch cut along its first axis."""

from __future__ import annotations

from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nfcli.errors import UsageError
from nfcli.runtime import device_count_for


def data_mesh(batch_size: int, devices: int | None = None) -> Mesh:
    """A mesh over the local devices that share a batch.

    Args:
        batch_size: Images in a batch.
        devices: How many devices; None for as many as divide the batch and pay.

    Raises:
        UsageError: There are fewer devices, or they do not divide the batch.
    """
    available = jax.local_devices()
    if devices is None:
        devices = device_count_for(batch_size, len(available), platform=available[0].platform)
    if not 1 <= devices <= len(available):
        raise UsageError(
            f"--devices {devices} is more than the {len(available)} found here",
            hint="leave --devices out to use them all",
        )
    if batch_size % devices:
        raise UsageError(
            f"a batch of {batch_size} cannot be divided over {devices} devices",
            hint=f"use a batch size that is a multiple of {devices}, or --devices 1",
        )
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=available[:devices])


def replicated(mesh: Mesh) -> NamedSharding:
    """On every device."""
    return NamedSharding(mesh, PartitionSpec())


def batched(mesh: Mesh) -> NamedSharding:
    """Cut along the first axis."""
    return NamedSharding(mesh, PartitionSpec("data"))


def compiler_options(mesh: Mesh) -> dict[str, str] | None:
    """What XLA must be told to keep barriers, without which it computes values twice, and `--remat` nothing twice.

    On CPU it drops them before it looks for common subexpressions and before it fuses.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if mesh.devices.flat[0].platform == "cpu" else None


def device_description(count: int) -> dict[str, Any]:
    """What numbers were computed on, for a run's files."""
    device = jax.local_devices()[0]
    return {"platform": device.platform, "kind": device.device_kind, "count": count}
