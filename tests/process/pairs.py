"""Two processes that work on one run, over loopback, as a user starts them."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.survival.processes import Process

STEPS = 20

LONG = 600
"""Seconds that are enough also where others use the machine."""


def settings(digits: Path, runs: Path, name: str = "run", **more: Any) -> Sequence[Any]:
    """`train` of preset tiny, one step an epoch, so that metrics.jsonl holds the loss of every step."""
    options = {
        "dataset": digits,
        "train-size": 32,
        "batch-size": 32,
        "epochs": STEPS,
        "eval-every": STEPS // 2,
        "runs-dir": runs,
        "name": name,
        **more,
    }
    return ("train", "tiny", *(word for name, value in options.items() for word in (f"--{name}", value)))


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


class Pair:
    """Both processes.

    Args:
        arguments: Of `nf`, the same for both.
        last: More of them, for the second one alone.
        around: Environment variables for both.
    """

    def __init__(self, *arguments: Any, last: Sequence[Any] = (), **around: str) -> None:
        place = ("--coordinator", f"127.0.0.1:{free_port()}", "--num-processes", 2, "--process-id")
        self._folder = tempfile.TemporaryDirectory()
        self._outputs = [Path(self._folder.name) / f"stdout-{process}" for process in (0, 1)]
        self.first, self.second = (
            Process(*arguments, *place, process, *(last if process else ()), output=output, **around)
            for process, output in enumerate(self._outputs)
        )

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Wait for something to happen while they work."""
        assert self.first.wait_until(condition, LONG), (self.first.lines, self.second.lines)

    def trains(self) -> None:
        """Wait until steps are taken."""
        self.wait_until(lambda: any(line.startswith("epoch 2/") for line in self.first.lines))

    def finish(self) -> tuple[int, int]:
        """Wait for both to end; their exit codes."""
        try:
            return self.first.finish(LONG), self.second.finish(LONG)
        finally:
            self.kill()
            self.out = [path.read_text() for path in self._outputs]
            self._folder.cleanup()

    def kill(self) -> None:
        """End both."""
        for process in (self.first, self.second):
            process.process.kill()


def run_pair(*arguments: Any, **around: str) -> Pair:
    """Run both to a good end; `out` is what each printed."""
    pair = Pair(*arguments, **around)
    assert pair.finish() == (0, 0), (pair.first.lines, pair.second.lines)
    return pair
