"""What each ingredient of preset `mixture` buys: `python -m tests.benchmarks.ablation`.

Every variant is trained on the same images in the same order with the same recipe and a constant learning rate, and
measured on the same validation images with the same noise, one draw each, at the same numbers of training images.
Differences are paired, image by image, and their error is that over images; with several --seeds, for order, noise and
first weights, it is that over seeds. Time is that of steps, taken of all variants in turn when everything is trained:
the processor time of one core, median of several turns, without compilation.

Variants that are there already in --output are not trained again. The preset itself needs more images than the others,
to have been trained for as long as the slower of them: `--variants mixture --images 12800` first.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from tabulate import tabulate

from nfcli.backend import runtime

runtime.prepare(devices=1)

import jax  # noqa: E402

from nfcli.config import TrainConfig  # noqa: E402
from nfcli.evaluation.bound import BoundEvaluator  # noqa: E402
from nfcli.presets import PRESETS, MaskedCouplings, PartitionedCouplings, Preset, Split  # noqa: E402
from nfcli.training.setup import Job, epoch_order, prepare_job  # noqa: E402
from nfcli.training.step import State, TrainStep  # noqa: E402

BATCH = 64

FULL = PRESETS["mixture"]


def _partitioned(**changes: Any) -> Preset:
    layers = tuple(
        replace(layer, **changes) if isinstance(layer, PartitionedCouplings) else layer for layer in FULL.layers
    )
    return replace(FULL, layers=layers)


def _masked() -> Preset:
    """Affine couplings as in `multiscale`, at the resolutions and widths of `mixture`."""
    layers = tuple(
        MaskedCouplings(layer.count, "channel", layer.hidden) if isinstance(layer, PartitionedCouplings) else layer
        for layer in FULL.layers
    )
    return replace(FULL, layers=layers)


def _sized(**sizes: tuple[int, int]) -> Preset:
    """Other widths, numbers of couplings and the like at the two resolutions."""
    at_each = iter([{name: of[place] for name, of in sizes.items()} for place in range(2)])
    layers = tuple(
        replace(layer, **next(at_each)) if isinstance(layer, PartitionedCouplings) else layer for layer in FULL.layers
    )
    return replace(FULL, layers=layers)


def _split(*split: Split) -> Preset:
    """Another split between the resolutions, or none."""
    return replace(FULL, layers=(*FULL.layers[:2], *split, *FULL.layers[3:]))


VARIANTS: dict[str, Preset] = {
    "mixture": FULL,
    "affine for mixture": _partitioned(transformer="affine", components=0),
    "spline for mixture": _partitioned(transformer="spline", components=8),
    "without actnorm": _partitioned(actnorm=False),
    "with 1x1 convolutions": _partitioned(rotate=True),
    "the same halves always": _partitioned(mask="channel"),
    "3 logistics for 6": _partitioned(components=3),
    "with attention": _partitioned(heads=4),
    "without the split": _split(),
    "a split without a learned prior": _split(Split()),
    "masked affine couplings": _masked(),
    "uniform noise": replace(FULL, dequantization=None),
    "noise of vardeq": replace(FULL, dequantization=PRESETS["vardeq"].dequantization),
    "multiscale": PRESETS["multiscale"],
    "wider networks": _sized(hidden=(96, 96)),
    "twice as wide": _sized(hidden=(128, 128)),
    "narrower networks": _sized(hidden=(40, 40)),
    "smaller at 14x14": _sized(hidden=(40, 64), blocks=(2, 2)),
    "more couplings": _sized(count=(8, 8)),
    "4 blocks": _partitioned(blocks=4),
    "12 logistics for 6": _partitioned(components=12),
}


@dataclass
class _Training:
    """One variant, about to be trained."""

    job: Job
    order: np.ndarray
    step: TrainStep
    state: State

    @classmethod
    def of(cls, name: str, seed: int, options: argparse.Namespace) -> _Training:
        with mock.patch.dict(PRESETS, variant=VARIANTS[name]):
            config = TrainConfig(
                "variant",
                devices=1,
                batch_size=BATCH,
                learning_rate=options.rate,
                learning_rate_decay=1.0,
                schedule="exponential",
                warmup_steps=50,
                ema_decay=0.99,
                seed=seed,
            )
            job = prepare_job(config)
        step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh, job.policy)
        order = epoch_order(config.seed, 0, len(job.train))
        order = order[: len(order) // BATCH * BATCH].reshape(-1, BATCH)
        state = step.data_dependent_init(step.init(), job.train.images[order[0]])
        step.compile(state)
        return cls(job, order, step, state)

    def advance(self, index: int) -> float:
        """Step number `index`; its loss in bits per dimension."""
        self.state, news = self.step(self.state, self.job.train.images[self.order[index]])
        return float(jax.block_until_ready(news)[0])


def train_variant(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Train one variant; per-image bits per dimension at every mark, with and without the moving average."""
    training = _Training.of(name, seed, options)
    evaluator = BoundEvaluator(training.job.model, BATCH, devices=1)
    marks = []
    for index in range(options.images // BATCH):
        loss = training.advance(index)
        if (index + 1) * BATCH % options.every == 0:
            values = {}
            for kind in ("parameters", "trained"):
                images = training.job.val.images[: options.validation]
                values[kind] = evaluator(training.state[kind], images, samples=1, seed=42).bpd.tolist()
            marks.append({"images": (index + 1) * BATCH, "average": values["parameters"], "last": values["trained"]})
            bpd = np.mean(values["parameters"])
            said = f"{name}, seed {seed}: {marks[-1]['images']} images, loss {loss:.4f}, {bpd:.4f}"
            print(said, file=sys.stderr, flush=True)
    skipped = int(training.state["skipped"])
    return {"parameters": training.job.model.num_parameters, "skipped": skipped, "marks": marks}


def time_steps(names: Iterable[str], options: argparse.Namespace) -> dict[str, float]:
    """Processor seconds of a training step, by variant: medians of `options.repetitions` turns of three steps."""
    trainings = {name: _Training.of(name, options.seeds[0], options) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in trainings}
    for turn in range(options.repetitions + 1):  # the first steps of all take memory for the first time
        for name, training in trainings.items():
            begin = time.process_time()
            for index in range(3):
                training.advance(3 * turn + index)
            seconds[name] += [(time.process_time() - begin) / 3] * (turn > 0)
            print(f"{name}: {BATCH * 3 / (time.process_time() - begin):.1f} images/s", file=sys.stderr, flush=True)
    return {name: statistics.median(values) for name, values in seconds.items()}


def report(found: dict[str, Any]) -> str:
    """Differences from the full preset, after as many images as all have seen and after a variant's time."""
    full = found["mixture"]
    images = min(marks[-1]["images"] for result in found.values() for marks in _marks(result).values())
    same_images = {seed: _after(images, marks) for seed, marks in _marks(full).items()}
    rows = []
    for name, result in found.items():
        mine = {seed: _after(images, marks) for seed, marks in _marks(result).items()}
        speed = result["step_seconds"] / full["step_seconds"]
        row = [name, f"{result['parameters']:,}", f"{BATCH / result['step_seconds']:.1f}", f"{_mean(mine):.4f}"]
        same_time = {seed: _at(images * speed, marks) for seed, marks in _marks(full).items()}
        both = (_difference(mine, same_images), _difference(mine, same_time)) if name != "mixture" else ("-", "-")
        if any(mark["images"] < images * speed for mark in same_time.values()):
            both = (both[0], f"over {both[1]}")  # the preset was not trained for so long, and would be further ahead
        rows.append([*row, *both])
    cells = ["last weights, no average", "", "", f"{_mean(same_images, 'last'):.4f}"]
    rows.append([*cells, _difference(same_images, same_images, "last"), "the same"])
    header = ["variant", "parameters", "images/cpu-s", "val bpd", "equal images: worse by", "equal time: worse by"]
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))


def race(found: dict[str, Any]) -> str:
    """`mixture` at the times when `multiscale` was measured, as long as it ran, with the first seed."""
    full, other, rows = found["mixture"], found["multiscale"], []
    seed = next(iter(_marks(other)))
    for mark in _marks(other)[seed]:
        same_time = _at(mark["images"] * other["step_seconds"] / full["step_seconds"], _marks(full)[seed])
        seconds = mark["images"] * other["step_seconds"] / BATCH
        if same_time["images"] < _marks(full)[seed][-1]["images"]:
            cells = [f"{one['images']:,.0f}, {_mean({seed: one}):.4f}" for one in (mark, same_time)]
            rows.append([f"{seconds:.0f}", *cells, _difference({seed: same_time}, {seed: mark})])
    header = ["cpu-s", "multiscale: images, val bpd", "mixture: images, val bpd", "mixture - multiscale"]
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))


def _marks(result: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What a variant reached, by seed."""
    return {seed: one["marks"] for seed, one in result["seeds"].items()}


def _after(images: int, marks: list[dict[str, Any]]) -> dict[str, Any]:
    return next(mark for mark in marks if mark["images"] == images)


def _at(images: float, marks: list[dict[str, Any]]) -> dict[str, Any]:
    """What was reached after any number of images: on straight lines between the marks, or the last one."""
    seen = [one["images"] for one in marks]
    images = min(max(images, seen[0]), seen[-1])
    after = max(1, int(np.searchsorted(seen, images)))
    share = (images - seen[after - 1]) / (seen[after] - seen[after - 1])

    def between(name: str) -> Any:
        return (1 - share) * np.array(marks[after - 1][name]) + share * np.array(marks[after][name])

    return {"images": images, "average": between("average"), "last": between("last")}


def _mean(marks: dict[str, dict[str, Any]], weights: str = "average") -> float:
    return float(np.mean([mark[weights] for mark in marks.values()]))


def _difference(mine: dict[str, Any], other: dict[str, Any], weights: str = "average") -> str:
    """Over images of the one seed that both have, or over those seeds."""
    pairs = [np.subtract(mine[seed][weights], other[seed]["average"]) for seed in mine if seed in other]
    spread = pairs[0] if len(pairs) == 1 else np.mean(pairs, axis=1)
    return f"{np.mean(spread):+.4f} ± {np.std(spread, ddof=1) / np.sqrt(len(spread)):.4f}"


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ablation", description=__doc__)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[42], help="each variant is trained once with each")
    parser.add_argument("--images", type=int, default=12_800, help="training images of each")
    parser.add_argument("--every", type=int, default=1_600, help="training images between measurements")
    parser.add_argument("--validation", type=int, default=1_000, help="validation images")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--repetitions", type=int, default=5, help="turns in which steps are timed; 0: train only")
    parser.add_argument("--output", type=Path, required=True, help="JSON with all numbers, and what is done already")
    options = parser.parse_args()
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for seed, name in itertools.product(options.seeds, options.variants):
        result = found.setdefault(name, {"seeds": {}})
        if str(seed) not in result["seeds"]:
            trained = train_variant(name, seed, options)
            result["parameters"] = trained.pop("parameters")
            result["seeds"][str(seed)] = trained
            options.output.write_text(json.dumps(found))
    if not options.repetitions:
        return
    for name, seconds in time_steps(found, options).items():
        found[name]["step_seconds"] = seconds
    options.output.write_text(json.dumps(found))
    shown = {name: found[name] for name in VARIANTS if name in found}
    if "mixture" in shown:
        print(report(shown))
    if {"mixture", "multiscale"} <= shown.keys():
        print(f"\n{race(shown)}")


if __name__ == "__main__":
    main()
