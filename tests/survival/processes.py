"""Training as a user starts it: a process, its messages as they come, and signals."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from nfcli.errors import CheckpointError
from nfcli.runs import Checkpoints, RunDir
from tests.forks import Command, Fork

TIMINGS = {"images_per_second", "seconds"}


class Process:
    """A running `nf` that also knows preset `tiny`.

    Args:
        arguments: Of the command line.
        largest_file: No file may grow beyond so many bytes, as on a full disk; None for no limit.
        output: The file that its stdout goes to; None for nowhere.
        around: More environment variables, none that Python or jax read when they start.
    """

    def __init__(
        self, *arguments: Any, largest_file: int | None = None, output: Path | None = None, **around: str
    ) -> None:
        file, said = tempfile.mkstemp(prefix="stderr-")
        os.close(file)
        weakref.finalize(self, Path(said).unlink, missing_ok=True)
        self._said, stdout = Path(said), output or Path(os.devnull)
        words = [*map(str, arguments)]
        settings = {**os.environ, **around}
        self.process = Fork(
            Command(words, Path.cwd(), settings, stdout, self._said, tiny=True, largest_file=largest_file)
        )

    @property
    def lines(self) -> list[str]:
        """What it has written to stderr; the last line may not be whole while it runs."""
        return self._said.read_text().splitlines()

    def wait_until(self, condition: Callable[[], bool], seconds: float = 60) -> bool:
        """Wait for something; False when the process ended without it."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, self.lines
            if self.process.poll() is not None:
                return condition()
            time.sleep(0.002)
        return True

    def says(self, text: str) -> bool:
        """Wait for a line on stderr."""
        return self.wait_until(lambda: any(text in line for line in self.lines))

    def send(self, signum: int) -> None:
        """Send a signal."""
        self.process.send_signal(signum)

    def finish(self, seconds: float | None = 120) -> int:
        """Wait for the end; the exit code, negative for a signal."""
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


def run(*arguments: Any, largest_file: int | None = None, seconds: float | None = 120) -> Process:
    """Run `nf` to its end."""
    process = Process(*arguments, largest_file=largest_file)
    process.finish(seconds)
    return process


def rows(path: Path) -> list[dict[str, Any]]:
    """metrics.jsonl of a run directory, without its timings."""
    return [{name: value for name, value in row.items() if name not in TIMINGS} for row in RunDir(path).metrics()]


def final_state(path: Path) -> dict[str, np.ndarray]:
    """Every array of the newest checkpoint of a run directory: parameters, optimizer, counters."""
    found = Checkpoints(path / "checkpoints").latest()
    if found is None:
        raise CheckpointError(f"no checkpoint in {path}")
    arrays = {}
    for part in ("parameters", "training"):
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            names = checkpointer.metadata(found[1] / part).item_metadata.tree
            plain = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), names)
            tree = checkpointer.restore(found[1] / part, args=ocp.args.PyTreeRestore(restore_args=plain))
        arrays |= {
            part + jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree.leaves_with_path(tree)
        }
    return arrays


def assert_same_run(first: Path, second: Path) -> None:
    """Same arrays, bit for bit, and same metrics."""
    one, other = final_state(first), final_state(second)
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
    assert rows(first) == rows(second)


def train_arguments(runs: Path, digits: Path, *more: Any, name: str = "run", epochs: int = 4) -> Sequence[Any]:
    """`train` of preset tiny: 5 steps an epoch."""
    settings = {"--dataset": digits, "--batch-size": 32, "--epochs": epochs, "--eval-every": 10, "--runs-dir": runs}
    return ("train", "tiny", *(word for pair in settings.items() for word in pair), "--name", name, *more)
