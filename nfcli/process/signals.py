"""SIGINT, SIGTERM and SIGHUP: one line and exit code 130, 143 or 129, at once; training ends its step and saves first.

Python calls a signal's handler in the main thread, when that is back from compiled code. Minutes may pass until then,
and an exception that is raised there may fall into a callback of compiled code, which turns it into another one, prints
it or crashes. So the handlers do nothing, and a thread, which reads the signals from Python's wake-up pipe, ends the
process. Imports nothing heavy: `nf` begins here.
"""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}

ONE_WISH = 0.3
"""Seconds in which a second signal is taken for the first: a wrapper may pass on what the terminal sent already."""

_unfinished: set[Path] = set()
_requests: list["StopRequest"] = []
_end = threading.Lock()
"""Whoever takes it ends the process."""


def listen() -> None:
    """Take signals from here on, but for those that the parent ignores, as a shell does for jobs in the background."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    threading.Thread(target=_answer, args=(reader,), name="signals", daemon=True).start()
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: None)  # some handler must be there for a signal to reach the pipe
    atexit.register(_finish)


class StopRequest:
    """While it is entered, a signal is noted in `signum` instead of ending the process; the second one does end it.

    Args:
        noted: Called at once, in another thread.
    """

    def __init__(self, noted: Callable[[], None] = lambda: None) -> None:
        self.signum: int | None = None
        self._noted = noted

    def __enter__(self) -> "StopRequest":
        _requests.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _requests.remove(self)

    def takes(self, number: int) -> bool:
        """Note a signal; False for one that must end the process."""
        now = time.monotonic()
        if self.signum is None:
            self.signum, self._since = number, now
            with contextlib.suppress(Exception):  # stderr may be gone
                self._noted()
        # A terminal that is closed says so more than once, and nobody does by hand.
        return number == signal.SIGHUP or now - self._since <= ONE_WISH


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """A file or folder that is removed, if it still has this name, on the way out or when a signal ends the process."""
    _unfinished.add(path)
    try:
        yield
    finally:
        _remove(path)
        _unfinished.discard(path)


def leave(code: int, said: str = "") -> NoReturn:
    """End the process now, whatever its other threads do.

    Args:
        code: The exit code.
        said: Lines for stderr.
    """
    _end.acquire()
    for path in tuple(_unfinished):
        _remove(path)
    # Not through Python's files, whose locks another thread may hold.
    with contextlib.suppress(OSError, ValueError, AttributeError):
        # A live line hides the cursor, and nobody else will bring it back.
        cursor = "\x1b[?25h\n" if said and sys.stderr.isatty() else ""
        os.write(sys.stderr.fileno(), (cursor + said).encode(errors="replace"))
    os._exit(code)


def _answer(reader: int) -> None:
    while received := os.read(reader, 1):
        number = received[0]
        if number in SIGNALS and not any(request.takes(number) for request in _requests):
            leave(128 + number, f"error: {SIGNALS[signal.Signals(number)]}\n")


def _finish() -> None:
    """The ordinary end: all is done, and Python takes its handlers away long before it is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _end.acquire()


def _remove(path: Path) -> None:
    # Gone already where all went well; a failing clean-up must not hide the first error.
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            import shutil

            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()
