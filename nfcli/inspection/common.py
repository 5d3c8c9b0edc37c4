"""What the pictures of a trained model share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nfcli.errors import UsageError
from nfcli.evaluation.trained import TrainedModel
from nfcli.runs.files import write_json

CHUNK = 64
"""Images that go through a model at once: one compiled program serves any number of them."""


def image_path(trained: TrainedModel, output: Path | None, name: str) -> Path:
    """Where a picture goes: the user's choice, or the run's figures.

    Raises:
        UsageError: The user's choice is no .png file.
    """
    path = trained.run.figures / f"{name}.png" if output is None else output
    check_png(path)
    return path


def check_png(path: Path) -> None:
    """Raise `UsageError` unless the path ends in .png and is no folder."""
    if path.suffix.lower() != ".png" or path.is_dir():
        raise UsageError(f"--output {path} is not the name of a PNG file", hint="end it in .png")


def write_numbers(image: Path, numbers: dict[str, Any]) -> Path:
    """Write the numbers in a picture beside it, as JSON; returns its path."""
    path = image.with_suffix(".json")
    write_json(path, numbers)
    return path


def check_seed(seed: int) -> None:
    """Raise `UsageError` unless the seed is one that every stream of random numbers takes."""
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed {seed} is not possible", hint="it must be between 0 and 2^32 - 1")
