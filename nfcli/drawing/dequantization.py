"""`inspect_dequantization(config)`: how integers become real numbers, and whether they come back."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.drawing.dequantization_figure import DequantizationPanels, save_dequantization_figure
from nfcli.drawing.explain import save_explain_figure
from nfcli.drawing.levels import level_volumes, to_real_line
from nfcli.drawing.output_names import image_path, write_numbers
from nfcli.errors import UsageError
from nfcli.evaluation.bound import PRECISION
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.dequantization import UniformDequantization
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.limits import check_seed, check_whole
from nfcli.runs import find_run
from nfcli.runs.restore import TrainedModel, restore

BINS = 256
BATCH = 128

LARGEST_WEIGHT = 1e6

Dequantize = Callable[[Array, Array, Array | None], Array]
"""(B, H, W, C) integers, (B,) keys and, for a class-conditional model, (B,) labels, to the real line; compiled."""


@dataclass(frozen=True)
class InspectDequantConfig:
    """What to inspect.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        images: Validation images in the histogram.
        draws: Noise draws an image.
        levels: Discrete values in the picture of volumes.
        prior: Probability of each of them, for a second picture; it is normalized. None for a bell.
        seed: Of the noise.
        output: The PNG; None for the run's figures.
        explain: Draw the masks and the scale limit instead; needs no run.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    images: int = 256
    draws: int = 4
    levels: int = 8
    prior: tuple[float, ...] | None = None
    seed: int = 42
    output: Path | None = None
    explain: bool = False

    def __post_init__(self) -> None:
        check_whole("levels", self.levels, 2, 64)
        check_whole("images", self.images)
        check_whole("draws", self.draws)
        if self.explain and self.run is not None:
            raise UsageError("--explain needs no run", hint="leave the name out, or leave --explain out")
        if self.prior is not None:
            self._check_prior(self.prior)
        check_seed(self.seed)

    def _check_prior(self, prior: tuple[float, ...]) -> None:
        hint = "for example --levels 4 --prior 1,2,2,1"
        if len(prior) != self.levels:
            raise UsageError(f"--prior has {len(prior)} weights, and --levels is {self.levels}", hint=hint)
        if not all(0 <= weight <= LARGEST_WEIGHT for weight in prior) or sum(prior) == 0:
            raise UsageError(f"--prior needs numbers between 0 and {LARGEST_WEIGHT:g}, not all 0", hint=hint)

    @property
    def prior_name(self) -> str:
        """What a picture calls it."""
        return "Bell-shaped prior" if self.prior is None else "Given prior"

    def normalized_prior(self) -> np.ndarray:
        """(levels,) probabilities: the user's, or a bell over the values."""
        if self.prior is None:
            position = np.linspace(-2, 2, self.levels)
            weights = np.exp(-(position**2) / 2)
        else:
            weights = np.array(self.prior, float)
        return weights / weights.sum()


@dataclass(frozen=True)
class InspectDequantResult:
    """What `nf inspect-dequant --json` prints; `run` and `moved_pixels` are None with --explain."""

    run: str | None
    image: str
    numbers: str | None
    checked_pixels: int = 0
    moved_pixels: int | None = None
    volumes: tuple[float, ...] = ()
    prior: tuple[float, ...] = ()


def inspect_dequantization(
    config: InspectDequantConfig, *, warn: Callable[[str], None] = lambda _: None
) -> InspectDequantResult:
    """Draw histograms of dequantized pixels and the volumes of discrete values; check the round trip.

    Raises:
        InputError: Run, checkpoint or data are missing or damaged.
        WriteError: The PNG cannot be written.
    """
    if config.explain:
        return _explain(config)
    trained = restore(find_run(config.run, config.runs_dir), warn)
    path = image_path(config.output, trained.run.figures / "dequantization.png")
    alpha, levels = trained.model.alpha, trained.model.levels
    edges = _edges(alpha)
    val = trained.dataset().val
    images, labels = val.images[: config.images], val.labels if trained.model.classes else None
    dequantize = _compiled(trained, learned=False)
    uniform = _histogram(dequantize, images, labels, edges, config)
    learned = None
    if trained.model.preset.dequantization is not None:
        dequantize = _compiled(trained, learned=True)
        learned = _histogram(dequantize, images, labels, edges, config)
    moved, checked = check_round_trip(dequantize, trained.model, config.seed)
    if moved:
        warn(f"{moved} of {checked} pixels were not what they had been after dequantizing and back")
    prior = config.normalized_prior()
    panels = DequantizationPanels(
        edges=edges,
        uniform_density=uniform,
        learned_density=learned,
        space="logit",
        alpha=alpha,
        data_levels=levels,
        levels=config.levels,
        prior=prior,
        prior_name=config.prior_name,
    )
    save_dequantization_figure(path, panels)
    volumes = level_volumes(config.levels, alpha)
    numbers = {
        "run": trained.run.name,
        "checkpoint_step": trained.checkpoint.step,
        "images": len(images),
        "draws": config.draws,
        "seed": config.seed,
        "edges": edges.tolist(),
        "uniform_density": uniform.tolist(),
        "learned_density": None if learned is None else learned.tolist(),
        "levels": config.levels,
        "volumes": volumes.tolist(),
        "prior": prior.tolist(),
        "prior_name": config.prior_name,
        "checked_pixels": checked,
        "moved_pixels": moved,
    }
    written = write_numbers(path, numbers)
    return InspectDequantResult(
        run=trained.run.name,
        image=str(path),
        numbers=str(written),
        checked_pixels=checked,
        moved_pixels=moved,
        volumes=tuple(volumes.tolist()),
        prior=tuple(prior.tolist()),
    )


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
    for start in range(0, model.levels, BATCH):
        values = np.minimum(start + np.arange(BATCH), model.levels - 1)
        size = min(BATCH, model.levels - start)
        images = np.broadcast_to(values.astype(np.uint8)[:, None, None, None], (BATCH, *model.shape))
        for draw in range(draws):
            keys = indexed_keys(jax.random.fold_in(key, draw), jnp.asarray(values))
            back = quantize(dequantize(jnp.asarray(images), keys, labels))
            moved += int(np.sum(np.asarray(back != images)[:size]))
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
    for start in range(0, len(images), BATCH):
        rows = np.minimum(start + np.arange(BATCH), len(images) - 1)
        size = min(BATCH, len(images) - start)
        for draw in range(config.draws):
            keys = indexed_keys(jax.random.fold_in(key, draw), jnp.asarray(rows))
            given = None if labels is None else jnp.asarray(labels[rows])
            counts += np.histogram(np.asarray(dequantize(jnp.asarray(images[rows]), keys, given))[:size], edges)[0]
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


def _edges(alpha: float) -> np.ndarray:
    """256 bins over all of the real line that a dequantized pixel can reach."""
    reach = float(np.ceil(to_real_line(np.array([1.0]), alpha)[0]))
    return np.linspace(-reach, reach, BINS + 1)


def _explain(config: InspectDequantConfig) -> InspectDequantResult:
    path = image_path(config.output, Path("explain.png"), with_numbers=False)
    save_explain_figure(path)
    return InspectDequantResult(run=None, image=str(path), numbers=None)
