"""`inspect_dequantization(config)`: how integers become real numbers, and whether they come back."""

import functools
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.data.store import AnyImages
from nfcli.drawing.config import InspectDequantConfig
from nfcli.drawing.dequantization_figure import Panels, save_dequantization_figure
from nfcli.drawing.explain import save_explain_figure
from nfcli.drawing.levels import level_borders, to_real_line
from nfcli.drawing.output import Drawn, image_path, restored, write_numbers
from nfcli.errors import Say
from nfcli.evaluation.batches import batches
from nfcli.evaluation.bound import PRECISION, images_at_once
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.dequantization import UniformDequantization
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.runs.restore import TrainedModel

BINS = 256

ROUND_TRIPS = 4
"""Noise draws an image of a single value."""

EXPLAINED = Path("explain.png")
"""Where the picture of --explain goes, which is of no run."""

NOTHING_CHECKED: dict[str, Any] = {"run": None, "checked_pixels": 0, "moved_pixels": None, "volumes": [], "prior": []}
"""What `nf inspect-dequant --json` says besides the files, here of --explain."""

Dequantize = Callable[[np.ndarray, Array, np.ndarray | None], Array]
"""(B, H, W, C) integers, (B,) keys and, for a class-conditional model, (B,) labels, to the real line; compiled."""


def inspect_dequantization(config: InspectDequantConfig, *, warn: Say = lambda _: None) -> Drawn:
    """Draw histograms of dequantized pixels and the volumes of discrete values; check the round trip.

    With `config.explain`, draw masks and scale limit instead: no run, no round trip, no numbers.

    Raises:
        UsageError: The picture cannot go where it is wanted.
        InputError: Run, checkpoint or data are missing or damaged.
        WriteError: The picture cannot be written.
    """
    if config.explain:
        path = image_path(config.output or EXPLAINED, EXPLAINED, with_numbers=False)
        save_explain_figure(path, dpi=config.dpi)
        return Drawn(path, None, NOTHING_CHECKED)
    trained, path = restored(config, "dequantization.png", warn)
    model, val = trained.model, trained.dataset().val
    images, labels = val.images[: config.images], val.labels if model.classes else None
    # All of the real line that a dequantized pixel can reach.
    reach = float(np.ceil(to_real_line([1.0], model.alpha)[0]))
    edges, key = np.linspace(-reach, reach, BINS + 1), stream(config.seed, Purpose.EVALUATION)
    densities: list[list[float] | None] = [None, None]
    for learned in range(1 if model.preset.dequantization is None else 2):
        dequantize = _compiled(trained, learned=bool(learned))
        placed = _on_real_line(dequantize, images, labels, key, config.draws)
        counts = sum((np.histogram(np.asarray(y)[:new], edges)[0] for _, y, new in placed), np.zeros(BINS))
        densities[learned] = (counts / (counts.sum() * np.diff(edges))).tolist()
    moved, checked = _round_trip(dequantize, model, config.seed)
    if moved:
        warn(f"{moved} of {checked} pixels were not what they had been after dequantizing and back")
    numbers = {
        **options_of(config),
        **config.look(),
        "run": trained.run.name,
        "checked_pixels": checked,
        "moved_pixels": moved,
        "volumes": np.diff(level_borders(config.levels, model.alpha)).tolist(),
        "checkpoint_step": trained.checkpoint.step,
        "images": len(images),
        "edges": edges.tolist(),
        "uniform_density": densities[0],
        "learned_density": densities[1],
    }
    save_dequantization_figure(path, Panels.of(numbers), alpha=model.alpha, data_levels=model.levels, dpi=config.dpi)
    facts = {name: numbers[name] for name in NOTHING_CHECKED}
    return Drawn(path, write_numbers(path, numbers), facts)


def options_of(config: InspectDequantConfig) -> dict[str, Any]:
    """What the numbers beside the picture say of what was asked for."""
    bell = np.exp(-(np.linspace(-2, 2, config.levels) ** 2) / 2)
    weights = bell if config.weights is None else np.array(config.weights)
    return {
        **config.chosen("draws", "seed", "levels"),
        "prior": (weights / weights.sum()).tolist(),
        "prior_name": "Bell-shaped prior" if config.weights is None else "Given prior",
    }


def _round_trip(dequantize: Dequantize, model: FlowModel, seed: int) -> tuple[int, int]:
    """Dequantize images of a single value each, for every value, and come back.

    Returns:
        How many pixels were moved, and how many were tried.
    """
    values = np.arange(model.levels, dtype=np.uint8)[:, None, None, None]
    labels = np.zeros(model.levels, np.int32) if model.classes else None
    images = np.broadcast_to(values, (model.levels, *model.shape))
    placed = _on_real_line(dequantize, images, labels, stream(seed, Purpose.ENCODING), ROUND_TRIPS)
    quantize = jax.jit(model.quantize)
    moved = sum(int(np.sum(np.asarray(quantize(y) != x)[:new])) for x, y, new in placed)
    return moved, ROUND_TRIPS * model.levels * model.dimensions


def _on_real_line(
    dequantize: Dequantize, images: AnyImages, labels: np.ndarray | None, key: Array, draws: int
) -> Iterator[tuple[np.ndarray, Array, int]]:
    """Images, (B, H, W, C), with each draw of their noise on the real line, the same, and how many are new."""
    for rows, new in batches(len(images), images_at_once(math.prod(images.shape[1:]))):
        x, given = images[rows], None if labels is None else labels[rows]
        for draw in range(draws):
            yield x, dequantize(x, indexed_keys(jax.random.fold_in(key, draw), jnp.asarray(rows)), given), new


def _compiled(trained: TrainedModel, *, learned: bool) -> Dequantize:
    """The model's own dequantization, or the one with uniform noise."""
    plain = UniformDequantization(levels=trained.model.levels, alpha=trained.model.alpha)

    # The weights are an argument: as constants they would be compiled in, which takes far longer.
    @jax.jit
    def dequantize(parameters: Parameters, x: Array, keys: Array, labels: Array | None) -> Array:
        with jax.default_matmul_precision(PRECISION):
            return trained.model.dequantize(parameters, x, keys, labels) if learned else plain.dequantize(x, keys)[0]

    return functools.partial(dequantize, trained.parameters)
