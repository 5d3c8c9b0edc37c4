"""Settings that must be made before jax is imported.

`prepare()` is called once by the command line (and by anything else that wants the same speed and the same numbers). It
only adds to what the user set, and imports nothing heavy.
"""

import ctypes
import functools
import mmap
import os
import sys
from contextlib import suppress
from pathlib import Path

from nfcli.backend import private
from nfcli.errors import UsageError

FLAGS = {
    # Fusing with YNNPACK on CPU returns wrong sums in jaxlib 0.10.2 (jax issue 39103), and is slow.
    "xla_cpu_experimental_ynn_fusion_type": "",
    # Devices of a CPU wait for each other at every step. Beside other work that may take long, and XLA would complain
    # after 20 seconds, and end the process after 40.
    "xla_cpu_collective_call_warn_stuck_timeout_seconds": "600",
    "xla_cpu_collective_call_terminate_timeout_seconds": "86400",
}
"""Of XLA, where the user set none of the same name."""

MOST_CPU_DEVICES = 16

MADV_DONTNEED, MADV_POPULATE_WRITE = 4, 23
"""The latter of Linux 5.14 and later; Python's `mmap` names it nowhere, and the former on some systems only."""

PIECE = 32 * 2**20
"""Bytes of memory that are taken at a time: no other thread gets any meanwhile."""

FOR_SMALL_ARRAYS, BESIDE_LARGE_ONES = 128 * 2**20, 192 * 2**20
"""Bytes that small arrays can have while a program runs, and that stay free beside each block of its own memory.

malloc takes the smallest free piece that will do, so that the first of them must be the smaller one.
"""

LARGEST_PIECE, LARGEST_SMALL_PIECE, SMALLEST_PIECE = 27, 20, 14
"""Powers of 2."""

MALLOC = ":".join(
    f"glibc.malloc.{tunable}"
    for tunable in ("hugetlb=1", "arena_max=1", "mmap_max=0", "trim_threshold=1099511627776", "top_pad=67108864")
)
"""Tunables with which glibc takes pages of 2 MiB, and keeps what was freed; one arena, for others always map."""

GPU = Path("/dev/nvidiactl")
"""There where NVIDIA's driver is."""


def prepare(devices: int | None = None) -> None:
    """Set XLA's flags, the number of CPU devices and the compilation cache, before jax is imported.

    Args:
        devices: Number of devices that the CPU is shown as, None for one a core.
    """
    if "jax" in sys.modules:
        return
    flags = os.environ.get("XLA_FLAGS", "")
    ours = [f"--{name}={value}" for name, value in FLAGS.items() if name not in flags]
    os.environ["XLA_FLAGS"] = " ".join([*flags.split(), *ours])
    if "xla_force_host_platform_device_count" not in flags:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        # A CPU can be shown as more devices than it has cores, which helps nobody but tests; thousands would hang it.
        shown = cores if devices is None else max(1, min(devices, max(cores, MOST_CPU_DEVICES)))
        os.environ.setdefault("JAX_NUM_CPU_DEVICES", str(shown))
    if (cache := compilation_cache()) is not None:
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")
    switched_on("NF_KEEP_MEMORY")  # `with_large_pages` has no way to refuse it


def with_large_pages() -> None:
    """Start this program again with malloc told to take large pages, which glibc can be told only at a start.

    A program of XLA takes its gigabytes anew each time that it runs, and goes through them several times: in pages of 4
    KiB a step takes up to a third longer. Returns where this was done, where the user told malloc something, also by
    `NF_KEEP_MEMORY=0`, where a GPU has memory of its own, where the same command would not do the same, and on other
    systems.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    chosen = chosen or os.environ.get("NF_KEEP_MEMORY") == "0"
    if sys.platform.startswith("linux") and not chosen and not GPU.exists() and _repeatable():
        with suppress(OSError):
            around = {**os.environ, "GLIBC_TUNABLES": MALLOC, "NF_STARTED_AGAIN": str(os.getpid())}
            os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], around)


def _repeatable() -> bool:
    """Whether this program can be started again, and was not yet.

    Not a notebook, nor a program from stdin, nor a child of `multiprocessing`, which hears from its parent what to do.
    """
    processes = sys.modules.get("multiprocessing.process")
    child = processes is not None and processes.parent_process() is not None
    # The number stays the same; a system may have taken GLIBC_TUNABLES out of the environment.
    again = os.environ.get("NF_STARTED_AGAIN") == str(os.getpid())
    given = sys.argv[:1] == ["-c"] or Path(getattr(sys.modules["__main__"], "__file__", None) or "").is_file()
    return bool(sys.executable) and given and not child and not again


def switched_on(variable: str) -> bool:
    """Whether an environment variable says 1, as it does by default, or 0.

    Raises:
        UsageError: It says something else, which would pass for either.
    """
    text = os.environ.get(variable) or "1"
    if text not in ("0", "1"):
        raise UsageError(f"{variable}={text} is not possible", hint="it must be 0 or 1")
    return text == "1"


def reserve(size: int, count: int) -> bool:
    """Take `count` blocks of `size` bytes from the system now, and leave them to later allocations of that size.

    Where freed memory is kept. Otherwise the system hands out each page when it is first written, one after the other,
    which makes the first steps of a training seconds longer; and small arrays take a part of memory that was freed, so
    that the next step's does not fit there and takes as much again. Small pieces that compiling left free go out of
    use. Other threads can work while this waits.

    Returns:
        Whether that was done.
    """
    if size < PIECE or os.environ.get("GLIBC_TUNABLES") != MALLOC:
        return False
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes, libc.madvise.argtypes = [ctypes.c_void_p], [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    _retire_small_pieces(libc)
    blocks, done = [], True
    # Only what will be used is written to: the rest costs addresses and no memory.
    for used, beside in ((0, FOR_SMALL_ARRAYS), *[(size, BESIDE_LARGE_ONES)] * count):
        # A fence stays, so that blocks do not become one. It is large because a small one would lie somewhere else.
        block, fence = libc.malloc(used + beside), libc.malloc(PIECE)
        blocks.append(block)
        if not block or not fence:
            done = False
            break
        end = block + used
        for start in range(-(-block // mmap.PAGESIZE) * mmap.PAGESIZE, end, PIECE):
            done = done and libc.madvise(start, min(PIECE, end - start), MADV_POPULATE_WRITE) == 0
    for block in blocks:
        libc.free(block)
    return done


def _retire_small_pieces(libc: ctypes.CDLL) -> None:
    """Take every free piece from 16 KiB to 1 MiB for good, and give the memory of all of them back to the system.

    Compiling leaves tens of thousands between what it keeps. malloc walks their list for each array of a step, which
    takes 1 to 24 % of it with Muon on two cores. Where it only gave their pages back, arrays would lie in small pages
    there, and steps be a quarter slower.
    """
    fresh = libc.malloc(2**LARGEST_PIECE)  # where no piece is free any more; addresses grow
    if fresh is None:
        return
    larger = [fresh]
    for exponent in range(LARGEST_PIECE, SMALLEST_PIECE - 1, -1):
        size = 2**exponent - 16  # with malloc's own note before it
        for _ in range(2**32 // size):
            piece = libc.malloc(size)
            if piece is None or piece >= fresh:
                libc.free(piece)
                break
            if exponent > LARGEST_SMALL_PIECE:
                larger.append(piece)  # only so that the smaller ones are not made of these
                continue
            start, end = -(-piece // mmap.PAGESIZE) * mmap.PAGESIZE, (piece + size) // mmap.PAGESIZE * mmap.PAGESIZE
            libc.madvise(start, max(0, end - start), MADV_DONTNEED)
    for piece in larger:
        libc.free(piece)


@functools.cache
def processor_features() -> str:
    """Model and instructions, as Linux tells them, in lines of words; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))


def cache_root() -> Path:
    """The folder of what can be made again: `NF_CACHE_DIR`, or `nf` in the user's cache folder."""
    chosen = os.environ.get("NF_CACHE_DIR")
    return Path(chosen) if chosen else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "nf"


def compilation_cache() -> Path | None:
    """The private folder of compiled programs, made if needed; None where it cannot be made or is not private."""
    from importlib.metadata import version

    # Links are followed here, and never again.
    folder = Path(os.path.realpath(cache_root() / f"compiled-jaxlib-{version('jaxlib')}"))
    try:
        with private.opened(folder):
            return folder
    except OSError:
        return None
