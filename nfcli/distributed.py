"""Many processes, one run: how they find each other, decide as one, and end when one of them is lost.

Arrays travel by JAX's own collectives. The few words besides, such as an error that all must hear of, travel by the
coordination service of `jax.distributed`, which lives in process 0 and notices a process that is silent for too long.
With one process everything here is immediate. `join` comes before anything else of jax.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from nfcli import errors
from nfcli.errors import NFError, UsageError

T = TypeVar("T")

LOST_SECONDS = 60
"""A process that is silent for so long is lost; `NF_LOST_SECONDS` changes it."""

JOIN_SECONDS = 300
"""So long the first process waits for the last one; `NF_JOIN_SECONDS` changes it."""

LEAVE_SECONDS = 10
"""A process that failed waits so long for others that failed with it."""

PATIENCE_SECONDS = 7 * 24 * 3600
"""Others may load or compile for long, and that they live is seen otherwise."""

OF_THIS_PROCESS = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "OUT_OF_RANGE")
"""What XLA calls errors that have nothing to do with other processes."""

GRACE_SECONDS = 2
"""A main thread that notices a loss by itself has so long to say so."""

_ending = threading.Lock()
"""Held by whoever has begun to end this process, and tells why."""

_kept: list[Any] = []
"""What C++ points to."""

_abandoned = False

_exchanges = itertools.count()


class LostError(NFError):
    """Another process of the run is gone.

    Args:
        reason: How that was noticed.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"lost contact with another process of this run: {reason}",
            hint="see what that one says, and start all of them again: training continues from its last checkpoint",
        )


@dataclass(frozen=True)
class Cluster:
    """How the processes of one run find each other.

    Attributes:
        coordinator: HOST:PORT where process 0 listens; None for all of them as jax detects them, in jobs of Slurm, Open
            MPI, Kubernetes and on TPU.
        num_processes: How many there are.
        process_id: Which one this is, from 0.
    """

    coordinator: str | None = None
    num_processes: int | None = None
    process_id: int | None = None

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
        if processes < 1:
            raise UsageError(f"--num-processes {processes} is not possible", hint="it must be at least 1")
        if not 0 <= me < processes:
            between = f"with --num-processes {processes} it is between 0 and {processes - 1}"
            raise UsageError(f"--process-id {me} is not possible", hint=between)


def join(cluster: Cluster, on_loss: Callable[[LostError], None]) -> None:
    """Find the other processes; comes before anything else of jax.

    Args:
        cluster: Where they are.
        on_loss: Called in a thread of its own when another process is gone and the main thread does not notice. Must
            end this process: its main thread may wait for the other one for ever.

    Raises:
        UsageError: jax detects no cluster.
        NFError: The others do not come.
    """
    global _abandoned
    import jax

    # It would take SIGTERM for itself.
    jax.config.update("jax_enable_preemption_service", False)
    try:
        with _listening(on_loss):
            jax.distributed.initialize(
                cluster.coordinator,
                cluster.num_processes,
                cluster.process_id,
                cluster_detection_method=None if cluster.coordinator is None else "deactivate",
                initialization_timeout=_seconds("NF_JOIN_SECONDS", JOIN_SECONDS),
                heartbeat_timeout_seconds=_seconds("NF_LOST_SECONDS", LOST_SECONDS),
                coordinator_bind_address=_bind_address(cluster.coordinator),
            )
    except ValueError as error:
        raise UsageError(
            f"--distributed finds no other processes here: {str(error).rstrip('.')}",
            hint="outside of Slurm, Open MPI, Kubernetes and TPU use --coordinator, --num-processes and --process-id",
        ) from error
    except RuntimeError as error:
        _abandoned = True
        waited = _seconds("NF_JOIN_SECONDS", JOIN_SECONDS)
        raise NFError(
            f"the {cluster.num_processes or 'other'} processes of this run did not find each other in {waited} s",
            hint="start all of them within that time (NF_JOIN_SECONDS); each must reach the coordinator's address",
        ) from error


@contextmanager
def _listening(on_loss: Callable[[LostError], None]) -> Iterator[None]:
    """Have the client that is made inside tell of a loss, instead of ending the process with a stack of C++.

    jaxlib 0.10 calls back with a status for which Python has no type: C++ then terminates, and that is heard too.
    """
    library: Any = import_module("jax._src.lib")._jax
    make = library.get_distributed_runtime_client

    def lost(*_: object) -> None:
        time.sleep(GRACE_SECONDS)
        if not _ending.acquire(timeout=2 * LEAVE_SECONDS):
            os._exit(1)
        on_loss(LostError("it shows no sign of life"))

    _on_terminate(lost)
    library.get_distributed_runtime_client = functools.partial(make, missed_heartbeat_callback=lost)
    try:
        yield
    finally:
        library.get_distributed_runtime_client = make


def _on_terminate(function: Callable[[], None]) -> None:
    """Call this when C++ would abort because of an exception that nobody catches, where its library can be found."""
    name = {"linux": "libstdc++.so.6", "darwin": "libc++.1.dylib"}.get(sys.platform)
    with suppress(OSError, AttributeError):
        callback = ctypes.CFUNCTYPE(None)(function)
        ctypes.CDLL(name)["_ZSt13set_terminatePFvvE"](callback)
        _kept.append(callback)


def leave(error: BaseException | None = None) -> None:
    """Leave with the others; without them, if they do not end as this process does."""
    global _abandoned
    import jax

    _ending.acquire()
    try:
        if isinstance(error, LostError):
            raise error
        if error is not None:
            _client().wait_at_barrier("nf-leave", 1000 * LEAVE_SECONDS)
        jax.distributed.shutdown()
    except Exception:
        _abandoned = True


def has_abandoned() -> bool:
    """Whether others were left behind; the ordinary end of the interpreter would wait for them."""
    return _abandoned


def count() -> int:
    """Processes of this run; 1 without `join`."""
    jax = sys.modules.get("jax")
    return int(jax.process_count()) if jax is not None and jax.distributed.is_initialized() else 1


def index() -> int:
    """Which of them this is."""
    jax = sys.modules.get("jax")
    return int(jax.process_index()) if jax is not None and jax.distributed.is_initialized() else 0


def is_first() -> bool:
    """Whether this is the process that reports and writes."""
    return index() == 0


def exchange(text: str) -> list[str]:
    """What every process says, in their order; waits for all of them."""
    if count() == 1:
        return [text]
    client, number = _client(), next(_exchanges)
    client.key_value_set(f"nf/{number}/{index()}", text)
    client.wait_at_barrier("nf", 1000 * PATIENCE_SECONDS)
    said = [client.blocking_key_value_get(f"nf/{number}/{process}", 1000 * LOST_SECONDS) for process in range(count())]
    # All have come to this exchange, so all have read the one before.
    client.key_value_delete(f"nf/{number - 1}/{index()}")
    return said


def from_first(function: Callable[[], T]) -> T:
    """Call a function in the first process only; what it returns, or raises, comes out in all of them.

    Args:
        function: Returns something that JSON can hold.
    """
    if count() == 1:
        return function()
    value, mine = None, None
    if is_first():
        try:
            value = function()
        except Exception as error:
            mine = error
    told = json.loads(exchange(json.dumps([value, _described(mine)]))[0])
    _raise(told[1], 0, mine)
    result: T = told[0]
    return result


@contextmanager
def together() -> Iterator[None]:
    """What goes wrong inside, in any process, is raised in all of them. Nothing inside may wait for other processes."""
    if count() == 1:
        yield
        return
    mine = None
    try:
        yield
    except Exception as error:
        mine = error
    for process, told in enumerate(exchange(json.dumps(_described(mine)))):
        _raise(json.loads(told), process, mine)


def require_same(content: dict[str, Any]) -> None:
    """See that every process comes with the same.

    Raises:
        UsageError: One of them does not.
    """
    first, *others = (json.loads(said) for said in exchange(json.dumps(content)))
    for process, other in enumerate(others, 1):
        for name, value in first.items():
            if other.get(name) != value:
                raise UsageError(
                    f"process {process} was started with another {name}: {other.get(name)}, not {value}",
                    hint="all processes need the same command, versions and images; only --process-id differs",
                )


def _described(error: Exception | None) -> dict[str, Any] | None:
    if error is None:
        return None
    if isinstance(error, NFError):
        return {"kind": type(error).__name__, "message": error.message, "hint": error.hint}
    return {"kind": "NFError", "message": f"{type(error).__name__}: {_one_line(error)}", "hint": None}


def _raise(described: dict[str, Any] | None, process: int, mine: Exception | None) -> None:
    """Raise the error of some process; `mine` is this one's."""
    if described is None:
        return
    if mine is not None and process == index():
        raise mine
    message = described["message"] if process == 0 else f"process {process}: {described['message']}"
    raise getattr(errors, described["kind"], NFError)(message, hint=described["hint"]) from mine


def is_loss(error: BaseException) -> bool:
    """Whether an error says that another process is gone, and not that something is wrong with this one."""
    if count() == 1:
        return False
    from jax.errors import JaxRuntimeError

    if isinstance(error, JaxRuntimeError):
        return not str(error).startswith(OF_THIS_PROCESS)
    return isinstance(error, ValueError) and "Gloo" in str(error)


@contextmanager
def losses_are_errors() -> Iterator[None]:
    """Whatever a collective or the coordination service says of a process that is gone becomes a LostError."""
    try:
        yield
    except Exception as error:
        if is_loss(error):
            raise LostError(_one_line(error)) from error
        raise


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _seconds(variable: str, default: int) -> int:
    text = os.environ.get(variable, "") or str(default)
    if not text.isdecimal() or int(text) < 1:
        raise UsageError(f"{variable}={text} is not possible", hint="it must be a whole number of seconds, 1 or more")
    return int(text)


def _bind_address(coordinator: str | None) -> str | None:
    """Where process 0 listens: on loopback alone if that is where the others look for it, else wherever jax does."""
    local = coordinator is not None and coordinator.rpartition(":")[0] in ("127.0.0.1", "localhost")
    return coordinator if local else None


def _client() -> Any:
    # Orbax, too, takes it from there: there is no public name for it.
    from jax._src.distributed import global_state

    return global_state.client
