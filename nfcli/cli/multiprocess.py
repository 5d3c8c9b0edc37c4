"""A command as one of several processes: it joins the others, prints only as the first one, and leaves with them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from nfcli.cli.console import Console, error_lines
from nfcli.errors import LostError
from nfcli.process import cluster as processes
from nfcli.process.cluster import Cluster
from nfcli.process.collectives import count, is_first
from nfcli.process.signals import leave


def cluster_of(
    distributed: bool, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Cluster | None:
    """The cluster that the options describe; None for a process alone.

    Raises:
        UsageError: They do not belong together.
    """
    alone = not distributed and (coordinator, num_processes, process_id) == (None, None, None)
    return None if alone else Cluster(coordinator, num_processes, process_id)


@contextmanager
def joined(cluster: Cluster | None, console: Console) -> Iterator[None]:
    """Work with the other processes of a cluster; only the first one prints anything but errors.

    Raises:
        UsageError: There is no cluster.
        NFError: The others do not come.
    """
    if cluster is None:
        yield
        return
    _keep_stdout()
    processes.join(cluster, _end_at_once)
    try:
        if not is_first():
            console.mute()
        console.message(f"processes: {count()}")
        yield
    except BaseException as error:
        processes.leave(error)
        raise
    processes.leave()


def _keep_stdout() -> None:
    """Let what Python prints go where it went, and what C++ prints nowhere: Gloo greets the user on stdout."""
    sys.stdout.flush()
    kept = os.dup(sys.stdout.fileno())
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.stdout = os.fdopen(kept, "w", encoding=sys.stdout.encoding, errors=sys.stdout.errors)


def _end_at_once(error: LostError) -> None:
    """The main thread waits in compiled code for a process that is gone, and nothing can wake it."""
    leave(error.exit_code, error_lines(error))
