"""What all pictures share: where they go, the numbers beside them, and the bytes of a PNG."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nfcli.errors import RunError, UsageError
from nfcli.files import read_json, write_bytes, write_json
from nfcli.runs import find_run
from nfcli.runs.lookup import refuse_inside_run
from nfcli.runs.restore import TrainedModel, restore

BATCH = 64
"""Images that go through a model at once."""


@dataclass(frozen=True)
class PictureConfig:
    """What every picture of a run is told.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        output: The PNG; None for the run's figures.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    output: Path | None = None

    def restore(self, name: str, warn: Callable[[str], None]) -> tuple[TrainedModel, Path]:
        """The run's model, and where its picture `name` goes.

        Raises:
            InputError: Run or checkpoint are missing or damaged.
            UsageError: The picture cannot go where it is wanted.
        """
        trained = restore(find_run(self.run, self.runs_dir), warn)
        return trained, image_path(self.output, trained.run.figures / name)


@dataclass(frozen=True)
class Drawn:
    """A picture that was written.

    Attributes:
        image: The PNG file.
        numbers: The JSON file beside it; None where there is none.
        facts: What `--json` says besides these two.
    """

    image: Path
    numbers: Path | None
    facts: dict[str, Any]

    @property
    def content(self) -> dict[str, Any]:
        """What `--json` says."""
        return {"image": str(self.image), "numbers": self.numbers and str(self.numbers), **self.facts}

    @property
    def text(self) -> str:
        """The files, one a line."""
        return "\n".join(str(path) for path in (self.image, self.numbers) if path is not None)


def image_path(output: Path | None, default: Path, *, with_numbers: bool = True) -> Path:
    """Where a picture goes: the user's choice, or the default.

    Args:
        output: The user's choice, if any.
        default: Where it goes otherwise.
        with_numbers: Whether `write_numbers` will follow.

    Raises:
        UsageError: The choice is no .png file, or it or the numbers beside it would replace something else.
    """
    path = default if output is None else output
    if path.suffix.lower() != ".png" or path.is_dir():
        raise UsageError(f"--output {path} is not the name of a PNG file", hint="end it in .png")
    if output is not None:
        refuse_inside_run(path, "--output")
    numbers = path.with_suffix(".json")
    if with_numbers and numbers.exists() and not _is_ours(numbers):
        raise UsageError(
            f"{numbers} is there, and was not written with a picture: it would be replaced",
            hint="give the picture another name",
        )
    return path


def _is_ours(numbers: Path) -> bool:
    try:
        return "picture" in read_json(numbers, kind="file")
    except RunError:
        return False


def write_numbers(image: Path, numbers: dict[str, Any]) -> Path:
    """Write the numbers in a picture beside it, as JSON; returns its path."""
    path = image.with_suffix(".json")
    write_json(path, {"picture": image.name, **numbers})
    return path


def save_png(pixels: NDArray[np.uint8], path: Path) -> None:
    """Write (H, W, 1) grey or (H, W, 3) RGB pixels; the same pixels always give the same bytes.

    Raises:
        WriteError: The file cannot be written.
    """
    from PIL import Image

    buffer = BytesIO()
    grey = pixels.shape[2] == 1
    Image.fromarray(pixels[:, :, 0] if grey else pixels).save(buffer, format="PNG", optimize=True)
    write_bytes(path, buffer.getvalue())
