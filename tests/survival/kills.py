"""Kill a training run again and again, and see that it ends where one ends that nobody touched.

As a program, at any scale (both runs are kept in DIR):

    python -m tests.survival.kills --kills 20 --dir DIR -- simple --epochs 2 --train-size 2560
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.backend import runtime

runtime.prepare(devices=1)

from nfcli.runs import Checkpoints  # noqa: E402
from tests.survival.processes import Process, assert_same_run, run  # noqa: E402


@dataclass(frozen=True)
class Killed:
    """What the kills met: how many fell while a checkpoint was being written, and the steps that runs went back to."""

    kills: int
    while_saving: int
    continued_after: list[int]


def kill_often(arguments: Sequence[Any], run_path: Path, *, kills: int, seed: int, longest_wait: float) -> Killed:
    """Start the command, kill it, start it again; the last start is left to finish.

    Args:
        arguments: Of `nf`.
        run_path: The run's directory.
        kills: How many; every other one waits for a checkpoint to be under way, three of four for one to be complete.
        seed: Of the moments.
        longest_wait: Seconds before a kill, at most, once that is so.
    """
    generator = random.Random(seed)
    checkpoints = run_path / "checkpoints"
    while_saving, continued = 0, []
    # A checkpoint after almost every step, so that kills meet them.
    often = ("--checkpoint-minutes", "0.0001")
    for number in range(kills):
        before = newest(checkpoints)
        process = Process(*arguments, *often)
        assert process.wait_until(lambda: stepping(process)), process.lines  # noqa: B023
        if number % 4:  # the others may also fall into loading and compiling
            process.wait_until(lambda: newest(checkpoints) > before, 600)  # noqa: B023
        time.sleep(generator.uniform(0, longest_wait))
        if number % 2:
            process.wait_until(lambda: saving(checkpoints), 600)
            time.sleep(generator.uniform(0, 0.02))
        process.send(signal.SIGKILL)
        assert process.finish() == -signal.SIGKILL, ("the run was over before it could be killed", process.lines)
        while_saving += saving(checkpoints)
        continued += [int(line.split()[-1]) for line in process.lines if line.startswith("continuing run")]
    process = run(*arguments, seconds=None)
    assert process.process.returncode == 0, process.lines
    continued += [int(line.split()[-1]) for line in process.lines if line.startswith("continuing run")]
    return Killed(kills, while_saving, continued)


def newest(checkpoints: Path) -> int:
    """Step of the newest checkpoint, -1 when there is none."""
    return max(Checkpoints(checkpoints).steps(), default=-1)


def saving(checkpoints: Path) -> bool:
    """Whether a checkpoint is half-written."""
    return checkpoints.is_dir() and any(path.name.startswith(".saving-") for path in checkpoints.iterdir())


def stepping(process: Process) -> bool:
    """Whether the process has begun to compile or to train."""
    return any(line.startswith(("compiling", "continuing", "epoch")) for line in process.lines)


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest-wait", type=float, default=15.0)
    parser.add_argument("--dir", type=Path, required=True)
    parser.add_argument("train", nargs="+", help="what follows `nf train`")
    options = parser.parse_args()
    paths = {name: options.dir / name for name in ("undisturbed", "killed")}
    command = ("train", *options.train, "--runs-dir", options.dir, "--name")
    start = time.monotonic()
    code = run(*command, "undisturbed", seconds=None).process.returncode
    print(f"undisturbed: exit {code} after {time.monotonic() - start:.0f} s", flush=True)
    waits = {"kills": options.kills, "seed": options.seed, "longest_wait": options.longest_wait}
    killed = kill_often((*command, "killed"), paths["killed"], **waits)
    print(f"{killed.kills} kills, {killed.while_saving} of them while a checkpoint was being written", flush=True)
    print(f"continued after steps {killed.continued_after}")
    assert_same_run(paths["undisturbed"], paths["killed"])
    print("parameters, optimizer, counters and metrics rows are equal, bit for bit")


if __name__ == "__main__":
    sys.exit(main())
