"""The entry of this room: what a user types as a dataset, to arrays.

Accepted are `mnist`, `tfds:NAME`, a folder that TFDS prepared, a folder of IDX files, a folder of PNG or JPEG files
and an npz file; see `tfds`, `idx`, `folder` and `npz` for each, `transform` for what is done to the images, and
`dataset` for how train, validation and test come about.
"""

import os
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import NamedTuple

from nfcli.data.dataset import ImageDataset, Labels, Part, assemble, check_parts
from nfcli.data.folder import load_flat_folder, load_image_folder
from nfcli.data.idx import is_idx_folder, load_idx_folder, load_mnist
from nfcli.data.images import SUFFIXES, is_image_file, read_images
from nfcli.data.npz import load_npz
from nfcli.data.reading import absolute, explain, kind_of, short_name, shown
from nfcli.data.store import AnyImages, Intake
from nfcli.data.tfds import PREFIX, is_prepared, load_prepared, load_tfds
from nfcli.data.transform import Transform
from nfcli.errors import DataError, Say, UsageError

FORMS = (
    "datasets: mnist, tfds:NAME, a folder that TFDS prepared, a folder of IDX files, a folder of PNG or JPEG files, "
    "an npz file"
)


def load_dataset(
    spec: str, transform: Transform | None = None, *, data_dir: Path | None = None, message: Say = lambda _: None
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
    intake = Intake(transform, message)
    if spec == "mnist":
        name, path, parts = spec, Path(spec), load_mnist(intake)
    elif spec.startswith(PREFIX):
        name = spec.removeprefix(PREFIX)
        if not name or name.startswith(("/", ".")):
            raise UsageError(f"--dataset {shown(spec)} names no data set", hint="for example tfds:fashion_mnist")
        path, parts = load_tfds(name, intake, data_dir or os.environ.get("NF_DATA_DIR"))
        name = short_name(Path(name.replace("/", "-")))
    else:
        name, path, parts = _load_path(spec, intake)
    try:
        return assemble(name, str(path), parts, levels=intake.transform.levels)
    except MemoryError as error:  # splitting copies the images
        raise explain(path, "a dataset", error) from error


def _load_path(spec: str, intake: Intake) -> tuple[str, Path, dict[str, Part]]:
    """The dataset's name and path, and what the folder or file there holds."""
    path = absolute(spec)
    kind = kind_of(path) if spec else "missing"  # an unset shell variable must not mean the working directory
    if kind == "folder" and is_prepared(path):
        return short_name(path.parent), path, load_prepared(path, intake)  # the folder itself is called by its version
    if kind == "folder":
        return short_name(path), path, (load_idx_folder if is_idx_folder(path) else load_image_folder)(path, intake)
    if kind == "file" and path.suffix.lower() == ".npz":
        return short_name(path), path, load_npz(path, intake)
    looks_like_path = spec.startswith(("~", ".")) or "/" in spec or os.sep in spec or path.suffix.lower() == ".npz"
    if kind != "missing" or (spec and looks_like_path):
        raise _unreadable(path, FORMS)
    guess = "did you mean 'mnist'? " * bool(get_close_matches(spec.lower(), ["mnist"]))
    raise UsageError(f"unknown dataset '{shown(spec)}'", hint=guess + FORMS)


class LoadedImages(NamedTuple):
    """Images without splits.

    Attributes:
        images: (N, H, W, C) uint8.
        names: N of them: the file's, `LABEL/file` in a sub-folder, or `file.npz[index]` counted from 0.
        labels: (N,) int64, None where the source has none or they were not wanted.
    """

    images: AnyImages
    names: list[str]
    labels: Labels | None


def load_images(
    path: str | os.PathLike[str],
    transform: Transform | None = None,
    *,
    classes: int = 0,
    names: Sequence[str] = (),
    message: Say = lambda _: None,
) -> LoadedImages:
    """Load images without splits, for scoring, with their labels where the source has them.

    Args:
        path: A PNG or JPEG file; a folder of them, or of one sub-folder a label, in order of name; or an npz file with
            the key `images` or only one array, and perhaps `labels` or `y`.
        transform: What is done to every image.
        classes: Of the model that is to be told the labels, which must then be among them; 0 looks at no labels.
        names: Of the classes, if it knows words for them: sub-folders may be called so.
        message: Called with a sentence of images that were converted.

    Raises:
        UsageError: The path is empty.
        DataError: A file is missing, damaged, not understood or over the limits, or has labels that the model lacks.
    """
    if not os.fspath(path):  # an unset shell variable must not mean the working directory
        raise UsageError("the path of the images is empty", hint="give an image, a folder of images or an npz file")
    target, intake = absolute(os.fspath(path)), Intake(transform, message)
    kind = kind_of(target)
    if kind == "folder":
        part, files = load_flat_folder(target, intake, classes, names)
    elif kind == "file" and target.suffix.lower() == ".npz":
        part = load_npz(target, intake, splits=False, labelled=bool(classes))["all"]
        files = [f"{target.name}[{index}]" for index in range(len(part.images))]
    elif kind == "file" and is_image_file(target):
        part, files = Part(read_images([target], intake), None), [target.name]
    else:
        raise _unreadable(target, f"give a file ending in {', '.join(SUFFIXES)} or .npz, or a folder of images")
    check_parts(str(target), {"all": part})
    if part.labels is not None and classes:
        strange = part.labels[(part.labels < 0) | (part.labels >= classes)]
        if len(strange):
            what = f"label {strange[0]} of {shown(target)} is none of the {classes} that the model knows"
            raise DataError(what, hint=f"labels go from 0 to {classes - 1}")
    return LoadedImages(part.images, [shown(file) for file in files], part.labels)


def _unreadable(path: Path, forms: str) -> DataError:
    what = "does not exist" if kind_of(path) == "missing" else "is of no kind that can be read"
    return DataError(f"{shown(path)} {what}", hint=forms)
