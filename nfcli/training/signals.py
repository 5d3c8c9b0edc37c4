"""SIGINT and SIGTERM as a request: finish the step, save, stop. A second one stops at once."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType, TracebackType

from nfcli import interruption

SIGNALS = (signal.SIGINT, signal.SIGTERM)

ONE_WISH = 0.3
"""Seconds in which a second signal is taken for the first: a wrapper may pass on what the terminal sent already."""


class StopRequest:
    """Catches signals while training runs; `signum` is None until one came.

    Python runs a signal's handler only when its main thread is back from compiled code, which may be minutes later. So
    the signals are read from the wake-up pipe by a thread of their own: the second one ends the process even then.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self._previous: dict[int, object] = {}

    def __enter__(self) -> StopRequest:
        if interruption.happened():  # before, and something swallowed it
            raise KeyboardInterrupt
        if threading.current_thread() is threading.main_thread():
            self._reader, self._writer = os.pipe()
            os.set_blocking(self._writer, False)
            self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
            self._thread.start()
            self._wakeup = signal.set_wakeup_fd(self._writer)
            # What the parent ignores, as a shell does for jobs in the background of a script, stays ignored.
            heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
            self._previous = {number: signal.signal(number, _do_nothing) for number in heard}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._writer)
        self._thread.join()
        os.close(self._reader)

    def _listen(self) -> None:
        first = 0.0
        while received := os.read(self._reader, 1):
            number = received[0]
            if number not in SIGNALS:
                continue
            if self.signum is None:
                self.signum, first = number, time.monotonic()
            elif time.monotonic() - first > ONE_WISH:
                interruption.show_cursor()
                os._exit(128 + number)


def _do_nothing(signum: int, _: FrameType | None) -> None:
    """A handler must be there for a signal to reach the pipe instead of ending the process."""
