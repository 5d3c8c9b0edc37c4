"""How the processes of one run decide as one.

Arrays travel by JAX's own collectives. The few words besides, such as an error that all must hear of, travel by the
coordination service of `jax.distributed`. With one process everything here is immediate. See `nfcli.process.cluster`
for how processes find and lose each other.
"""

import itertools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from nfcli import errors
from nfcli.errors import LostError, NFError, UsageError, one_line

T = TypeVar("T")

PATIENCE_SECONDS = 7 * 24 * 3600
"""Others may load or compile for long, and that they live is seen otherwise."""

OF_THIS_PROCESS = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT", "UNIMPLEMENTED", "OUT_OF_RANGE")
"""What XLA calls errors that have nothing to do with other processes."""

READ_MS = 60_000
"""To read what all have written already."""

_exchanges = itertools.count()


def count() -> int:
    """Processes of this run; 1 without `join`."""
    return _of_jax("process_count", 1)


def index() -> int:
    """Which of them this is."""
    return _of_jax("process_index", 0)


def _of_jax(name: str, alone: int) -> int:
    jax = sys.modules.get("jax")
    return int(getattr(jax, name)()) if jax is not None and jax.distributed.is_initialized() else alone


def is_first() -> bool:
    """Whether this is the process that reports and writes."""
    return index() == 0


def exchange(value: Any) -> list[Any]:
    """What every process says, in their order, such as JSON can hold it; waits for all of them."""
    if count() == 1:
        return [value]
    service, number = client(), next(_exchanges)
    service.key_value_set(f"nf/{number}/{index()}", json.dumps(value))
    service.wait_at_barrier("nf", 1000 * PATIENCE_SECONDS)
    said = [service.blocking_key_value_get(f"nf/{number}/{process}", READ_MS) for process in range(count())]
    # All have come to this exchange, so all have read the one before.
    service.key_value_delete(f"nf/{number - 1}/{index()}")
    return [json.loads(text) for text in said]


def from_first(function: Callable[[], T]) -> T:
    """Call a function in the first process only; what it returns, or raises, comes out in all of them.

    Args:
        function: Returns something that JSON can hold.
    """
    if count() == 1:
        return function()
    value = None
    with together():
        if is_first():
            value = function()
    return exchange(value)[0]


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
    for process, told in enumerate(exchange(None if mine is None else _described(mine))):
        if mine is not None and process == index():
            raise mine
        if told is not None:
            kind, message, hint = told
            of_whom = "" if process == 0 else f"process {process}: "
            raise getattr(errors, kind, NFError)(of_whom + message, hint=hint) from mine


def require_same(content: dict[str, Any]) -> None:
    """See that every process comes with the same.

    Raises:
        UsageError: One of them does not.
    """
    first, *others = exchange(content)
    for process, other in enumerate(others, 1):
        for name, value in first.items():
            if other.get(name) != value:
                raise UsageError(
                    f"process {process} was started with another {name}: {other.get(name)}, not {value}",
                    hint="all processes need the same command, versions and images; only --process-id differs",
                )


def _described(error: Exception) -> tuple[str, str, str | None]:
    """Kind, message and hint of the error that others raise."""
    if isinstance(error, NFError):
        return type(error).__name__, error.message, error.hint
    return "NFError", f"{type(error).__name__}: {one_line(error)}", None


def is_loss(error: BaseException) -> bool:
    """Whether an error says that another process is gone, and not that something is wrong with this one."""
    if count() == 1:
        return False
    from jax.errors import JaxRuntimeError

    if isinstance(error, JaxRuntimeError):
        return not str(error).startswith(OF_THIS_PROCESS)
    return isinstance(error, ValueError) and "Gloo" in str(error)


def lost(how: str) -> LostError:
    """The error for a process that is gone.

    Args:
        how: It was noticed.
    """
    return LostError(
        f"lost contact with another process of this run: {how}",
        hint="see what that one says, and start all of them again: training continues from its last checkpoint",
    )


@contextmanager
def losses_are_errors() -> Iterator[None]:
    """Whatever a collective or the coordination service says of a process that is gone becomes a LostError."""
    try:
        yield
    except Exception as error:
        if is_loss(error):
            raise lost(one_line(error).partition(". ")[0]) from error
        raise


def client() -> Any:
    """What speaks to the coordination service."""
    # Orbax, too, takes it from there: there is no public name for it.
    from jax._src.distributed import global_state

    return global_state.client
