"""How cost grows with devices, image size and depth: `python -m tests.benchmarks.scaling`.

Speed is measured on the devices that a CPU is shown as, each setting in processes of its own; nothing else should run
meanwhile. Memory is computed: what the forward pass keeps for the backward one. So is speed on many machines, from that
of one and the size of the gradient.
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

from nfcli.presets import get_preset

ROOT = Path(__file__).resolve().parents[2]


def train(preset: str, batch: int, devices: int, steps: int, place: Sequence[str]) -> None:
    """Print images a second of each of some training steps; `place` is coordinator, processes and index, if any."""
    from nfcli.backend import runtime

    runtime.prepare(devices)
    import jax
    import numpy as np

    if place:
        jax.distributed.initialize(place[0], int(place[1]), int(place[2]), cluster_detection_method="deactivate")
    from nfcli.backend.mesh import data_mesh, shard
    from nfcli.config import TrainConfig
    from nfcli.flows import build
    from nfcli.training.step import TrainStep

    model = build(get_preset(preset), (28, 28, 1))
    step = TrainStep(model, TrainConfig(preset=preset, batch_size=batch), 390, data_mesh(batch, devices))
    state = step.init()
    step.compile(state)
    images = np.random.default_rng(0).integers(0, 256, (batch, 28, 28, 1), dtype=np.uint8)
    speeds = []
    for _ in range(steps):
        start = time.perf_counter()
        state, (loss, _) = step(state, shard(step.mesh, batch, lambda rows: images[rows]))
        jax.block_until_ready((state, loss))
        speeds.append(batch / (time.perf_counter() - start))
    print(json.dumps(speeds))


def kept(preset: str, size: int, depth: int, *, remat: bool) -> float:
    """MiB an image that the forward pass keeps for the backward pass, as traced: nothing is compiled or run."""
    import jax
    import jax.numpy as jnp

    from nfcli.flows import build
    from nfcli.flows.networks import ComputePolicy
    from nfcli.presets import MaskedCouplings

    known = get_preset(preset)
    layers = tuple(
        replace(layer, count=depth * layer.count) if isinstance(layer, MaskedCouplings) else layer
        for layer in known.layers
    )
    model = build(replace(known, layers=layers), (size, size, 3)).with_policy(ComputePolicy(None, remat=remat))
    batch = 7  # no parameter has so many rows
    images = jax.ShapeDtypeStruct((batch, size, size, 3), jnp.uint8)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch))

    def backward(parameters: Any, images: Any, keys: Any) -> Any:
        return jax.vjp(lambda parameters: model.log_prob(parameters, images, keys).mean(), parameters)[1]

    residuals = jax.tree.leaves(jax.eval_shape(backward, model.parameter_shapes(), images, keys))
    own = [leaf for leaf in residuals if leaf.shape[:1] == (batch,) and leaf.dtype != keys.dtype]
    return sum(leaf.size * leaf.dtype.itemsize for leaf in own) / batch / 2**20


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
    # Gloo writes of its connections to stdout too.
    return statistics.median(json.loads(outputs[0].splitlines()[-1])[2:])


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


def memories(preset: str, sizes: Sequence[int], depths: Sequence[int]) -> str:
    """The table of memory against image size and depth."""
    rows = []
    for size, depth in [*((size, depths[0]) for size in sizes), *((sizes[0], depth) for depth in depths[1:])]:
        found = [f"{kept(preset, size, depth, remat=remat):,.1f}" for remat in (False, True)]
        rows.append([f"{size}x{size}x3", f"{depth}x", *found])
        print(*rows[-1], sep=" | ", file=sys.stderr, flush=True)
    header = ["images", "depth", "MiB an image", "with --remat"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def share_of_computing(step_seconds: float, parameters: int, gigabits: float, machines: int) -> float:
    """What is left for computing when the gradient goes once around a ring of machines at every step."""
    exchanged = 2 * (machines - 1) / machines * 4 * parameters / (gigabits * 1e9 / 8)
    return step_seconds / (step_seconds + exchanged)


def machines(parameters: int) -> str:
    """The table of speed on many machines, as a share of what they do apart."""
    settings = [(1, 1.8), (1, 0.05), (10, 0.05), (100, 0.05)]
    rows = [
        [str(count), *(f"{share_of_computing(seconds, parameters, rate, count):.0%}" for rate, seconds in settings)]
        for count in (2, 8, 64)
    ]
    header = ["machines", *(f"{rate} Gbit/s, {seconds:g} s a step" for rate, seconds in settings)]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def main() -> None:
    """The program."""
    if sys.argv[1:2] == ["--train"]:
        preset, batch, devices, steps, *place = sys.argv[2:]
        return train(preset, int(batch), int(devices), int(steps), place)
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scaling", description=__doc__)
    parser.add_argument("--preset", default="multiscale")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 128])
    parser.add_argument("--depths", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--only", choices=["speed", "memory", "machines"])
    options = parser.parse_args()
    print(f"cores: {len(os.sched_getaffinity(0))}, preset {options.preset}", file=sys.stderr)
    if options.only in (None, "speed"):
        print(speeds(options.preset, options.batch, options.steps), end="\n\n", flush=True)
    if options.only in (None, "memory"):
        print(memories(options.preset, options.sizes, options.depths), end="\n\n", flush=True)
    if options.only in (None, "machines"):
        print(machines(get_preset(options.preset).reference_parameters))
    return None


if __name__ == "__main__":
    main()
