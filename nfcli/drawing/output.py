"""What all pictures share: where they go, and the numbers beside them."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.drawing import style
from nfcli.drawing.config import PictureConfig
from nfcli.errors import RunError, Say, UsageError
from nfcli.files import read_json, write_json
from nfcli.runs import find_run
from nfcli.runs.outputs import check_output
from nfcli.runs.restore import TrainedModel, restore


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


def image_path(
    output: Path | None, default: Path, *, with_numbers: bool = True, endings: str = ".png, .pdf or .svg"
) -> Path:
    """Where a picture goes: the user's choice, or the default.

    Args:
        output: The user's choice, if any.
        default: Where it goes otherwise.
        with_numbers: Whether `write_numbers` will follow.
        endings: All that the caller takes, for the hint.

    Raises:
        UsageError: The choice is no file of a picture, or it or the numbers beside it would replace something else.
    """
    path = default if output is None else output
    if path.suffix.lower() not in style.FORMATS or path.is_dir():
        raise UsageError(f"--output {path} is not the name of a picture", hint=f"end it in {endings}")
    # A run's own figures are replaced, whatever is there.
    if output is not None:
        check_output("--output", path)
    if with_numbers:
        check_numbers(path)
    return path


def restored(
    config: PictureConfig, name: str, warn: Say, place: Callable[[Path | None, Path], Path] = image_path
) -> tuple[TrainedModel, Path]:
    """The run's model, and where its picture `name` goes, which `place` decides of the user's choice and the default.

    Raises:
        InputError: Run or checkpoint are missing or damaged.
        UsageError: The picture cannot go where it is wanted.
    """
    trained = restore(find_run(config.run, config.runs_dir), warn)
    return trained, place(config.output, trained.run.figures / name)


def check_numbers(picture: Path) -> None:
    """Keep the numbers beside a picture from replacing another file.

    Raises:
        UsageError: They would.
    """
    numbers = picture.with_suffix(".json")
    with suppress(RunError):
        if not numbers.exists() or "picture" in read_json(numbers, kind="file"):
            return
    hint = "give the picture another name"
    raise UsageError(f"{numbers} is there, and was not written with a picture: it would be replaced", hint=hint)


def write_numbers(image: Path, numbers: dict[str, Any]) -> Path:
    """Write the numbers in a picture beside it, as JSON; returns its path."""
    path = image.with_suffix(".json")
    write_json(path, {"picture": image.name, **numbers})
    return path
