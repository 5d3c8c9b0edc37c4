"""MNIST, which ships with the package (see `mnist/NOTICE.md` for authors and licence)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nfcli.data.dataset import ImageDataset
from nfcli.data.files import shown
from nfcli.data.idx import PREFIXES, idx_header, read_idx
from nfcli.data.splits import Part, assemble
from nfcli.data.store import Intake
from nfcli.errors import DataError

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}
"""Published sums of the decompressed files."""

REINSTALL = "the installation is damaged; install the package again"


def load_mnist(intake: Intake | None = None) -> ImageDataset:
    """Load MNIST (LeCun, Cortes): 50,000 training, 10,000 validation and 10,000 test images of 28x28x1, with labels.

    Args:
        intake: Takes the images, if they are to be transformed.

    Raises:
        DataError: A bundled file is missing or differs from the published one.
    """
    intake = intake or Intake()
    parts = {}
    for split, prefix in PREFIXES.items():
        images = _read(f"{prefix}-images-idx3-ubyte", 3)[..., None]
        labels = _read(f"{prefix}-labels-idx1-ubyte", 1).astype(np.int64)
        parts[split] = Part(intake.take("mnist", len(images), [images]), labels)
    return assemble("mnist", "mnist", parts, levels=intake.transform.levels)


def _read(name: str, dimensions: int) -> NDArray[np.uint8]:
    path = _folder() / f"{name}.gz"
    try:
        array = read_idx(path, dimensions)
    except DataError as error:
        raise DataError(error.message, hint=REINSTALL) from error
    digest = hashlib.md5(idx_header(array.shape), usedforsecurity=False)  # a header is its shape and nothing else
    digest.update(array.data)
    if digest.hexdigest() != MD5[name]:
        raise DataError(f"{shown(path)} differs from the published file (md5 of its content)", hint=REINSTALL)
    return array


def _folder() -> Traversable:
    from importlib.resources import files  # 20 ms that other datasets need not pay

    return files("nfcli.data") / "mnist"
