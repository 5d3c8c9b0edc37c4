"""The MNIST that ships with the package."""

from __future__ import annotations

import gzip
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest

from nfcli.data import idx, load_dataset
from nfcli.errors import DataError

FOLDER = idx.MNIST
FINGERPRINT = "ef714adcd7aa30aadcc286423ae9df6a0f148d1ff13731fea5da1750706bbc8f"


@pytest.fixture(scope="module")
def mnist():
    return load_dataset("mnist")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A copy of the bundled files to damage."""
    shutil.copytree(FOLDER, tmp_path / "mnist")
    monkeypatch.setattr(idx, "MNIST", tmp_path / "mnist")
    return tmp_path / "mnist"


def test_sizes_and_sums(mnist):
    assert (mnist.name, mnist.source, mnist.levels, mnist.shape) == ("mnist", "mnist", 256, (28, 28, 1))
    assert [len(mnist.split(name)) for name in ("train", "val", "test")] == [50_000, 10_000, 10_000]
    sums = [int(mnist.split(name).images.sum(dtype=np.int64)) for name in ("train", "val", "test")]
    assert sums == [1_305_621_273, 261_677_272, 264_923_200]
    assert mnist.test.labels[:5].tolist() == [7, 2, 1, 0, 4]
    labels = np.concatenate([mnist.train.labels, mnist.val.labels])
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]


def test_fingerprint_is_what_results_are_recorded_with(mnist):
    assert mnist.fingerprint == FINGERPRINT


def test_images_stay_with_their_labels(mnist):
    """The split permutes both alike: the nearest class mean names most validation images."""
    means = np.stack([mnist.train.images[mnist.train.labels == digit].mean(axis=0) for digit in range(10)])
    images = mnist.val.first(200).images[:, None].astype(np.float32)
    nearest = np.square(images - means).sum(axis=(2, 3, 4)).argmin(axis=1)
    assert np.mean(nearest == mnist.val.labels[:200]) > 0.7


def test_loading_is_quick():
    """0.3 s on two cores; the bound leaves room for a busy machine."""
    start = time.perf_counter()
    assert load_dataset("mnist").fingerprint
    assert time.perf_counter() - start < 3


def test_import_needs_numpy_alone():
    code = "import sys, nfcli.data; print([name for name in ('PIL', 'jax', 'flax', 'scipy') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_notice_names_every_file_authors_and_licence():
    notice = (FOLDER / "NOTICE.md").read_text()
    for text in ("Yann LeCun", "Corinna Cortes", "CC BY-SA 3.0", *idx.MD5.values()):
        assert text in notice
    for file in FOLDER.glob("*.gz"):
        assert file.name in notice


def test_changed_byte_is_found(copied):
    path = copied / "t10k-labels-idx1-ubyte.gz"
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[-1] ^= 1
    path.write_bytes(gzip.compress(bytes(data)))
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz differs from the published file") as caught:
        load_dataset("mnist")
    assert "install the package again" in caught.value.hint


@pytest.mark.parametrize(
    "damage", [lambda path: path.unlink(), lambda path: path.write_bytes(path.read_bytes()[:1000])]
)
def test_missing_or_truncated_file_asks_to_reinstall(copied, damage):
    damage(copied / "train-images-idx3-ubyte.gz")
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte\.gz") as caught:
        load_dataset("mnist")
    assert "install the package again" in caught.value.hint
