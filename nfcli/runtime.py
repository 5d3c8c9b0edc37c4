"""Settings that must be made before jax is imported.

`prepare()` is called once by the command line (and by anything else that wants the same speed and the same numbers). It
only adds to what the user set, and imports nothing heavy.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

YNNPACK_OFF = "--xla_cpu_experimental_ynn_fusion_type="
"""Fusing with YNNPACK on CPU returns wrong sums in jaxlib 0.10.2 (jax issue 39103), and is slow."""

MOST_CPU_DEVICES = 16

IMAGES_PER_DEVICE = 16
"""On CPU a device with fewer images of a batch costs more than it brings."""

MALLOPT = {"M_ARENA_MAX": (-8, 1), "M_MMAP_MAX": (-4, 0), "M_TRIM_THRESHOLD": (-1, -1), "M_TOP_PAD": (-2, 64 * 2**20)}
"""Numbers and values of glibc's `mallopt` that keep freed memory in the process; one arena, for others always map."""


def prepare(devices: int | None = None) -> None:
    """Set XLA's flags, the number of CPU devices, the compilation cache and malloc, before jax is imported.

    Args:
        devices: Number of devices that the CPU is shown as, None for one a core.
    """
    if "jax" in sys.modules:
        return
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_experimental_ynn_fusion_type" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} {YNNPACK_OFF}".strip()
    if "xla_force_host_platform_device_count" not in flags:
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(_shown_devices(devices)))
    cache = compilation_cache()
    if cache is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    keep_memory()


def keep_memory() -> bool:
    """Have glibc keep the memory that is freed, instead of mapping gigabytes anew at every training step.

    A program of XLA asks for its temporary memory each time that it runs. Left alone where `MALLOC_` variables or
    `GLIBC_TUNABLES` say what the user wants, and with `NF_KEEP_MEMORY=0`.

    Returns:
        Whether it does.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if chosen or os.environ.get("NF_KEEP_MEMORY") == "0" or not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    return [mallopt(number, value) for number, value in MALLOPT.values()] == [1] * len(MALLOPT)


def _shown_devices(devices: int | None) -> int:
    cores = available_cores()
    # A CPU can be shown as more devices than it has cores, which helps nobody but tests; thousands would hang it.
    return cores if devices is None else max(1, min(devices, max(cores, MOST_CPU_DEVICES)))


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def cache_root() -> Path:
    """The folder of what can be made again: `NF_CACHE_DIR`, or `nf` in the user's cache folder."""
    chosen = os.environ.get("NF_CACHE_DIR")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nf"


def compilation_cache() -> Path | None:
    """The private folder of compiled programs, made if needed; None where it cannot be made or is not private."""
    from importlib.metadata import version

    folder = cache_root() / f"compiled-jaxlib-{version('jaxlib')}"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        # A compiled program is code: one that another user could have written must not be run.
        status = folder.stat()
        if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
            return None
    except OSError:
        return None
    return folder


def device_count_for(batch_size: int, available: int, *, platform: str) -> int:
    """How many devices share a batch: the most that divide it, and on CPU leave each enough to do."""
    most = available if platform != "cpu" else min(available, max(1, batch_size // IMAGES_PER_DEVICE))
    return max(count for count in range(1, max(1, most) + 1) if batch_size % count == 0)
