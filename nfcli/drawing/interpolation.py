"""`interpolate(config)`: from one image to another through the latent space."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from nfcli.data.store import AnyImages
from nfcli.drawing.grid import save_interpolation
from nfcli.drawing.output_names import CHUNK, image_path, write_numbers
from nfcli.errors import UsageError
from nfcli.evaluation.bound import PRECISION
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.flow import Latents
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.limits import check_seed, check_whole
from nfcli.runs import find_run
from nfcli.runs.restore import restore

Pair = tuple[int, int]


@dataclass(frozen=True)
class InterpolateConfig:
    """What to interpolate.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        pairs: Indices of the two images of each row.
        split: Of "train", "val", "test".
        steps: Frames of a row, both ends included.
        seed: Of the dequantization noise.
        output: The PNG; None for the run's figures.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    pairs: tuple[Pair, ...] = ((0, 1), (2, 3), (4, 5), (6, 7))
    split: str = "test"
    steps: int = 8
    seed: int = 42
    output: Path | None = None

    def __post_init__(self) -> None:
        check_whole("steps", self.steps, 2, 100)
        if not 1 <= len(self.pairs) <= 100:
            raise UsageError(f"{len(self.pairs)} pairs are not possible", hint="give 1 to 100 of --pairs A,B")
        check_seed(self.seed)


@dataclass(frozen=True)
class InterpolateResult:
    """What `nf interpolate --json` prints."""

    run: str
    image: str
    numbers: str
    checkpoint_step: int
    split: str
    pairs: list[list[int]]
    steps: int
    seed: int
    ends_exact: bool


def interpolate(config: InterpolateConfig, *, warn: Callable[[str], None] = lambda _: None) -> InterpolateResult:
    """Walk between pairs of images in latent space and write the frames as a PNG.

    Raises:
        UsageError: An index is beyond the split.
        InputError: Run, checkpoint or data are missing or damaged.
        WriteError: The PNG cannot be written.
    """
    trained = restore(find_run(config.run, config.runs_dir), warn)
    path = image_path(config.output, trained.run.figures / "interpolation.png")
    split = trained.dataset().split(config.split)
    images = split.images
    for index in {index for pair in config.pairs for index in pair}:
        if not 0 <= index < len(images):
            raise UsageError(
                f"image {index} is beyond the {len(images)} images of split '{config.split}'",
                hint=f"indices go from 0 to {len(images) - 1}",
            )
    pairs = np.array(config.pairs)
    labels = split.labels if trained.model.classes else None
    frames = walk(trained.model, trained.parameters, images, pairs, labels=labels, steps=config.steps, seed=config.seed)
    ends_exact = bool(np.array_equal(frames[:, [0, -1]], images[pairs]))
    if not ends_exact:
        warn("an end of a row is not exactly its image: inverting this model loses too much precision")
    save_interpolation(frames, path, levels=trained.model.levels)
    numbers: dict[str, Any] = {
        "run": trained.run.name,
        "checkpoint_step": trained.checkpoint.step,
        "split": config.split,
        "pairs": pairs.tolist(),
        "steps": config.steps,
        "seed": config.seed,
        "ends_exact": ends_exact,
    }
    written = write_numbers(path, numbers)
    return InterpolateResult(image=str(path), numbers=str(written), **numbers)


def walk(
    model: FlowModel,
    parameters: Parameters,
    images: AnyImages,
    pairs: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    steps: int,
    seed: int,
) -> np.ndarray:
    """Straight lines between the latents of pairs of images.

    Args:
        model, parameters: What encodes and decodes.
        images: (N, H, W, C) integers.
        pairs: (P, 2) indices into them.
        labels: (N,) of the images, for a class-conditional model: between two classes, both count in part.
        steps: Frames of each line.
        seed: Of the dequantization noise.

    Returns:
        (P, steps, H, W, C) uint8; frame 0 is the first image of a pair, the last frame the second.
    """
    key = stream(seed, Purpose.ENCODING)
    known = None if labels is None else np.eye(model.classes, dtype=np.float32)[labels]

    @jax.jit
    def encode(parameters: Parameters, x: jax.Array, index: jax.Array, labels: jax.Array | None) -> Latents:
        return model.encode(parameters, x, indexed_keys(key, index), labels)

    decode = jax.jit(model.decode)
    with jax.default_matmul_precision(PRECISION):
        chosen = pairs.reshape(-1)
        latents = _in_chunks(lambda i: encode(parameters, images[i], jnp.asarray(i), _rows(known, i)), chosen)
        frames = [_between(z, steps) for z in latents]
        weights = None if known is None else _between(known[chosen], steps)
        (decoded,) = _in_chunks(
            lambda rows: (decode(parameters, tuple(z[rows] for z in frames), _rows(weights, rows)),),
            np.arange(len(frames[0])),
        )
    return decoded.reshape(len(pairs), steps, *decoded.shape[1:])


def _between(ends: np.ndarray, steps: int) -> np.ndarray:
    """(2 P, ...) pairs, one after the other, to (P steps, ...) on straight lines between them."""
    shares = np.linspace(0, 1, steps, dtype=np.float32)
    frames = np.stack([(1 - share) * ends[0::2] + share * ends[1::2] for share in shares], axis=1)
    return frames.reshape(-1, *ends.shape[1:])


def _rows(values: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    return None if values is None else values[rows]


def _in_chunks(call: Callable[[np.ndarray], tuple[jax.Array, ...]], rows: np.ndarray) -> tuple[np.ndarray, ...]:
    """Apply a compiled function to rows in chunks of one size; the last chunk repeats its last row."""
    parts = []
    for start in range(0, len(rows), CHUNK):
        chunk = rows[np.minimum(start + np.arange(CHUNK), len(rows) - 1)]
        parts.append([np.asarray(array) for array in call(chunk)])
    return tuple(np.concatenate(arrays)[: len(rows)] for arrays in zip(*parts, strict=True))
