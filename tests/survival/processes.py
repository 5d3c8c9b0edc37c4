"""Training as a user starts it: a process, its messages as they come, and signals."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from nfcli.errors import CheckpointError
from nfcli.runs import Checkpoints, RunDir

ROOT = Path(__file__).resolve().parents[2]
NF = (sys.executable, "-m", "tests.survival.program")
TIMINGS = {"images_per_second", "seconds"}


class Process:
    """A running `nf`.

    Args:
        arguments: Of the command line.
        largest_file: No file may grow beyond so many blocks of 512 bytes, as on a full disk; None for no limit.
        output: The file that its stdout goes to; None for nowhere.
        around: More environment variables.
    """

    def __init__(
        self, *arguments: Any, largest_file: int | None = None, output: Path | None = None, **around: str
    ) -> None:
        # One device: the images of these tests are few, and starting is quicker.
        settings = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "PYTHONPATH": str(ROOT), **around}
        self.lines: list[str] = []
        limit = () if largest_file is None else ("sh", "-c", f'ulimit -f {largest_file}; exec "$@"', "sh")
        with Path(os.devnull if output is None else output).open("w") as stdout:
            self.process = subprocess.Popen(
                [*limit, *NF, *map(str, arguments)], stdout=stdout, stderr=subprocess.PIPE, text=True, env=settings
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream:
            for line in stream:
                self.lines.append(line.rstrip("\n"))

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
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        self._reader.join()
        return code


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
