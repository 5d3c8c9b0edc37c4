"""Images as data: one npz file, or a folder with a PNG file an image. nf reads both as it reads any images."""

import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.drawing.config import MOST_IMAGES
from nfcli.drawing.grid import Pixels, encode_png
from nfcli.drawing.output import check_numbers
from nfcli.errors import RunError, UsageError
from nfcli.files import read_json, real_path, remove_tree, write_bytes, write_error
from nfcli.process.signals import unfinished
from nfcli.runs.outputs import check_output, refuse_inside_run
from nfcli.runs.per_image import npz_bytes


def check_data_path(path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Find out before the work whether images may be written here.

    Raises:
        UsageError: They or the numbers beside them would replace something else.
    """
    if path.exists() and path.is_dir() == bool(path.suffix):
        kind, other = ("folder", "a file of images") if path.suffix else ("file", "a folder for images")
        raise UsageError(f"--output {path} is a {kind}, and not {other}", hint="give another name")
    check_numbers(path)
    if path.suffix:
        check_output("--output", path, inputs)
        return
    refuse_inside_run(path, "--output")
    try:
        others = sorted({entry.name for entry in path.iterdir()} - _names_before(path)) if path.is_dir() else []
    except OSError as error:
        raise write_error(path, error) from error
    if others:
        hint = "give another name: only what nf sample itself wrote is replaced"
        raise UsageError(f"--output {path} is a folder with other things in it, such as {others[0]}", hint=hint)


def save_images(path: Path, images: Pixels, labels: list[int] | None, facts: dict[str, Any]) -> None:
    """Write images to where `check_data_path` found that they may go.

    Args:
        path: An .npz file, or a folder, which is replaced as a whole.
        images: (N, H, W, C) uint8.
        labels: (N,) of them, if they have any.
        facts: What else the npz file says, each as an array of its own.

    Raises:
        UsageError: Something else was put there since.
        WriteError: They cannot be written.
    """
    if path.suffix:
        known = {} if labels is None else {"labels": np.array(labels)}
        write_bytes(path, npz_bytes({"images": images, **known, **facts}))
        return
    place = real_path(path)  # a link to a folder stays
    staging, before = (place.parent / f".{place.name}.{secrets.token_hex(4)}.{end}" for end in ("tmp", "old"))
    try:
        with unfinished(staging):
            staging.mkdir(parents=True)
            for name, image in zip(file_names(len(images), labels), images, strict=True):
                (staging / name).write_bytes(encode_png(image))
            check_data_path(path)  # once more, since drawing took its time
            if place.exists():
                place.rename(before)
            staging.rename(place)
        remove_tree(before)
    except OSError as error:
        raise write_error(path, error) from error


def file_names(count: int, labels: list[int] | None) -> list[str]:
    """Of the images in a folder: `0007.png`, or `0007-label3.png` where labels are known."""
    ends = [""] * count if labels is None else [f"-label{label}" for label in labels]
    return [f"{index:04}{end}.png" for index, end in zip(range(count), ends, strict=True)]


def _names_before(folder: Path) -> set[str]:
    """The files that the numbers beside a folder say were written into it."""
    with suppress(RunError, KeyError, TypeError, ValueError):
        said = read_json(folder.with_suffix(".json"), kind="file")
        if said["picture"] == folder.name and int(said["num"]) <= MOST_IMAGES:
            return set(file_names(said["num"], said["labels"]))
    return set()
