"""One mesh with a `data` axis: parameters everywhere, a batch cut along its first axis."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from nfcli.errors import UsageError

IMAGES_PER_DEVICE = 16
"""On CPU a device with fewer images of a batch costs more than it brings."""


def data_mesh(batch_size: int, devices: int | None = None) -> Mesh:
    """A mesh over the devices that share a batch, of which every process has as many as any other.

    Args:
        batch_size: Images in a batch.
        devices: How many devices in all; None for as many as divide the batch and pay.

    Raises:
        UsageError: There are fewer devices, or they do not divide the batch or among the processes.
    """
    own = [jax.local_devices(process) for process in range(jax.process_count())]
    processes, each = len(own), min(map(len, own))
    if batch_size % processes:
        raise UsageError(
            f"a batch of {batch_size} cannot be divided over {processes} processes",
            hint=f"use a batch size that is a multiple of {processes}",
        )
    if devices is None:
        share = batch_size // processes
        most = min(each, max(1, share // IMAGES_PER_DEVICE)) if own[0][0].platform == "cpu" else each
        devices = processes * max(count for count in range(1, most + 1) if share % count == 0)
    _check_count(batch_size, devices, processes, each)
    chosen = [device for devices_of_one in own for device in devices_of_one[: devices // processes]]
    return jax.make_mesh((devices,), ("data",), axis_types=(AxisType.Auto,), devices=chosen)


def _check_count(batch_size: int, devices: int, processes: int, each: int) -> None:
    found = f"{processes * each} found here" if processes == 1 else f"{each} that each of {processes} processes has"
    if not 1 <= devices <= processes * each:
        raise UsageError(f"--devices {devices} is more than the {found}", hint="leave --devices out to use them all")
    if devices % processes:
        raise UsageError(
            f"--devices {devices} cannot be divided over {processes} processes",
            hint=f"it counts the devices of all processes: use a multiple of {processes}",
        )
    if batch_size % devices:
        raise UsageError(
            f"a batch of {batch_size} cannot be divided over {devices} devices",
            hint=f"use a batch size that is a multiple of {devices}, or --devices {processes}",
        )


def shard(mesh: Mesh, count: int, rows: Callable[[np.ndarray], np.ndarray]) -> Array:
    """An array of `count` rows, cut along them; each process makes its own rows and no others.

    Args:
        mesh: Devices that share the rows.
        count: Rows in all.
        rows: Maps (n,) numbers of rows to these rows, (n, ...).
    """
    here = [device.process_index == jax.process_index() for device in mesh.devices.flat]
    mine = np.arange(count).reshape(mesh.size, -1)[here].ravel()
    return jax.make_array_from_process_local_data(batched(mesh), rows(mine))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """A tree of arrays that are the same in every process, on every device."""
    sharding = replicated(mesh)
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)
    # Not `device_put`: it would compare every array across processes first.
    hosted = jax.tree.map(np.asarray, tree)
    return jax.tree.map(lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, lambda cut: leaf[cut]), hosted)


def all_reduce_max(mesh: Mesh, questions: Sequence[Callable[[], int]]) -> Callable[[], tuple[int, ...]]:
    """Ask every process, and take the largest answer to each question.

    A process answers at once, or, where it is alone, when the result is called for.

    Returns:
        A function that waits for what the devices do now, and gives the same answers in every process.
    """
    if jax.process_count() == 1:
        return lambda: tuple(int(question()) for question in questions)
    said = np.array([[question() for question in questions]], np.int32)
    answers = _largest(mesh)(shard(mesh, mesh.size, lambda rows: np.repeat(said, len(rows), axis=0)))
    return lambda: tuple(np.asarray(answers).tolist())


@functools.cache
def _largest(mesh: Mesh) -> Any:
    return jax.jit(lambda said: said.max(axis=0), out_shardings=replicated(mesh))


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
    kind = {"platform": device.platform, "kind": device.device_kind}
    return {**kind, "count": count, "processes": jax.process_count()}
