"""What all pictures share: what they are told, where they go, and the numbers beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.drawing import style
from nfcli.errors import RunError, UsageError
from nfcli.files import read_json, write_json
from nfcli.limits import check_whole
from nfcli.runs import find_run
from nfcli.runs.outputs import check_output
from nfcli.runs.restore import TrainedModel, restore

BATCH = 64
"""Images that go through a model at once."""


LOOK = ("dpi", "scale", "captions")
"""What changes how a picture looks, and not what it shows."""


@dataclass(frozen=True)
class PictureConfig:
    """What every picture of a run is told.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        output: The file; None for a PNG in the run's figures.
        dpi: Pixels an inch; None for 200, which a PNG without a layout of its own need not say.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    output: Path | None = None
    dpi: int | None = None

    def __post_init__(self) -> None:
        check_whole("dpi", self.dpi, 10, 1200)

    def look(self) -> dict[str, Any]:
        """What was chosen of how the picture looks, for the numbers beside it."""
        return {name: value for name in LOOK if (value := getattr(self, name, None))}

    def place(self, default: Path) -> Path:
        """Where the picture goes: the user's choice, or the default.

        Raises:
            UsageError: It cannot go there.
        """
        return image_path(self.output, default)

    def restore(self, name: str, warn: Callable[[str], None]) -> tuple[TrainedModel, Path]:
        """The run's model, and where its picture `name` goes.

        Raises:
            InputError: Run or checkpoint are missing or damaged.
            UsageError: The picture cannot go where it is wanted.
        """
        trained = restore(find_run(self.run, self.runs_dir), warn)
        return trained, self.place(trained.run.figures / name)


@dataclass(frozen=True)
class GridConfig(PictureConfig):
    """What a grid of images is told besides.

    Attributes:
        scale: Pixels along each side that one pixel becomes; None for what is comfortable to look at.
        captions: Write beside the rows, or above the columns, what they show.
    """

    scale: int | None = None
    captions: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("scale", self.scale, 1, 100)


@dataclass(frozen=True)
class Drawn:
    """A picture that was written.

    Attributes:
        image: The file; with samples as data, perhaps a folder.
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


def image_path(output: Path | None, default: Path, *, with_numbers: bool = True, others: str = "") -> Path:
    """Where a picture goes: the user's choice, or the default.

    Args:
        output: The user's choice, if any.
        default: Where it goes otherwise.
        with_numbers: Whether `write_numbers` will follow.
        others: Endings that the caller takes besides, for the hint.

    Raises:
        UsageError: The choice is no file of a picture, or it or the numbers beside it would replace something else.
    """
    path = default if output is None else output
    endings = f".png, .pdf, .svg{others}" if others else ".png, .pdf or .svg"
    if path.suffix.lower() not in style.FORMATS or path.is_dir():
        raise UsageError(f"--output {path} is not the name of a picture", hint=f"end it in {endings}")
    # A run's own figures are replaced, whatever is there.
    if output is not None:
        check_output("--output", path)
    if with_numbers:
        check_numbers(path)
    return path


def numbers_beside(picture: Path) -> Path:
    """The JSON file beside a picture."""
    return picture.with_suffix(".json")


def check_numbers(picture: Path) -> None:
    """Keep the numbers beside a picture from replacing another file.

    Raises:
        UsageError: They would.
    """
    numbers = numbers_beside(picture)
    if numbers.exists() and not _are_ours(numbers):
        raise UsageError(
            f"{numbers} is there, and was not written with a picture: it would be replaced",
            hint="give the picture another name",
        )


def _are_ours(numbers: Path) -> bool:
    try:
        return "picture" in read_json(numbers, kind="file")
    except RunError:
        return False


def write_numbers(image: Path, numbers: dict[str, Any]) -> Path:
    """Write the numbers in a picture beside it, as JSON; returns its path."""
    path = numbers_beside(image)
    write_json(path, {"picture": image.name, **numbers})
    return path
