"""An interrupt (SIGINT) outside of training, where nothing has to be saved: one line, exit code 130, and never lost.

It is Python's KeyboardInterrupt, so that what is half-written is tidied up on the way out. But compiled code may turn
that exception into another one, and what is raised in a callback of the garbage collector, of which jax has some, is
only printed: so the interrupt is remembered, and where it would be lost the process ends at once.

SIGTERM is left to the system, which ends the process with it. Imports nothing heavy: `nf` begins here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any

EXIT_CODE = 128 + signal.SIGINT

_interrupted = False
_reported = False


def listen() -> None:
    """Take interrupts from here on, unless the parent ignores them, as a shell does for jobs in the background."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
        sys.unraisablehook = _end_if_lost


def happened() -> bool:
    """Whether there was an interrupt, whatever became of its exception."""
    return _interrupted


def report() -> int:
    """Say so, once, and return the exit code; another interrupt ends the process at once."""
    global _reported
    if signal.getsignal(signal.SIGINT) is _interrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if not _reported:
        _reported = True
        print("error: interrupted", file=sys.stderr, flush=True)
    return EXIT_CODE


def show_cursor() -> None:
    """The live line of a terminal hides it, and a process that ends at once has nobody to bring it back."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        if sys.stderr.isatty():
            os.write(sys.stderr.fileno(), b"\x1b[?25h\n")


def _interrupt(_: int, __: FrameType | None) -> None:
    global _interrupted
    _interrupted = True
    raise KeyboardInterrupt


def _end_if_lost(unraisable: Any) -> None:
    """What Python calls with an exception that has nowhere to go."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    show_cursor()
    code = report()
    os._exit(code)
