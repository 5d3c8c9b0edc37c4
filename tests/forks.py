"""`nf` as another process, forked from one that has imported what it imports: a part of the time of a tiny command."""

from __future__ import annotations

import contextlib
import multiprocessing.forkserver
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

ROOT = Path(__file__).resolve().parents[1]

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["tests.imported"])


@dataclass(frozen=True)
class Command:
    """What a process does and where.

    Attributes:
        arguments: Of `nf`, or `nfcli.pretrained` and those of the maintainer's command.
        cwd: Its working directory.
        around: Its environment. What Python and jax read when they start is that of the first process of all.
        stdout, stderr: The files that it writes, or a terminal.
        stdin: The file that it reads, or the same terminal.
        tiny: Whether preset `tiny` is known, instead of smoke runs being small.
        ships: The folder of runs that ship with it, None for its own.
        largest_file: No file may grow beyond so many bytes, as on a full disk; None for no limit.
    """

    arguments: Sequence[str]
    cwd: Path
    around: Mapping[str, str]
    stdout: Path
    stderr: Path
    stdin: Path = Path(os.devnull)
    tiny: bool = False
    ships: Path | None = None
    largest_file: int | None = None


class Fork:
    """A running `nf`, in the words of `subprocess.Popen`."""

    def __init__(self, command: Command) -> None:
        # One device: the images of most tests are few, and starting is quicker.
        with mock.patch.dict(os.environ, PYTHONPATH=str(ROOT), JAX_NUM_CPU_DEVICES="1"):
            multiprocessing.forkserver.ensure_running()
        self._process = _FORKS.Process(target=_become, args=(command,), daemon=True)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def sentinel(self) -> int:
        """What `select` finds ready when it has ended."""
        return self._process.sentinel

    @property
    def returncode(self) -> int | None:
        """The exit code, negative for a signal; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Wait for the end; the exit code.

        Raises:
            subprocess.TimeoutExpired: It still runs.
        """
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("nf", seconds or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


def _become(command: Command) -> NoReturn:
    for number, name in enumerate((command.stdin, command.stdout, command.stderr)):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_NOCTTY), number)
    os.chdir(command.cwd)
    os.environ.clear()
    os.environ.update(command.around)
    if command.largest_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (command.largest_file, command.largest_file))
    sys.argv = ["nf", *command.arguments]
    code: Any = 1
    try:
        _run(command)
    except SystemExit as end:
        code = end.code
    except BaseException:  # as the interpreter would
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code or 0))


def _run(command: Command) -> None:
    from nfcli.__main__ import main
    from nfcli.presets import PRESETS
    from nfcli.pretrained.__main__ import main as export
    from nfcli.runs import pretrained as pretrained
    from tests.cli.small import small_smoke_runs
    from tests.tiny import tiny_preset

    with contextlib.ExitStack() as stack:
        if not command.tiny:
            small_smoke_runs()
        elif not set(PRESETS) & set(command.arguments):
            stack.enter_context(tiny_preset())
        if command.ships is not None:
            stack.enter_context(mock.patch.object(pretrained, "pretrained_dir", return_value=command.ships))
        if command.arguments[0:1] == ["nfcli.pretrained"]:
            sys.exit(export(sys.argv[2:]))
        main()
