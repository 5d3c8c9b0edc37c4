"""`inspect_dequantization(config)`: how integers become real numbers, and whether they come back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.drawing.dequantization_figure import Panels, save_dequantization_figure
from nfcli.drawing.explain import save_explain_figure
from nfcli.drawing.levels import level_borders, to_real_line
from nfcli.drawing.output import BATCH, Drawn, PictureConfig, image_path, write_numbers
from nfcli.errors import UsageError
from nfcli.evaluation.batches import batches
from nfcli.evaluation.bound import PRECISION
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.dequantization import UniformDequantization
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.limits import check_seed, check_whole, refuse_together
from nfcli.runs.restore import TrainedModel

BINS = 256

LARGEST_WEIGHT = 1e6

MOST_DRAWS = 1000

EXPLAINED = Path("explain.png")
"""Where the picture of --explain goes, which is of no run."""

NOTHING_CHECKED: dict[str, Any] = {"run": None, "checked_pixels": 0, "moved_pixels": None, "volumes": [], "prior": []}
"""What `nf inspect-dequant --json` says besides the files, here of --explain."""

Dequantize = Callable[[Array, Array, Array | None], Array]
"""(B, H, W, C) integers, (B,) keys and, for a class-conditional model, (B,) labels, to the real line; compiled."""


@dataclass(frozen=True)
class InspectDequantConfig(PictureConfig):
    """What to inspect.

    Attributes:
        images: Validation images in the histogram.
        draws: Noise draws an image.
        levels: Discrete values in the picture of volumes.
        prior: Probability of each of them, for a second picture; it is normalized. None for a bell.
        seed: Of the noise.
        explain: Draw the masks and the scale limit instead; needs no run.
    """

    images: int = 256
    draws: int = 4
    levels: int = 8
    prior: tuple[float, ...] | None = None
    seed: int = 42
    explain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("levels", self.levels, 2, 64)
        check_whole("images", self.images)
        check_whole("draws", self.draws, most=MOST_DRAWS)
        if self.explain and self.run is not None:
            raise UsageError("--explain needs no run", hint="leave the name out, or leave --explain out")
        refuse_together(self, "explain", "images", "draws", "levels", "prior", "seed")
        if self.prior is not None:
            hint, given = "for example --levels 4 --prior 1,2,2,1", len(self.prior)
            if given != self.levels:
                raise UsageError(f"--prior has {given} weights, and --levels is {self.levels}", hint=hint)
            if not all(0 <= weight <= LARGEST_WEIGHT for weight in self.prior) or sum(self.prior) == 0:
                raise UsageError(f"--prior needs numbers between 0 and {LARGEST_WEIGHT:g}, not all 0", hint=hint)
        check_seed(self.seed)

    def options(self) -> dict[str, Any]:
        """What the numbers beside the picture say of it."""
        bell = np.exp(-(np.linspace(-2, 2, self.levels) ** 2) / 2)
        weights = bell if self.prior is None else np.array(self.prior)
        return {
            "draws": self.draws,
            "seed": self.seed,
            "levels": self.levels,
            "prior": (weights / weights.sum()).tolist(),
            "prior_name": "Bell-shaped prior" if self.prior is None else "Given prior",
        }


def inspect_dequantization(config: InspectDequantConfig, *, warn: Callable[[str], None] = lambda _: None) -> Drawn:
    """Draw histograms of dequantized pixels and the volumes of discrete values; check the round trip.

    With `config.explain`, draw masks and scale limit instead: no run, no round trip, no numbers.

    Raises:
        InputError: Run, checkpoint or data are missing or damaged.
        WriteError: The picture cannot be written.
    """
    if config.explain:
        path = image_path(config.output or EXPLAINED, EXPLAINED, with_numbers=False)
        save_explain_figure(path, dpi=config.dpi)
        return Drawn(path, None, NOTHING_CHECKED)
    trained, path = config.restore("dequantization.png", warn)
    model, val = trained.model, trained.dataset().val
    images, labels = val.images[: config.images], val.labels if model.classes else None
    # All of the real line that a dequantized pixel can reach.
    reach = float(np.ceil(to_real_line([1.0], model.alpha)[0]))
    edges = np.linspace(-reach, reach, BINS + 1)
    densities: list[list[float] | None] = [None, None]
    for learned in range(1 if model.preset.dequantization is None else 2):
        dequantize = _compiled(trained, learned=bool(learned))
        densities[learned] = _histogram(dequantize, images, labels, edges, config).tolist()
    moved, checked = check_round_trip(dequantize, model, config.seed)
    if moved:
        warn(f"{moved} of {checked} pixels were not what they had been after dequantizing and back")
    numbers = {
        **config.options(),
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


def check_round_trip(dequantize: Dequantize, model: FlowModel, seed: int, *, draws: int = 4) -> tuple[int, int]:
    """Dequantize images of a single value each, for every value, and come back.

    Args:
        dequantize: Of the model.
        model: Whose images they are.
        seed: Of the noise.
        draws: Noise draws an image.

    Returns:
        How many pixels were moved, and how many were tried.
    """
    quantize = jax.jit(model.quantize)
    key = stream(seed, Purpose.ENCODING)
    labels = jnp.zeros(BATCH, jnp.int32) if model.classes else None
    moved = 0
    for values, new in batches(model.levels, BATCH):
        images = np.broadcast_to(values.astype(np.uint8)[:, None, None, None], (BATCH, *model.shape))
        for draw in range(draws):
            keys = indexed_keys(jax.random.fold_in(key, draw), jnp.asarray(values))
            back = quantize(dequantize(jnp.asarray(images), keys, labels))
            moved += int(np.sum(np.asarray(back != images)[:new]))
    return moved, draws * model.levels * model.dimensions


def _histogram(
    dequantize: Dequantize,
    images: np.ndarray,
    labels: np.ndarray | None,
    edges: np.ndarray,
    config: InspectDequantConfig,
) -> np.ndarray:
    """Density of dequantized pixels over (images, draws), (bins,), per unit of the real line."""
    counts = np.zeros(len(edges) - 1)
    key = stream(config.seed, Purpose.EVALUATION)
    for rows, new in batches(len(images), BATCH):
        given = None if labels is None else jnp.asarray(labels[rows])
        for draw in range(config.draws):
            keys = indexed_keys(jax.random.fold_in(key, draw), jnp.asarray(rows))
            counts += np.histogram(np.asarray(dequantize(jnp.asarray(images[rows]), keys, given))[:new], edges)[0]
    return counts / (counts.sum() * np.diff(edges))


def _compiled(trained: TrainedModel, *, learned: bool) -> Dequantize:
    """The model's own dequantization, or the one with uniform noise."""
    plain = UniformDequantization(levels=trained.model.levels, alpha=trained.model.alpha)

    # The weights are an argument: as constants they would be compiled in, which takes far longer.
    @jax.jit
    def dequantize(parameters: Parameters, x: Array, keys: Array, labels: Array | None) -> Array:
        with jax.default_matmul_precision(PRECISION):
            return trained.model.dequantize(parameters, x, keys, labels) if learned else plain.dequantize(x, keys)[0]

    return functools.partial(dequantize, trained.parameters)
