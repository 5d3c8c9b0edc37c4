"""How cost grows with devices, image size and depth: `python -m tests.benchmarks.scaling`.

Speed is measured on the devices that a CPU is shown as, each setting in processes of its own; nothing else should run
meanwhile. Memory is what the compiler plans for the training step, which needs no run and no data. Speed on several
machines is computed from that of one and from the size of the gradient.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from tabulate import tabulate

ROOT = Path(__file__).resolve().parents[2]


def train(preset: str, batch: int, devices: int, steps: int, place: Sequence[str]) -> None:
    """Print images a second of each of some training steps; `place` is coordinator, processes and index, if any."""
    from nfcli import runtime

    runtime.prepare(devices)
    import jax
    import numpy as np

    if place:
        jax.distributed.initialize(place[0], int(place[1]), int(place[2]), cluster_detection_method="deactivate")
    from nfcli.devices import data_mesh, spread
    from nfcli.flows import build
    from nfcli.presets import get_preset
    from nfcli.training.config import TrainConfig
    from nfcli.training.step import TrainStep

    model = build(get_preset(preset), (28, 28, 1))
    step = TrainStep(model, TrainConfig(preset=preset, batch_size=batch), 390, data_mesh(batch, devices))
    state = step.init()
    step.compile(state)
    images = np.random.default_rng(0).integers(0, 256, (batch, 28, 28, 1), dtype=np.uint8)
    speeds = []
    for _ in range(steps):
        start = time.perf_counter()
        state, (loss, _) = step(state, spread(step.mesh, batch, lambda rows: images[rows]))
        jax.block_until_ready((state, loss))
        speeds.append(batch / (time.perf_counter() - start))
    print(json.dumps(speeds))


def plan(preset: str, size: int, depth: int, batch: int, *, remat: bool, accumulate: int) -> int:
    """Bytes that the compiler plans for a training step on one device beside the state: activations, mostly."""
    from nfcli.devices import data_mesh
    from nfcli.flows import build
    from nfcli.presets import Couplings, get_preset
    from nfcli.training.config import TrainConfig
    from nfcli.training.step import TrainStep

    known = get_preset(preset)
    layers = tuple(
        replace(layer, count=depth * layer.count) if isinstance(layer, Couplings) else layer for layer in known.layers
    )
    model = build(replace(known, layers=layers), (size, size, 3))
    config = TrainConfig(preset=preset, batch_size=batch, remat=remat, accumulate=accumulate)
    step = TrainStep(model, config, 390, data_mesh(batch // accumulate, 1))
    step.compile(step.init())
    return int(step._compiled.memory_analysis().temp_size_in_bytes)


def measured_speed(preset: str, batch: int, devices: int, processes: int, steps: int) -> float:
    """Median images a second over the steps but the first two."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "tests.benchmarks.scaling", "--train", preset, batch, devices, steps]
    place = [f"127.0.0.1:{port}", processes] if processes > 1 else []
    workers = [
        subprocess.Popen(
            [*map(str, [*command, *place, *([index] if place else [])])], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        for index in range(processes)
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    return statistics.median(json.loads(outputs[0])[2:])


def speeds(preset: str, batch: int, steps: int) -> str:
    """The table of speed against devices."""
    settings = [(1, 1), (2, 1), (4, 1), (2, 2)]
    found = [measured_speed(preset, batch, devices, processes, steps) for devices, processes in settings]
    rows = [
        [devices, processes, f"{speed:.1f}", f"{speed / found[0]:.2f}"]
        for (devices, processes), speed in zip(settings, found, strict=True)
    ]
    header = ["devices", "processes", "images/s", "speed-up"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def memories(preset: str, batch: int, sizes: Sequence[int], depths: Sequence[int]) -> str:
    """The table of memory against image size and depth."""
    ways: dict[str, dict[str, Any]] = {
        "plain": {"remat": False, "accumulate": 1},
        "--remat": {"remat": True, "accumulate": 1},
        "--remat --accumulate 4": {"remat": True, "accumulate": 4},
    }
    rows = []
    for size, depth in [*((size, depths[0]) for size in sizes), *((sizes[0], depth) for depth in depths[1:])]:
        plans = [plan(preset, size, depth, batch, **way) / 2**20 for way in ways.values()]
        rows.append([f"{size}x{size}x3", f"{depth}x", *(f"{mebibytes:,.0f}" for mebibytes in plans)])
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    return tabulate(rows, ["images", "depth", *ways], tablefmt="github", disable_numparse=True)


def on_machines(images_per_second: float, batch: int, parameters: int, gigabits: Sequence[float]) -> str:
    """The computed table: each machine has a batch of its own, and its gradient goes once around a ring."""
    rows = []
    for machines in (1, 2, 4, 8, 16, 64):
        row = [str(machines)]
        for rate in gigabits:
            exchanged = 2 * (machines - 1) / machines * 4 * parameters / (rate * 1e9 / 8)
            speed = machines * batch / (batch / images_per_second + exchanged)
            row.append(f"{speed:,.0f} ({speed / machines / images_per_second:.0%})")
        rows.append(row)
    return tabulate(rows, ["machines", *(f"{rate:g} Gbit/s" for rate in gigabits)], tablefmt="github")


def main() -> None:
    """The program."""
    if sys.argv[1:2] == ["--train"]:
        preset, batch, devices, steps, *place = sys.argv[2:]
        return train(preset, int(batch), int(devices), int(steps), place)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling", description=__doc__)
    parser.add_argument("--preset", default="multiscale")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--memory-batch", type=int, default=32)
    parser.add_argument("--only", choices=["speed", "memory"])
    options = parser.parse_args()
    print(f"cores: {len(os.sched_getaffinity(0))}, preset {options.preset}", file=sys.stderr)
    if options.only != "memory":
        print(speeds(options.preset, options.batch, options.steps), end="\n\n", flush=True)
    if options.only != "speed":
        from nfcli import runtime

        runtime.prepare(1)
        print(memories(options.preset, options.memory_batch, options.sizes, options.depths))
    return None


if __name__ == "__main__":
    main()
