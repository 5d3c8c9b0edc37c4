"""What each ingredient of preset `mixture` buys: `python -m tests.benchmarks.ablation`.

Every variant is trained on the same images in the same order with the same recipe and a constant learning rate, and
measured on the same validation images with the same noise, one draw each, at the same numbers of training images.
Differences are paired, image by image. Time is the processor time of training steps, without compilation, so that work
of others on the machine does not count; one device, one core.

Variants that are there already in --output are not trained again. The preset itself needs more images than the others,
to have been trained for as long as the slowest of them: `--variants mixture --images 12800` first.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from tabulate import tabulate

from nfcli import runtime
from nfcli.presets import PRESETS, VARIATIONAL, Couplings, PackedCouplings, Preset, Split, Squeeze

FULL = PRESETS["mixture"]


def _packed(**changes: Any) -> Preset:
    layers = tuple(replace(layer, **changes) if isinstance(layer, PackedCouplings) else layer for layer in FULL.layers)
    return replace(FULL, layers=layers)


def _masked() -> Preset:
    """Affine couplings as in `multiscale`, at the resolutions and widths of `mixture`."""
    layers = tuple(
        Couplings(layer.count, "channel", layer.hidden) if isinstance(layer, PackedCouplings) else layer
        for layer in FULL.layers
    )
    return replace(FULL, layers=layers)


def _split(hidden: int) -> Preset:
    first, fine, second, coarse = FULL.layers
    assert isinstance(second, Squeeze)
    return replace(FULL, layers=(first, fine, Split(hidden), second, coarse))


VARIANTS: dict[str, Preset] = {
    "mixture": FULL,
    "affine for mixture": _packed(scalar="affine", components=0),
    "spline for mixture": _packed(scalar="spline", components=8),
    "without actnorm": _packed(actnorm=False),
    "with 1x1 convolutions": _packed(rotate=True),
    "the same halves always": _packed(mask="channel"),
    "3 logistics for 6": _packed(components=3),
    "with attention": _packed(heads=4),
    "with a split": _split(0),
    "with a split, learned prior": _split(32),
    "masked affine couplings": _masked(),
    "uniform noise": replace(FULL, dequantization=None),
    "noise of vardeq": replace(FULL, dequantization=VARIATIONAL),
    "multiscale": PRESETS["multiscale"],
}


def train_variant(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train one variant; per-image bits per dimension at every mark, with and without the moving average."""
    import jax

    from nfcli.evaluation.bound import BoundEvaluator
    from nfcli.training.config import TrainConfig
    from nfcli.training.order import epoch_order
    from nfcli.training.setup import prepare_job
    from nfcli.training.step import TrainStep

    with mock.patch.dict(PRESETS, variant=VARIANTS[name]):
        recipe = {"schedule": "exponential", "learning_rate_decay": 1.0, "devices": 1}
        config = TrainConfig(
            "variant", batch_size=64, average_decay=0.99, warmup_steps=50, learning_rate=options.rate, **recipe
        )
        job = prepare_job(config)
        step = TrainStep(job.model, config, job.steps_per_epoch, job.mesh)
        order = epoch_order(config.seed, 0, len(job.train)).reshape(-1)
        state = step.calibrated(step.init(), job.train.images[order[:64]])
        step.compile(state)
        evaluator = BoundEvaluator(job.model, 64, devices=1)
        marks, seconds, skipped = [], 0.0, 0
        for index in range(options.images // 64):
            begin = time.process_time()
            state, news = step(state, job.train.images[order[64 * index : 64 * (index + 1)]])
            jax.block_until_ready(news)
            seconds += time.process_time() - begin
            if (index + 1) * 64 % options.every == 0:
                values = {}
                for kind in ("parameters", "trained"):
                    bound = evaluator(state[kind], job.val.images[: options.validation], samples=1, seed=42)
                    values[kind] = bound.bpd.tolist()
                skipped = int(state["skipped"])
                mark = {"images": 64 * (index + 1), "cpu_seconds": seconds, "loss": float(news[0])}
                marks.append({**mark, "average": values["parameters"], "last": values["trained"]})
                print(f"{name}: {mark} {np.mean(values['parameters']):.4f}", file=sys.stderr, flush=True)
    return {"parameters": job.model.num_parameters, "skipped": skipped, "marks": marks}


def report(found: dict[str, Any]) -> str:
    """Paired differences from the full preset, after as many images as all have seen and after a variant's time."""
    full = found["mixture"]["marks"]
    images = min(result["marks"][-1]["images"] for result in found.values())
    rows = []
    for name, result in found.items():
        mark, same_images = (_after(images, marks) for marks in (result["marks"], full))
        same_time = _difference(mark, _at(full, mark["cpu_seconds"])) if name != "mixture" else "-"
        rows.append(
            [
                name,
                f"{result['parameters']:,}",
                f"{images / mark['cpu_seconds']:.1f}",
                f"{np.mean(mark['average']):.4f}",
                _difference(mark, same_images) if name != "mixture" else "-",
                same_time,
            ]
        )
    without = _after(images, full)
    cells = ["last weights, no average", "", "", f"{np.mean(without['last']):.4f}"]
    rows.append([*cells, _paired(without["last"], without["average"]), "the same"])
    header = ["variant", "parameters", "images/cpu-s", "val bpd", "equal images: worse by", "equal time: worse by"]
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))


def _after(images: int, marks: list[dict[str, Any]]) -> dict[str, Any]:
    return next(mark for mark in marks if mark["images"] == images)


def race(found: dict[str, Any]) -> str:
    """`mixture` at the times when `multiscale` was measured, as long as it ran."""
    full, rows = found["mixture"]["marks"], []
    for mark in found["multiscale"]["marks"]:
        if mark["cpu_seconds"] <= full[-1]["cpu_seconds"]:
            same_time = _at(full, mark["cpu_seconds"])
            cells = [f"{value['images']:,.0f}, {np.mean(value['average']):.4f}" for value in (mark, same_time)]
            rows.append([f"{mark['cpu_seconds']:.0f}", *cells, _difference(same_time, mark)])
    header = ["cpu-s", "multiscale: images, val bpd", "mixture: images, val bpd", "mixture - multiscale"]
    return str(tabulate(rows, header, tablefmt="github", disable_numparse=True))


def _at(marks: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """A variant after so much processor time: on straight lines, image by image, between its measurements."""
    times = [mark["cpu_seconds"] for mark in marks]
    if seconds > times[-1]:
        raise ValueError(
            f"the preset was trained for {times[-1]:.0f} s and not for {seconds:.0f}; give it more --images"
        )
    after = next(index for index, time_ in enumerate(times) if time_ >= seconds)
    if after == 0:
        return marks[0]
    share = (seconds - times[after - 1]) / (times[after] - times[after - 1])

    def between(name: str) -> Any:
        return (1 - share) * np.array(marks[after - 1][name]) + share * np.array(marks[after][name])

    return {"cpu_seconds": seconds, **{name: between(name) for name in ("images", "average", "last")}}


def _difference(mark: dict[str, Any], full: dict[str, Any]) -> str:
    return _paired(mark["average"], full["average"])


def _paired(values: list[float], full: list[float]) -> str:
    difference = np.array(values) - np.array(full)
    return f"{np.mean(difference):+.4f} ± {np.std(difference, ddof=1) / np.sqrt(len(difference)):.4f}"


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ablation", description=__doc__)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--images", type=int, default=12_800, help="training images of each")
    parser.add_argument("--every", type=int, default=1_600, help="training images between measurements")
    parser.add_argument("--validation", type=int, default=1_000, help="validation images")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate")
    parser.add_argument("--output", type=Path, required=True, help="JSON with all numbers, and what is done already")
    options = parser.parse_args()
    runtime.prepare(devices=1)
    found = json.loads(options.output.read_text()) if options.output.exists() else {}
    for name in options.variants:
        if name not in found:
            found[name] = train_variant(name, options)
            options.output.write_text(json.dumps(found))
    shown = {name: found[name] for name in VARIANTS if name in found}
    if "mixture" in shown:
        print(report(shown))
    if {"mixture", "multiscale"} <= shown.keys():
        print(f"\n{race(shown)}")


if __name__ == "__main__":
    main()
