"""`interpolate(config)`: from one image to another through the latent space."""

import numpy as np

from nfcli.data import ImageSplit
from nfcli.drawing.config import InterpolateConfig
from nfcli.drawing.grid import check_size, interpolation_grid, save_grid
from nfcli.drawing.output import Drawn, restored, write_numbers
from nfcli.errors import Say, UsageError
from nfcli.evaluation.latents import Coder
from nfcli.runs.restore import TrainedModel


def interpolate(config: InterpolateConfig, *, warn: Say = lambda _: None) -> Drawn:
    """Walk between pairs of images in latent space and write the frames as a picture.

    Raises:
        UsageError: An index is beyond the split.
        InputError: Run, checkpoint or data are missing or damaged.
        WriteError: The picture cannot be written.
    """
    trained, path = restored(config, "interpolation.png", warn)
    split = trained.dataset().split(config.split)
    for index in {index for pair in config.pairs for index in pair}:
        if not 0 <= index < len(split):
            hint = f"indices go from 0 to {len(split) - 1}"
            raise UsageError(f"image {index} is beyond the {len(split)} images of split '{config.split}'", hint=hint)
    check_size(len(config.pairs) * config.steps, config.steps, trained.model.shape, config.scale)
    frames = walk(trained, split, config)
    ends_exact = bool(np.array_equal(frames[:, [0, -1]], split.images[np.array(config.pairs)]))
    if not ends_exact:
        warn("an end of a row is not exactly its image: inverting this model loses too much precision")
    grid = interpolation_grid(frames, levels=trained.model.levels, scale=config.scale)
    captions = [f"{first} \N{RIGHTWARDS ARROW} {second}" for first, second in config.pairs] if config.captions else []
    save_grid(grid, path, dpi=config.dpi, rows=captions)
    facts = {
        "run": trained.run.name,
        "checkpoint_step": trained.checkpoint.step,
        **config.chosen("split", "pairs", "steps", "seed"),
        "ends_exact": ends_exact,
        **config.look(),
    }
    return Drawn(path, write_numbers(path, facts), facts)


def walk(trained: TrainedModel, split: ImageSplit, config: InterpolateConfig) -> np.ndarray:
    """Straight lines between the latents of pairs of images; between two classes, both count in part.

    Returns:
        (pairs, steps, H, W, C) uint8; frame 0 is the first image of a pair, the last frame the second.
    """
    ends, classes = np.array(config.pairs).reshape(-1), None
    if trained.model.classes and split.labels is not None:
        classes = np.eye(trained.model.classes, dtype=np.float32)[split.labels[ends]]
    coder = Coder(trained)
    latents = coder.encode(split.images[ends], classes, config.seed, ends)
    weights = None if classes is None else _between(classes, config.steps)
    frames = coder.decode([_between(z, config.steps) for z in latents], weights)
    return frames.reshape(-1, config.steps, *frames.shape[1:])


def _between(ends: np.ndarray, steps: int) -> np.ndarray:
    """(2 P, ...) pairs, one after the other, to (P steps, ...) on straight lines between them."""
    shares = np.linspace(0, 1, steps, dtype=np.float32)
    frames = np.stack([(1 - share) * ends[0::2] + share * ends[1::2] for share in shares], axis=1)
    return frames.reshape(-1, *ends.shape[1:])
