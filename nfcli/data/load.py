"""The entry of this room: what a user types as a dataset, to arrays.

Accepted are `mnist`, a folder of IDX files, a folder of PNG or JPEG files and an npz file; see `bundled`, `idx`,
`folder` and `npz` for each, and `splits` for how train, validation and test come about.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from difflib import get_close_matches
from pathlib import Path

from nfcli.data.bundled import load_mnist
from nfcli.data.dataset import ImageDataset, Images
from nfcli.data.files import absolute, explain, kind_of, short_name, shown
from nfcli.data.folder import image_files, load_image_folder
from nfcli.data.idx import is_idx_folder, load_idx_folder
from nfcli.data.images import SUFFIXES, is_image_file, read_images
from nfcli.data.npz import load_npz, load_npz_images
from nfcli.data.splits import Part, assemble
from nfcli.errors import DataError, UsageError

NAMES = ("mnist",)

Resolver = Callable[[str], ImageDataset | None]


def load_dataset(spec: str) -> ImageDataset:
    """Load a dataset with its splits.

    Args:
        spec: `mnist`, or the path of a folder or npz file. A folder called mnist is `./mnist`.

    Raises:
        UsageError: There is no dataset of that name.
        DataError: A file is missing, damaged, not understood or over the limits.
    """
    for resolve in RESOLVERS.values():
        dataset = resolve(spec)
        if dataset is not None:
            return dataset
    raise _unresolved(spec)


def load_images(path: str | os.PathLike[str]) -> tuple[Images, list[str]]:
    """Load images without splits, for scoring.

    Args:
        path: A PNG or JPEG file, a folder of them, or an npz file with the key `images` or only one array.

    Returns:
        (N, H, W, C) uint8 and a name for each: its file's, or `file.npz[index]` counted from 0. Folders are in order of
        name.

    Raises:
        UsageError: The path is empty.
        DataError: A file is missing, damaged, not understood or over the limits.
    """
    if not os.fspath(path):  # an unset shell variable must not mean the working directory
        raise UsageError("the path of the images is empty", hint="give an image, a folder of images or an npz file")
    target = absolute(os.fspath(path))
    kind = kind_of(target)
    if kind == "folder":
        files = image_files(target)
        if not files:
            raise DataError(f"{shown(target)} holds no PNG or JPEG images", hint="sub-folders are not searched")
        return read_images(files), [file.name for file in files]
    if kind == "file" and target.suffix.lower() == ".npz":
        images = load_npz_images(target)
        return images, [f"{target.name}[{index}]" for index in range(len(images))]
    if kind == "file" and is_image_file(target):
        return read_images([target]), [target.name]
    raise _unreadable(target, f"give a file ending in {', '.join(SUFFIXES)} or .npz, or a folder of images")


def _resolve_name(spec: str) -> ImageDataset | None:
    return load_mnist() if spec == "mnist" else None


def _resolve_idx_folder(spec: str) -> ImageDataset | None:
    path = absolute(spec)
    if not spec or kind_of(path) != "folder" or not is_idx_folder(path):
        return None
    return _assembled(path, load_idx_folder(path))


def _resolve_image_folder(spec: str) -> ImageDataset | None:
    path = absolute(spec)
    if not spec or kind_of(path) != "folder":
        return None
    return _assembled(path, load_image_folder(path))


def _resolve_npz(spec: str) -> ImageDataset | None:
    path = absolute(spec)
    if path.suffix.lower() != ".npz" or kind_of(path) != "file":
        return None
    return _assembled(path, load_npz(path))


RESOLVERS: dict[str, Resolver] = {
    "mnist": _resolve_name,
    "a folder of IDX files": _resolve_idx_folder,
    "a folder of PNG or JPEG files": _resolve_image_folder,
    "an npz file": _resolve_npz,
}
"""Each accepted form in words, and who loads it; a resolver returns None for a specification of another form."""


def _assembled(path: Path, parts: dict[str, Part]) -> ImageDataset:
    try:
        return assemble(short_name(path), str(path), parts)
    except MemoryError as error:  # splitting copies the images
        raise explain(path, "a dataset", error) from error


def _unresolved(spec: str) -> UsageError | DataError:
    forms = "datasets: " + ", ".join(RESOLVERS)
    path = absolute(spec)
    looks_like_path = spec.startswith(("~", ".")) or "/" in spec or os.sep in spec or path.suffix.lower() == ".npz"
    if spec and (looks_like_path or kind_of(path) != "missing"):
        return _unreadable(path, forms)
    close = get_close_matches(spec.lower(), NAMES, n=1)
    hint = f"did you mean '{close[0]}'? {forms}" if close else forms
    return UsageError(f"unknown dataset '{shown(spec)}'", hint=hint)


def _unreadable(path: Path, forms: str) -> DataError:
    if kind_of(path) == "missing":
        return DataError(f"{shown(path)} does not exist", hint=forms)
    return DataError(f"{shown(path)} is of no kind that can be read", hint=forms)
