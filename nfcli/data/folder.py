"""Folders of PNG or JPEG files.

    folder/*.png                        images without labels
    folder/LABEL/*.png                  images with labels
    folder/{train,test}/...             either of these in each split; `val` (or `valid`, `validation`) is optional

Files are taken in order of label, then of name, by code points: pad numbers with zeros. When all labels are whole
numbers they count as such, otherwise labels are numbered from 0 in order of name, over all splits together. Hidden
files, files of other types, and sub-folders without images are skipped.
"""

from pathlib import Path

import numpy as np

from nfcli.data.dataset import Labels, Part
from nfcli.data.images import is_image_file, read_images
from nfcli.data.reading import kind_of, shown, visible_entries, visible_folders
from nfcli.data.store import Intake, select
from nfcli.errors import DataError

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

FORMS = "images belong into the folder, or into one sub-folder a label; train/ and test/ may hold either form"

DIGITS = 18
"""Longest label that is read as a number: it fits into 64 bits."""


LISTED = 12
"""So many labels are told by name."""

Listing = tuple[list[Path], list[str]]
"""Files of images, and the label of each where sub-folders are labels, or none."""


def load_image_folder(folder: Path, intake: Intake) -> dict[str, Part]:
    """Read a folder of images in one of the forms above.

    Returns:
        The parts "train", "test" and perhaps "val"; or "all" where there are no such sub-folders.

    Raises:
        DataError: There are no images, their places are ambiguous, a file is damaged, or they are over the limits.
    """
    listings: dict[str, Listing] = {}
    for name, split in SPLIT_FOLDERS.items():
        if kind_of(folder / name) == "folder":
            if split in listings:
                raise DataError(f"{shown(folder)} has two folders of validation images", hint="keep one of them")
            listings[split] = _list(folder / name)
    listings = listings or {"all": _list(folder)}
    known = {label for _, labels in listings.values() for label in labels}
    _tell_numbers(known, intake)
    images = read_images([file for files, _ in listings.values() for file in files], intake)
    parts, start = {}, 0
    for name, (files, labels) in listings.items():
        parts[name] = Part(select(images, slice(start, start + len(files))), _numbered(labels, known))
        start += len(files)
    return parts


def load_flat_folder(folder: Path, intake: Intake, classes: int | None) -> tuple[Part, list[str]]:
    """Read the images of a folder that has no splits; where some lie directly in it, no sub-folder is looked at.

    Args:
        folder: Of files, or of one sub-folder a label.
        intake: Takes the images.
        classes: As in `load_images`.

    Returns:
        The images, with the path of each file in the folder.

    Raises:
        DataError: There are none, the folder has splits, or it is unclear which labels the sub-folders are.
    """
    direct = _image_files(folder)
    splits = [name for name in SPLIT_FOLDERS if kind_of(folder / name) == "folder"]
    if not direct and splits:
        raise DataError(f"{shown(folder)} has several splits", hint=f"give one of its folders {', '.join(splits)}")
    files, labels = (direct, []) if direct else _list(folder)
    known = set(labels)
    # Numbered by order of name, words mean the same labels as in training only where there are as many.
    if classes and labels and _whole_numbers(known) is None and len(known) != classes:
        what = f"has {len(known)} sub-folders with names, and the model knows {classes} labels"
        hint = "name them by the labels' numbers, or give one for each label that the model was trained on"
        raise DataError(f"{shown(folder)} {what}", hint=hint)
    if classes != 0:
        _tell_numbers(known, intake)
    wanted = None if classes == 0 else _numbered(labels, known)
    return Part(read_images(files, intake), wanted), [str(file.relative_to(folder)) for file in files]


def _image_files(folder: Path) -> list[Path]:
    return [entry for entry in visible_entries(folder) if is_image_file(entry)]


def _list(folder: Path) -> Listing:
    direct = _image_files(folder)
    labelled = {sub.name: files for sub in visible_folders(folder) if (files := _image_files(sub))}
    if direct and labelled:
        where = f"{shown(folder)} has images of its own and in the sub-folder {shown(next(iter(labelled)))}"
        raise DataError(where, hint=FORMS)
    if not direct and not labelled:
        raise DataError(f"{shown(folder)} holds no PNG or JPEG images", hint=FORMS)
    listed = [file for files in labelled.values() for file in files]
    return direct or listed, [file.parent.name for file in listed]


def _whole_numbers(labels: set[str]) -> dict[str, int] | None:
    if not all(label.isascii() and label.isdecimal() and len(label) <= DIGITS for label in labels):
        return None
    numbers = {label: int(label) for label in labels}
    return numbers if len(set(numbers.values())) == len(labels) else None


def _tell_numbers(known: set[str], intake: Intake) -> None:
    """Say which numbers words have: the same words as in training have the same ones, and others have them too."""
    if known and _whole_numbers(known) is None:
        first = [f"{number} {shown(label)}" for number, label in enumerate(sorted(known)[:LISTED])]
        intake.message(f"note: labels are {', '.join(first)}{' and so on' * (len(known) > LISTED)}")


def _numbered(labels: list[str], known: set[str]) -> Labels | None:
    """The number of each label among all that are known; None where there are no labels."""
    numbers = _whole_numbers(known) or {label: number for number, label in enumerate(sorted(known))}
    return np.array([numbers[label] for label in labels], np.int64) if labels else None
