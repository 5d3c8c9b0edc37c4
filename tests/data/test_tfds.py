"""TensorFlow Datasets without TensorFlow: a small set is prepared on disk and read back."""

from __future__ import annotations

import gzip
import importlib
import io
import socket
import sys
import time
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from nfcli.data import Transform, load_dataset, tfds_prepare
from nfcli.errors import DataError, UsageError
from tests.data.image_writers import idx_bytes, some_images, write_idx
from tests.data.refusals import refused

tfds = pytest.importorskip("tensorflow_datasets")

TRAIN, TEST = some_images(24, 28, 28, seed=1), some_images(5, 28, 28, seed=2)
TRAIN_LABELS, TEST_LABELS = np.arange(24) % 10, np.arange(5) + 3


@pytest.fixture
def idx_folder(tmp_path):
    return write_idx(tmp_path / "original", TRAIN, TEST, TRAIN_LABELS, TEST_LABELS)


@pytest.fixture
def server(monkeypatch, idx_folder, tmp_path):
    """Downloads that come from a folder; it returns the addresses asked for."""
    asked = []

    def from_folder(address):
        asked.append(address)
        return idx_folder / Path(urlsplit(address).path).name

    def download(_, addresses):
        if isinstance(addresses, str):
            return _emnist_archive(tmp_path / "gzip.zip")
        return {part: [from_folder(address) for address in pair] for part, pair in addresses.items()}

    monkeypatch.setattr(tfds.download.DownloadManager, "download", download)
    monkeypatch.setattr(tfds_prepare, "_require_answer", lambda *_: None)
    return asked


def _emnist_archive(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for part, images, labels in (("train", TRAIN, TRAIN_LABELS), ("test", TEST, TEST_LABELS)):
            for kind, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels.astype(np.uint8))):
                archive.writestr(f"gzip/emnist-letters-{part}-{kind}-ubyte.gz", gzip.compress(idx_bytes(array)))
    return path


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist", "emnist/letters"])
def test_the_family_is_prepared_without_tensorflow_and_in_the_order_of_its_files(
    name, server, idx_folder, tmp_path, capfd
):
    said = []
    data = tmp_path / "data"
    dataset = load_dataset(f"tfds:{name}", data_dir=data, message=said.append)
    original = load_dataset(str(idx_folder))
    assert dataset.fingerprint == original.fingerprint
    np.testing.assert_array_equal(dataset.train.labels, original.train.labels)
    np.testing.assert_array_equal(dataset.test.labels, TEST_LABELS)
    assert dataset.name == name.replace("/", "-")
    assert len(said) == 1
    assert f"preparing {name}" in said[0]
    assert capfd.readouterr().out == ""
    assert "tensorflow" not in sys.modules

    # What is prepared is read, by name and by folder, and nothing is asked for again.
    before = len(server)
    folder = Path(dataset.source)
    assert folder.is_relative_to(data / name.partition("/")[0])
    for spec in (f"tfds:{name}", f"tfds:{name}:{folder.name}", str(folder)):
        assert load_dataset(spec, data_dir=data, message=said.append).fingerprint == original.fingerprint
    assert (len(server), len(said)) == (before, 1)


def test_addresses_and_checksums_are_those_of_tfds():
    for base, name in tfds_prepare.FAMILY.items():
        official = getattr(tfds.image_classification, name)
        ours = tfds_prepare._without_tensorflow(tfds, official)
        assert ours.name == base
        assert ours.URL == official.URL
        assert ours.url_infos == official.url_infos
        assert ours.url_infos


def test_a_download_with_another_checksum_is_refused(idx_folder, tmp_path, monkeypatch):
    class Answer:
        headers: dict[str, str] = {}  # noqa: RUF012
        url = "http://example.org/file.gz"

        def __init__(self):
            self.content = io.BytesIO(b"other bytes")

        def __enter__(self):
            return self, iter([b"other bytes"])

        def __exit__(self, *_):
            return None

    downloader = importlib.import_module("tensorflow_datasets.core.download.downloader")
    monkeypatch.setattr(downloader, "_open_url", lambda *_, **__: Answer())
    monkeypatch.setattr(tfds_prepare, "_require_answer", lambda *_: None)
    text = refused("tfds:kmnist", load=lambda spec: load_dataset(spec, data_dir=tmp_path))
    assert "checksum" in text.lower()
    assert not list((tmp_path / "kmnist").glob("*/dataset_info.json"))


def test_offline_is_said_within_seconds(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise socket.gaierror("no such host")

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    started = time.monotonic()
    text = refused("tfds:kmnist", load=lambda spec: load_dataset(spec, data_dir=tmp_path))
    assert time.monotonic() - started < 10
    assert "codh.rois.ac.jp cannot be reached" in text
    for way_out in ("connect", "another machine", "by hand"):
        assert way_out in text


def test_a_server_that_never_answers_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(2))
    monkeypatch.setattr(tfds_prepare, "ANSWER_SECONDS", 0.2)
    assert "no answer" in refused("tfds:kmnist", load=lambda spec: load_dataset(spec, data_dir=tmp_path))


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("nosuch", UsageError, "TFDS has no data set 'nosuch'"),
        ("", UsageError, "names no data set"),
        ("../x", UsageError, "names no data set"),
        ("cifar10", DataError, "only with TensorFlow"),
        ("emnist/nope", UsageError, "no configuration 'nope' of emnist | for example tfds:emnist/"),
        ("emnist/byclas", UsageError, "tfds:emnist/byclass, "),
        ("mnist/nope", UsageError, "tfds:mnist has no configurations"),
        ("mnist:9.9.9", UsageError, "no version '9.9.9' of mnist | there is tfds:mnist:3.0.1"),
        ("emnist/letters:1.0.0", UsageError, "no version '1.0.0' of emnist/letters"),
    ],
)
def test_names_that_lead_nowhere(name, kind, message, tmp_path):
    assert message in refused(f"tfds:{name}", load=lambda spec: load_dataset(spec, data_dir=tmp_path), kind=kind)


class Photos(tfds.core.GeneratorBasedBuilder):
    """Colour images of several sizes, with train and validation alone."""

    VERSION = tfds.core.Version("1.2.0")

    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "id": tfds.features.Text()})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _split_generators(self, _):
        return {"train": self._generate_examples(9), "validation": self._generate_examples(4)}

    def _generate_examples(self, count):
        for index in range(count):
            stream = io.BytesIO()
            Image.fromarray(some_images(1, 8 + index % 2, 10, 3, seed=index)[0]).save(stream, "PNG")
            yield index, {"image": stream.getvalue(), "id": str(index)}


@pytest.fixture
def photos(tmp_path):
    builder = Photos(data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    return Path(builder.data_path)


def test_photographs_of_many_sizes(photos):
    assert "--resize" in refused(photos)
    dataset = load_dataset(str(photos), Transform.parse(None, "4", 256))
    assert dataset.shape == (4, 4, 3)
    assert dataset.name == "photos"
    assert dataset.train.labels is None
    # There is no test: what TFDS calls validation is kept apart, and validation comes out of the training images.
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [8, 1, 4]


def test_a_prepared_folder_that_is_damaged(photos):
    (records,) = photos.glob("*train*array_record*")
    records.write_bytes(records.read_bytes()[:100])
    refused(photos)


def test_tfrecord_takes_tensorflow(tmp_path, photos):
    info = photos / "dataset_info.json"
    info.write_text(info.read_text().replace('"fileFormat": "array_record"', '"fileFormat": "tfrecord"'))
    assert "takes TensorFlow" in refused(photos)


@pytest.mark.network
def test_kmnist_is_downloaded(tmp_path):
    dataset = load_dataset("tfds:kmnist", data_dir=tmp_path)
    assert [len(split) for split in (dataset.train, dataset.val, dataset.test)] == [50_000, 10_000, 10_000]


class Pets(Photos):
    """The same with words for labels."""

    def _info(self):
        label = tfds.features.ClassLabel(names=["cat", "dog"])
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(), "label": label})
        return tfds.core.DatasetInfo(builder=self, features=features, disable_shuffling=True)

    def _generate_examples(self, count):
        for index, example in super()._generate_examples(count):
            yield index, {"image": example["image"], "label": index % 2}


def test_words_for_labels_are_kept(tmp_path):
    builder = Pets(data_dir=tmp_path)
    builder.download_and_prepare(file_format="array_record")
    dataset = load_dataset(str(builder.data_path), Transform.parse(None, "4", 256))
    assert dataset.label_names == ("cat", "dog")
    assert dataset.test.labels.tolist() == [0, 1, 0, 1]
