"""What the pictures of a trained model share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nfcli.errors import RunError, UsageError
from nfcli.files import read_json, write_json
from nfcli.runs.lookup import refuse_inside_run

CHUNK = 64
"""Images that go through a model at once: one compiled program serves any number of them."""


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
