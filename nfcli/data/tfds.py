"""TensorFlow Datasets (https://www.tensorflow.org/datasets), as far as possible without TensorFlow.

    tfds:NAME, tfds:NAME/CONFIG, tfds:NAME:VERSION    prepared in the data folder, or else downloaded and prepared there
    a folder that holds dataset_info.json             prepared already

Sets in the format array_record, and all of the MNIST family, need no TensorFlow; TFDS prepares and reads other ones
only with it (the extra `tfds`).
"""

import contextlib
import io
import logging
import sys
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.data.dataset import Images, Part
from nfcli.data.images import decode
from nfcli.data.labels import label_names
from nfcli.data.reading import absolute, decoding, kind_of, shape_text, shown, visible_entries, visible_folders
from nfcli.data.store import Intake
from nfcli.data.tfds_prepare import ARRAY_RECORD, prepare
from nfcli.errors import DataError, UsageError

PREFIX = "tfds:"
INFO = "dataset_info.json"

AT_ONCE = 1024
"""Examples read together."""


def is_prepared(folder: Path) -> bool:
    """Whether a folder holds a data set that TFDS prepared."""
    return any(entry.name == INFO for entry in visible_entries(folder))


def load_tfds(name: str, intake: Intake, data_dir: Path | str | None) -> tuple[Path, dict[str, Part]]:
    """Load a data set by its name in TFDS, which prepares it first if need be.

    Args:
        name: NAME, NAME/CONFIG, with :VERSION if need be.
        intake: Takes the images.
        data_dir: Where TFDS keeps its data; None for its own default.

    Returns:
        Its folder, and what `load_prepared` reads there.

    Raises:
        UsageError: There is no such data set.
        DataError: It cannot be downloaded, prepared or read.
    """
    with _quietly(name) as tfds:
        root = absolute(data_dir or tfds.core.constants.DATA_DIR)
        folder = _find(root, name) or prepare(tfds, name, root, intake.message)
        return folder, _read(tfds, folder, intake)


def load_prepared(folder: Path, intake: Intake) -> dict[str, Part]:
    """Read a folder that TFDS prepared.

    Returns:
        The parts "train" and "test", perhaps "val"; or "all" where there is only one.

    Raises:
        DataError: It is damaged, holds no images, or needs TensorFlow.
    """
    with _quietly(shown(folder)) as tfds:
        return _read(tfds, folder, intake)


def _find(root: Path, name: str) -> Path | None:
    """The newest prepared version of a data set under TFDS's data folder."""
    base, _, version = name.partition(":")
    start = root / base
    if kind_of(start) != "folder":
        return None
    versions = _prepared_in(start)
    if not versions:
        configs = {folder.name: found for folder in visible_folders(start) if (found := _prepared_in(folder))}
        if len(configs) > 1:
            listing = ", ".join(f"{PREFIX}{base}/{config}" for config in configs)
            raise UsageError(f"{PREFIX}{name} was prepared in several configurations", hint=f"choose from {listing}")
        versions = next(iter(configs.values()), [])
    wanted = [entry for entry in versions if version in ("", entry.name)]
    return max(wanted, key=lambda entry: _version_order(entry.name), default=None)


def _prepared_in(folder: Path) -> list[Path]:
    return [entry for entry in visible_folders(folder) if is_prepared(entry)]


def _version_order(version: str) -> tuple[int, ...]:
    return tuple(int(number) if number.isdecimal() else 0 for number in version.split("."))


def _read(tfds: Any, folder: Path, intake: Intake) -> dict[str, Part]:
    builder = tfds.builder_from_directory(folder)
    image, label = _features(tfds, builder, folder)
    names = _split_names(list(builder.info.splits), folder)
    return {part: _part(tfds, builder, folder, split, image, label, intake) for part, split in names.items()}


def _features(tfds: Any, builder: Any, folder: Path) -> tuple[str, str | None]:
    """Names of the images and of their labels among what an example holds."""
    features = builder.info.features
    images = [name for name, feature in features.items() if type(feature) is tfds.features.Image]
    labels = [name for name, feature in features.items() if type(feature) is tfds.features.ClassLabel]
    if not images:
        raise DataError(f"{shown(folder)} holds no images, but {', '.join(features)}", hint="give a set of images")
    image = "image" if "image" in images else images[0]
    if len(images) > 1 and image != "image":
        raise DataError(f"{shown(folder)} holds several images: {', '.join(images)}", hint="none is called 'image'")
    if features[image].np_dtype != np.uint8:
        raise DataError(f"the images of {shown(folder)} are {features[image].np_dtype}", hint="only uint8 can be read")
    return image, "label" if "label" in labels else labels[0] if len(labels) == 1 else None


def _split_names(splits: Sequence[str], folder: Path) -> dict[str, str]:
    """Which of the set's splits is train, val and test; what TFDS calls validation is test where there is no test."""
    if "train" not in splits:
        if len(splits) == 1:
            return {"all": splits[0]}
        raise DataError(f"{shown(folder)} has no split 'train', but {', '.join(splits)}", hint="export it as PNG files")
    if "test" in splits:
        return {"train": "train", **({"val": "validation"} if "validation" in splits else {}), "test": "test"}
    return {"train": "train", "test": "validation"} if "validation" in splits else {"all": "train"}


def _examples(tfds: Any, builder: Any, split: str, image: str) -> Iterator[dict[str, Any]]:
    """The examples of a split, one after another; their images are arrays, or still encoded."""
    if ARRAY_RECORD not in {kind.value for kind in builder.info.available_file_formats()}:
        if find_spec("tensorflow") is None:
            what = f"is in the format {builder.info.file_format.value}, which takes TensorFlow"
            hint = f"pip install 'nfcli[tfds]', or prepare it with file_format='{ARRAY_RECORD}'"
            raise DataError(f"{shown(builder.data_path)} {what}", hint=hint)
        yield from tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))
        return
    examples = builder.as_data_source(split, decoders={image: tfds.decode.SkipDecoding()})
    for start in range(0, len(examples), AT_ONCE):
        yield from examples.__getitems__(range(start, min(start + AT_ONCE, len(examples))))


def _part(tfds: Any, builder: Any, folder: Path, split: str, image: str, label: str | None, intake: Intake) -> Part:
    """The images of a split, and their labels if there is a name for them."""
    source, labels = f"{shown(folder)} ({split})", list[int]()

    def blocks() -> Iterator[Images]:
        """Each image as (1, H, W, C), transformed; its label is added to `labels`."""
        first: tuple[int, ...] | None = None
        for example in _examples(tfds, builder, split, image):
            pixels = example[image]
            pixels = decode(io.BytesIO(pixels), source) if isinstance(pixels, bytes) else np.asarray(pixels)
            first = first or pixels.shape
            if pixels.shape[-1] not in (1, 3):
                raise DataError(f"the images of {source} have {pixels.shape[-1]} channels", hint="there may be 1 or 3")
            if pixels.shape != first and not intake.transform.fixes_size:
                sizes = " and ".join(shape_text(shape) for shape in (first, pixels.shape))
                raise DataError(f"{source} has images of {sizes}", hint="--resize and --crop make one size of many")
            if label is not None:
                labels.append(int(example[label]))
            yield intake.transform(pixels[None], source)

    stored = builder.info.splits[split]
    images = intake.keep(source, stored.num_examples, blocks(), map(Path, stored.filepaths))
    if label is None:
        return Part(images, None)
    if len(labels) != len(images):  # the images were kept from last time
        labels = [int(example[label]) for example in _examples(tfds, builder, split, image)]
    words = builder.info.features[label].names
    return Part(images, np.array(labels, np.int64), tuple(words) if label_names(words) else ())


@contextlib.contextmanager
def _quietly(what: str) -> Iterator[Any]:
    """TFDS, kept from printing on stdout and from warning of what does not matter here; its errors in words.

    Raises:
        DataError: It is not installed, or raised something.
    """
    if find_spec("tensorflow_datasets") is None:
        raise DataError(f"reading {what} takes TensorFlow Datasets", hint="pip install tensorflow-datasets")
    absl = logging.getLogger("absl")
    level = absl.level
    with contextlib.redirect_stdout(io.StringIO()), decoding(what, "a TFDS data set"):
        try:
            import tensorflow_datasets as tfds

            absl.setLevel(logging.ERROR)
            if not sys.stderr.isatty():
                tfds.disable_progress_bar()
            yield tfds
        finally:
            absl.setLevel(level)
