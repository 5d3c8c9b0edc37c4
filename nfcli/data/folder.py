"""Folders of PNG or JPEG files.

    folder/*.png                        images without labels
    folder/LABEL/*.png                  images with labels
    folder/{train,test}/...             either of these in each split; `val` (or `valid`, `validation`) is optional

Files are taken in order of label, then of name, by code points: pad numbers with zeros. When all labels are whole
numbers they count as such, otherwise labels are numbered from 0 in order of name, over all splits together. Hidden
files, files of other types, and sub-folders without images are skipped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nfcli.data.dataset import Labels, Part
from nfcli.data.images import is_image_file, read_images
from nfcli.data.labels import LISTED, label_names, label_number, listed
from nfcli.data.reading import kind_of, shown, visible_entries, visible_folders
from nfcli.data.store import Intake, select
from nfcli.errors import DataError

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}

FORMS = "images belong into the folder, or into one sub-folder a label; train/ and test/ may hold either form"

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
    names = label_names({label for _, labels in listings.values() for label in labels})
    if names:
        first = ", ".join(f"{number} {shown(label)}" for number, label in enumerate(names[:LISTED]))
        intake.message(f"note: labels are {first}{' and so on' * (len(names) > LISTED)}")
    images = read_images([file for files, _ in listings.values() for file in files], intake)
    parts, start = {}, 0
    for split, (files, labels) in listings.items():
        numbers = {label: label_number(label, names) for label in labels}
        parts[split] = Part(select(images, slice(start, start + len(files))), _array(labels, numbers), names)
        start += len(files)
    return parts


def load_flat_folder(folder: Path, intake: Intake, classes: int, names: Sequence[str]) -> tuple[Part, list[str]]:
    """Read the images of a folder that has no splits; where some lie directly in it, no sub-folder is looked at.

    Args:
        folder: Of files, or of one sub-folder a label.
        intake: Takes the images.
        classes, names: As in `load_images`.

    Returns:
        The images, with the path of each file in the folder.

    Raises:
        DataError: There are none, the folder has splits, or a sub-folder is no label that is known.
    """
    direct = _image_files(folder)
    splits = [name for name in SPLIT_FOLDERS if kind_of(folder / name) == "folder"]
    if not direct and splits:
        raise DataError(f"{shown(folder)} has several splits", hint=f"give one of its folders {', '.join(splits)}")
    files, labels = (direct, []) if direct else _list(folder)
    numbers = {label: label_number(label, names) for label in labels} if classes else {}
    for label, number in numbers.items():
        if number is None:
            what = f"sub-folder {shown(label)} of {shown(folder)} is no label that the model knows"
            known = listed(range(classes), names)
            raise DataError(what, hint=f"it knows {known}" if names else f"sub-folders are numbers then, from {known}")
    return Part(read_images(files, intake), _array(labels, numbers)), [str(file.relative_to(folder)) for file in files]


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
    files = direct or [file for of_label in labelled.values() for file in of_label]
    return files, [] if direct else [file.parent.name for file in files]


def _array(labels: list[str], numbers: Mapping[str, int | None]) -> Labels | None:
    """The number of each label; None where there are no labels, or none that count."""
    return np.array([numbers[label] for label in labels], np.int64) if labels and numbers else None
