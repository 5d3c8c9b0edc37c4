"""A command in a pseudo-terminal of 80 columns."""

from __future__ import annotations

import contextlib
import os
import re
import select
import struct
import time
from pathlib import Path

from tests.forks import Command, Fork

CONTROL = re.compile(rb"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A running program, what it has written, and its keyboard.

    Args:
        command: The program and its arguments.
        cwd: Where it runs.
        environment: All of its environment.
    """

    def __init__(self, command, cwd, environment) -> None:
        import fcntl
        import pty
        import termios

        self.written = b""
        self.leader, self.follower = pty.openpty()
        fcntl.ioctl(self.follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self._start([*map(str, command)], cwd, environment)

    def _start(self, command, cwd, environment) -> None:
        attributes = [(os.POSIX_SPAWN_DUP2, self.follower, number) for number in (0, 1, 2)]
        closing = [(os.POSIX_SPAWN_CLOSE, number) for number in (self.leader, self.follower)]
        shell = ["sh", "-c", f'cd "{cwd}" && exec "$@"', "sh", *command]
        self.pid = os.posix_spawnp("sh", shell, environment, file_actions=[*attributes, *closing], setsid=True)
        os.close(self.follower)

    def __enter__(self):
        return self

    def __exit__(self, *_) -> None:
        os.close(self.leader)
        with contextlib.suppress(ChildProcessError):
            self.wait()

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.leader, keys.encode())

    def wait_for(self, text: str, seconds: float = 10) -> bool:
        """Read until `text` was written; False when it was not in time, or the program ended before."""
        end = time.monotonic() + seconds
        while text not in self.plain and time.monotonic() < end:
            if not self._read(end - time.monotonic()):
                break
        return text in self.plain

    def finish(self, seconds: float = 120) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read(end - time.monotonic()):
            assert time.monotonic() < end, self.plain
        return self.wait()

    def wait(self) -> int:
        """Wait for the end; the exit code."""
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    @property
    def plain(self) -> str:
        """What was written, without control sequences."""
        return CONTROL.sub(b"", self.written).decode(errors="replace")

    def _read(self, seconds: float) -> bool:
        if not select.select([self.leader], [], [], max(0, seconds))[0]:
            return False
        try:
            piece = os.read(self.leader, 65536)
        except OSError:  # Linux says so when the program has ended
            return False
        self.written += piece
        return bool(piece)


class TerminalOfNF(Terminal):
    """`nf` in one, whose arguments are the command, forked; see `forks`."""

    def _start(self, command, cwd, environment) -> None:
        here = Path(os.ttyname(self.follower))
        self.process = Fork(Command(command, cwd, environment, here, here, stdin=here))
        self.pid = self.process.pid

    def __exit__(self, *_) -> None:
        super().__exit__()
        os.close(self.follower)

    def wait(self) -> int:
        return self.process.wait()

    def _read(self, seconds: float) -> bool:
        # It opens the terminal by itself, at some time: that nobody has it open says nothing of its end.
        ready, _, _ = select.select([self.leader, self.process.sentinel], [], [], max(0, seconds))
        return self.leader in ready and super()._read(seconds)
