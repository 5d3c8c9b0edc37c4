"""How the processes of one run find each other, and end when one of them is lost.

`jax.distributed` connects them. Its coordination service, in process 0, notices a process that is silent for too long.
"""

import functools
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from nfcli.errors import LostError, NFError, UsageError, error_lines
from nfcli.limits import check_settings, require, setting, whole
from nfcli.process.collectives import client, count, is_first, lost
from nfcli.process.signals import leave

LOST_SECONDS = 60
"""A process that is silent for so long is lost; `NF_LOST_SECONDS` changes it."""

JOIN_SECONDS = 300
"""So long all processes wait for the last one; `NF_JOIN_SECONDS` changes it."""

LEAVE_SECONDS = 10
"""A process that failed waits so long for others that failed with it."""

GRACE_SECONDS = 2
"""A main thread that notices a loss by itself has so long to say so."""

_ending = threading.Lock()
"""Held by whoever has begun to end this process, and tells why."""

_kept: list[Any] = []
"""What C++ points to."""

_abandoned = threading.Event()
"""Others were left behind."""


@dataclass(frozen=True)
class Cluster:
    """How the processes of one run find each other.

    With `distributed` alone jax detects them, in jobs of Slurm, Open MPI, Kubernetes and on TPU.
    """

    distributed: bool = setting(False, "Work with the other processes of a Slurm, MPI, Kubernetes or TPU job.")
    coordinator: str | None = setting(
        None, "Work with others, started by hand: where process 0 listens.", metavar="HOST:PORT"
    )
    num_processes: int | None = setting(None, "How many they are.", whole(1, 2**16))
    process_id: int | None = setting(None, "Which of them this is, from 0.")

    def __post_init__(self) -> None:
        place, processes, me = self.coordinator, self.num_processes, self.process_id
        if place is None and processes is None and me is None:
            return
        if place is None or processes is None or me is None:
            raise UsageError(
                "--coordinator, --num-processes and --process-id go together",
                hint="for example --coordinator 10.0.0.1:5555 --num-processes 2 --process-id 0",
            )
        host, _, port = place.rpartition(":")
        if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
            raise UsageError(f"--coordinator {place} is no HOST:PORT", hint="for example 10.0.0.1:5555")
        check_settings(self)
        require("process_id", me, whole(0, processes - 1))


@contextmanager
def joined(cluster: Cluster, message: Callable[[str], None], mute: Callable[[], None]) -> Iterator[None]:
    """Work with the other processes of a cluster, and leave with them; comes before anything else of jax.

    Args:
        cluster: Where they are, if there are any.
        message: Told how many there are.
        mute: Called in all processes but the first, which speaks for all.

    Raises:
        UsageError: jax detects no cluster.
        NFError: The others do not come.
    """
    if not cluster.distributed and cluster.coordinator is None:
        yield
        return
    _keep_stdout()
    _join(cluster)
    try:
        if not is_first():
            mute()
        message(f"processes: {count()}")
        yield
    except BaseException as error:
        _part(error)
        raise
    _part()


def _keep_stdout() -> None:
    """Let what Python prints go where it went, and what C++ prints nowhere: Gloo greets the user on stdout."""
    if sys.stdout is None:  # it was closed
        return
    sys.stdout.flush()
    kept = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdout = os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def _join(cluster: Cluster) -> None:
    import jax

    patience = _seconds("NF_JOIN_SECONDS", JOIN_SECONDS)
    at_hand = cluster.coordinator is not None and cluster.coordinator.rpartition(":")[0] in ("127.0.0.1", "localhost")
    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    # The client that is made tells of a loss, instead of ending the process with a stack of C++. jaxlib 0.10 calls back
    # with a status for which Python has no type: C++ then terminates, and that is heard too.
    _on_terminate(_tell_of_loss)
    library: Any = import_module("jax._src.lib")._jax
    make = library.get_distributed_runtime_client
    library.get_distributed_runtime_client = functools.partial(make, missed_heartbeat_callback=_tell_of_loss)
    try:
        jax.distributed.initialize(
            cluster.coordinator,
            cluster.num_processes,
            cluster.process_id,
            cluster_detection_method=None if cluster.coordinator is None else "deactivate",
            initialization_timeout=patience,
            heartbeat_timeout_seconds=_seconds("NF_LOST_SECONDS", LOST_SECONDS),
            # On loopback alone if that is where the others look for process 0, else wherever jax does.
            coordinator_bind_address=cluster.coordinator if at_hand else None,
        )
    except ValueError as error:
        raise UsageError(
            f"--distributed finds no other processes here: {str(error).rstrip('.')}",
            hint="outside of Slurm, Open MPI, Kubernetes and TPU use --coordinator, --num-processes and --process-id",
        ) from error
    except RuntimeError as error:
        _abandoned.set()
        raise NFError(
            f"the {cluster.num_processes or 'other'} processes of this run did not find each other in {patience} s",
            hint="start all of them within that time (NF_JOIN_SECONDS); each must reach the coordinator's address",
        ) from error
    finally:
        library.get_distributed_runtime_client = make


def _tell_of_loss(*_: object) -> None:
    """End this process: its main thread may wait in compiled code for one that is gone, and nothing can wake it."""
    time.sleep(GRACE_SECONDS)
    if not _ending.acquire(timeout=2 * LEAVE_SECONDS):
        leave(1)
    error = lost("it shows no sign of life")
    leave(error.exit_code, f"{error_lines(error)}\n")


def _on_terminate(function: Callable[[], None]) -> None:
    """Call this when C++ would abort because of an exception that nobody catches, where its library can be found."""
    import ctypes

    name = {"linux": "libstdc++.so.6", "darwin": "libc++.1.dylib"}.get(sys.platform)
    with suppress(OSError, AttributeError):
        callback = ctypes.CFUNCTYPE(None)(function)
        ctypes.CDLL(name)["_ZSt13set_terminatePFvvE"](callback)
        _kept.append(callback)


def _part(error: BaseException | None = None) -> None:
    """Part from the others at the end; they are left behind if they do not end as this process does."""
    import jax

    _ending.acquire()
    if isinstance(error, LostError):
        _abandoned.set()
        return
    try:
        if error is not None:
            client().wait_at_barrier("nf-leave", 1000 * LEAVE_SECONDS)
        jax.distributed.shutdown()
    except Exception:
        _abandoned.set()


def end(code: int) -> NoReturn:
    """End a command; at once where others were left behind, for whom the interpreter's ordinary end would wait."""
    if _abandoned.is_set():
        if sys.stdout is not None:
            sys.stdout.flush()
        leave(code)
    sys.exit(code)


def _seconds(variable: str, default: int) -> int:
    text = os.environ.get(variable, "") or str(default)
    if not text.isdecimal() or len(text) > 6 or int(text) < 1:
        raise UsageError(f"{variable}={text} is not possible", hint="it must be a whole number of seconds, 1 to 999999")
    return int(text)
