"""The entry of this room: what a user types as a dataset, to arrays.

Accepted are `mnist`, `tfds:NAME`, a folder that TFDS prepared, a folder of IDX files, a folder of PNG or JPEG files
and an npz file; see `bundled`, `tfds`, `idx`, `folder` and `npz` for each, `transform` for what is done to the images,
and `splits` for how train, validation and test come about.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from nfcli.data.bundled import load_mnist
from nfcli.data.dataset import ImageDataset
from nfcli.data.files import absolute, explain, kind_of, short_name, shown
from nfcli.data.folder import image_files, load_image_folder
from nfcli.data.idx import is_idx_folder, load_idx_folder
from nfcli.data.images import SUFFIXES, is_image_file, read_images
from nfcli.data.npz import load_npz, load_npz_images
from nfcli.data.splits import Part, assemble
from nfcli.data.store import AnyImages, Intake
from nfcli.data.tfds import PREFIX, is_prepared, load_prepared, load_tfds
from nfcli.data.transform import Transform
from nfcli.errors import DataError, UsageError

NAMES = ("mnist",)


@dataclass(frozen=True)
class Request:
    """What is to be loaded, and how."""

    spec: str
    intake: Intake
    data_dir: Path | None
    message: Callable[[str], None]

    @property
    def path(self) -> Path:
        """The specification read as a path."""
        return absolute(self.spec)

    @property
    def is_folder(self) -> bool:
        """Whether it is the path of a folder."""
        return bool(self.spec) and kind_of(self.path) == "folder"

    def assembled(self, parts: dict[str, Part], path: Path | None = None, name: str | None = None) -> ImageDataset:
        """The dataset of these parts, named after its path unless there is a better name."""
        path = path or self.path
        try:
            return assemble(name or short_name(path), str(path), parts, levels=self.intake.transform.levels)
        except MemoryError as error:  # splitting copies the images
            raise explain(path, "a dataset", error) from error


Resolver = Callable[[Request], ImageDataset | None]


def load_dataset(
    spec: str,
    transform: Transform | None = None,
    *,
    data_dir: Path | None = None,
    message: Callable[[str], None] = lambda _: None,
) -> ImageDataset:
    """Load a dataset with its splits.

    Args:
        spec: `mnist`, `tfds:NAME`, or the path of a folder or npz file. A folder called mnist is `./mnist`.
        transform: What is done to every image.
        data_dir: Where TFDS keeps its data; None for `NF_DATA_DIR`, or else its own default.
        message: Called with a sentence before something takes long, or of images that were converted.

    Raises:
        UsageError: There is no dataset of that name.
        DataError: A file is missing, damaged, not understood or over the limits, or a download failed.
    """
    if data_dir is None and os.environ.get("NF_DATA_DIR"):
        data_dir = Path(os.environ["NF_DATA_DIR"])
    request = Request(spec, Intake(transform, message), data_dir, message)
    for resolve in RESOLVERS.values():
        dataset = resolve(request)
        if dataset is not None:
            return dataset
    raise _unresolved(spec)


def load_images(
    path: str | os.PathLike[str],
    transform: Transform | None = None,
    *,
    message: Callable[[str], None] = lambda _: None,
) -> tuple[AnyImages, list[str]]:
    """Load images without splits, for scoring.

    Args:
        path: A PNG or JPEG file, a folder of them, or an npz file with the key `images` or only one array.
        transform: What is done to every image.
        message: Called with a sentence of images that were converted.

    Returns:
        (N, H, W, C) uint8 and a name for each: its file's, or `file.npz[index]` counted from 0. Folders are in order of
        name.

    Raises:
        UsageError: The path is empty.
        DataError: A file is missing, damaged, not understood or over the limits.
    """
    if not os.fspath(path):  # an unset shell variable must not mean the working directory
        raise UsageError("the path of the images is empty", hint="give an image, a folder of images or an npz file")
    target, intake = absolute(os.fspath(path)), Intake(transform, message)
    kind = kind_of(target)
    if kind == "folder":
        files = image_files(target)
        if not files:
            raise DataError(f"{shown(target)} holds no PNG or JPEG images", hint="sub-folders are not searched")
        return read_images(files, intake), [file.name for file in files]
    if kind == "file" and target.suffix.lower() == ".npz":
        images = load_npz_images(target, intake)
        return images, [f"{target.name}[{index}]" for index in range(len(images))]
    if kind == "file" and is_image_file(target):
        return read_images([target], intake), [target.name]
    raise _unreadable(target, f"give a file ending in {', '.join(SUFFIXES)} or .npz, or a folder of images")


def _resolve_name(request: Request) -> ImageDataset | None:
    return load_mnist(request.intake) if request.spec == "mnist" else None


def _resolve_tfds(request: Request) -> ImageDataset | None:
    if not request.spec.startswith(PREFIX):
        return None
    name = request.spec.removeprefix(PREFIX)
    if not name or name.startswith(("/", ".")):
        raise UsageError(f"--dataset {shown(request.spec)} names no data set", hint="for example tfds:fashion_mnist")
    prepared = load_tfds(name, request.intake, request.data_dir, request.message)
    return request.assembled(prepared.parts, prepared.folder, short_name(Path(name.replace("/", "-"))))


def _resolve_prepared(request: Request) -> ImageDataset | None:
    if not request.is_folder or not is_prepared(request.path):
        return None
    name = short_name(request.path.parent)  # the folder itself is called by its version
    return request.assembled(load_prepared(request.path, request.intake), name=name)


def _resolve_idx_folder(request: Request) -> ImageDataset | None:
    if not request.is_folder or not is_idx_folder(request.path):
        return None
    return request.assembled(load_idx_folder(request.path, request.intake))


def _resolve_image_folder(request: Request) -> ImageDataset | None:
    return request.assembled(load_image_folder(request.path, request.intake)) if request.is_folder else None


def _resolve_npz(request: Request) -> ImageDataset | None:
    if request.path.suffix.lower() != ".npz" or kind_of(request.path) != "file":
        return None
    return request.assembled(load_npz(request.path, request.intake))


RESOLVERS: dict[str, Resolver] = {
    "mnist": _resolve_name,
    "tfds:NAME": _resolve_tfds,
    "a folder that TFDS prepared": _resolve_prepared,
    "a folder of IDX files": _resolve_idx_folder,
    "a folder of PNG or JPEG files": _resolve_image_folder,
    "an npz file": _resolve_npz,
}
"""Each accepted form in words, and who loads it; a resolver returns None for a specification of another form."""


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
