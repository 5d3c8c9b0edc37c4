"""Images of other kinds through every command: colour, few levels, cropped and rescaled, TFDS, and real fashion."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfcli.data.tfds_prepare import _without_tensorflow
from tests.cli.program import assert_refused, nf, succeeds
from tests.data.image_writers import some_images, write_idx, write_pngs

SMALL = ("--smoke", "--epochs", "1", "--batch-size", "8", "--json")


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A folder with `cifar.npz`: images of the shape of CIFAR-10; and a run of each preset trained on them."""
    path = tmp_path_factory.mktemp("colours")
    train, rest = some_images(16, 32, 32, 3), some_images(8, 32, 32, 3, seed=1)
    np.savez(path / "cifar.npz", train=train, val=rest, test=rest)
    return path


SIZES = ("--train-size", "16", "--val-size", "8")


@pytest.mark.parametrize("preset", ["simple", "vardeq", "multiscale"])
def test_colour_trains_with_every_preset(preset, colours):
    told = succeeds("train", preset, "--dataset", "cifar.npz", *SMALL, *SIZES, "--tensorboard", cwd=colours)
    assert 0 < told.json["best_val_bpd"] < 20
    assert "data: cifar.npz, fingerprint " in told.err
    assert "      16 train, 8 val, 8 test images of 32x32x3, 256 levels\n" in told.err
    config = json.loads((colours / told.json["path"] / "config.json").read_text())
    assert config["model"]["shape"] == [32, 32, 3]
    assert config["data"]["fingerprint"].startswith(told.err.partition("fingerprint ")[2].split()[0])


def test_colour_is_drawn_in_colour(colours):
    run = "multiscale-cifar-smoke"
    sizes = {}
    for command in (("sample", run, "-n", "2"), ("interpolate", run, "--pairs", "0,1", "--steps", "3")):
        told = succeeds(*command, "--json", cwd=colours).json
        with Image.open(colours / told["image"]) as picture:
            assert picture.mode == "RGB"
            sizes[command[0]] = picture.size
            pixels = np.asarray(picture).reshape(-1, 3)
        assert (pixels.max(axis=1) > pixels.min(axis=1)).mean() > 0.5
    assert told["ends_exact"]
    assert sizes["sample"][0] > 2 * 32
    told = succeeds("inspect-dequant", run, "--images", "4", "--json", cwd=colours).json
    assert told["moved_pixels"] == 0
    with Image.open(colours / told["image"]) as picture:
        assert picture.size[0] > 300


def test_few_levels_small_images_and_scoring_them(colours):
    options = ("--crop", "24x16", "--resize", "12x8", "--levels", "4", "--name", "small")
    told = succeeds("train", "simple", "--dataset", "cifar.npz", *SMALL, *SIZES, *options, cwd=colours)
    assert "images of 12x8x3, 4 levels\n      after crop 24x16, resize 12x8, 4 levels\n" in told.err
    config = json.loads((colours / "runs/small/config.json").read_text())
    assert (config["model"]["shape"], config["model"]["levels"]) == ([12, 8, 3], 4)
    assert (config["settings"]["crop"], config["settings"]["resize"]) == ("24x16", "12x8")

    measured = succeeds("eval", "small", "-k", "2", "--split", "test", "--batch-size", "8", "--json", cwd=colours)
    with np.load(colours / "cifar.npz") as arrays:
        opaque = np.concatenate([arrays["test"], np.full((8, 32, 32, 1), 255, np.uint8)], axis=-1)
    write_pngs(colours / "mine", opaque)
    scored = succeeds("eval", "small", "-k", "2", "--images", "mine", "--batch-size", "8", "--json", cwd=colours)
    assert scored.err.count("note: 8 of 8 images converted: 8 RGBA to RGB\n") == 1
    # The same images, cut and reduced in the same way, whether they come as a split or as the user's own.
    assert scored.json["transform"] == "crop 24x16, resize 12x8, 4 levels"
    assert "images as in training: crop 24x16, resize 12x8, 4 levels" in scored.err
    assert scored.json["bpd"] == pytest.approx(measured.json["splits"]["test"]["bpd"], abs=1e-6)

    real = succeeds("sample", "small", "--real", "-n", "4", "--json", cwd=colours).json
    with Image.open(colours / real["image"]) as picture:
        pixels = np.unique(np.asarray(picture))
    assert set(pixels) <= {0, 85, 168, 170, 255}  # four levels, spread from black to white, and the ground

    other = nf("train", "simple", "--dataset", "cifar.npz", *SMALL, *SIZES, *options, "--levels", "8", cwd=colours)
    assert_refused(other, 2)
    assert "--levels 4 became 8" in other.err


def test_sizes_that_do_not_fit_say_what_would(colours, tmp_path, call):
    np.savez(tmp_path / "odd.npz", images=some_images(20, 27, 27))
    done = call(
        "train", "multiscale", "--dataset", "odd.npz", *SMALL, "--train-size", "8", "--val-size", "2", cwd=tmp_path
    )
    assert done.code == 2
    assert "27x27x1" in done.err
    assert "use --resize or --crop" in done.err


def test_a_config_is_taken_back(colours, tmp_path):
    run = "simple-cifar-smoke"
    again = ("train", "--config", colours / "runs" / run / "config.json", "--dry-run", "--json")
    first = json.loads((colours / "runs" / run / "config.json").read_text())
    told = succeeds(*again, cwd=tmp_path).json
    assert told["run"] == run
    # From another folder, the images are found where they were.
    assert told["settings"] == {**first["settings"], "dataset": str(colours / "cifar.npz")}
    assert told["data"] == first["data"]
    changed = succeeds(*again, "--seed", "7", "--epochs", "3", "--name", "other", cwd=tmp_path).json
    assert changed["settings"] == {**told["settings"], "seed": 7, "epochs": 3}
    assert changed["run"] == "other"


def test_a_config_may_come_through_a_pipe(colours, call):
    """As of a shell's `<(...)`."""
    reader, writer = os.pipe()
    os.write(writer, (colours / "runs/simple-cifar-smoke/config.json").read_bytes())
    os.close(writer)
    told = call("train", "--config", f"/dev/fd/{reader}", "--dry-run", "--json", cwd=colours)
    os.close(reader)
    assert told.json["run"] == "simple-cifar-smoke"


def test_a_config_continues_its_run(colours):
    told = succeeds("train", "--config", "runs/simple-cifar-smoke/config.json", cwd=colours)
    assert "is finished" in told.err


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda text: "{", 3, "is damaged"),
        (lambda text: text.replace('"settings"', '"sittings"'), 2, "is no config.json of a run"),
        (lambda text: text.replace('"epochs": 1', '"epochs": "1"'), 2, "epochs is '1', not int"),
        (lambda text: text.replace('"epochs": 1', '"epochs": true'), 2, "epochs is True, not int"),
        (lambda text: text.replace('"epochs": 1', '"epochs": 0'), 2, "--epochs 0 is not possible"),
        (lambda text: text.replace('"clip_norm"', '"clap_norm"'), 2, "unknown setting 'clap_norm'"),
        (lambda text: text.replace('"clip_norm"', '"custom"'), 2, "unknown setting 'custom'"),
        (lambda text: text.replace('"preset": "simple"', '"preset": "simpel"'), 2, "unknown preset 'simpel'"),
    ],
)
def test_a_config_that_was_changed(change, code, message, colours, tmp_path, call):
    text = (colours / "runs/simple-cifar-smoke/config.json").read_text()
    (tmp_path / "config.json").write_text(change(text))
    done = call("train", "--config", "config.json", cwd=tmp_path)
    assert_refused(done, code)
    assert message in done.err


def test_no_preset_and_no_config(tmp_path, call):
    for arguments in (("train",), ("train", "--config", "nothing.json")):
        done = call(*arguments, cwd=tmp_path)
        assert_refused(done, 2 if len(arguments) == 1 else 3)


def test_the_environment_gives_defaults(colours, tmp_path):
    around = {"NF_RUNS_DIR": str(tmp_path / "mine"), "NF_DATASET": "cifar.npz", "NF_DEVICES": "1"}
    dry = ("train", "simple", "--train-size", "16", "--batch-size", "8", "--dry-run", "--json")
    told = succeeds(*dry, cwd=colours, **around).json
    assert told["path"] == str(tmp_path / "mine" / "simple-cifar")
    assert told["device"]["count"] == 1
    told = succeeds(*dry, "--dataset", "mnist", cwd=colours, **around).json
    assert told["data"]["name"] == "mnist"


def test_events_for_tensorboard(colours):
    from tensorboardX.proto.event_pb2 import Event
    from tensorboardX.record_writer import masked_crc32c  # the package brings a writer and no reader

    def values(folder: Path):
        for file in sorted(folder.iterdir()):
            data = file.read_bytes()
            while data:
                length = int.from_bytes(data[:8], "little")
                body, data = data[12 : 12 + length], data[16 + length :]
                event = Event.FromString(body)
                yield from ((value.tag, event.step, value.simple_value) for value in event.summary.value)

    assert masked_crc32c(b"") is not None
    run = colours / "runs/simple-cifar-smoke"
    row = json.loads((run / "metrics.jsonl").read_text())
    found = {tag: (step, value) for tag, step, value in values(run / "tensorboard")}
    assert found["epoch/val_bpd"] == (2, pytest.approx(row["val_bpd"]))
    assert found["epoch/train_bpd"] == (2, pytest.approx(row["train_bpd"]))
    assert "batch/bpd" in found


def test_one_source_in_four_forms_is_one(tmp_path, monkeypatch):
    tfds = pytest.importorskip("tensorflow_datasets")
    train, test = some_images(24, 12, 12, seed=1), some_images(8, 12, 12, seed=2)
    labels, test_labels = np.arange(24) % 10, np.arange(8)
    idx = write_idx(tmp_path / "idx", train, test, labels, test_labels)
    np.savez(tmp_path / "arrays.npz", train=train, test=test)
    write_pngs(tmp_path / "pngs" / "train", train)
    write_pngs(tmp_path / "pngs" / "test", test)

    official = tfds.image_classification.KMNIST
    monkeypatch.setattr("tensorflow_datasets.image_classification.mnist.MNIST_IMAGE_SHAPE", (12, 12, 1))
    monkeypatch.setattr(
        tfds.download.DownloadManager,
        "download",
        lambda _, parts: {part: [idx / os.path.basename(url) for url in pair] for part, pair in parts.items()},  # noqa: PTH119
    )

    class Small(_without_tensorflow(tfds, official), skip_registration=True):
        name = "kmnist"

        def _info(self):
            known = super()._info()
            features = {"image": tfds.features.Image(shape=(12, 12, 1)), "label": known.features["label"]}
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
            )

    around = {"NF_DATA_DIR": str(tmp_path / "data")}
    builder = Small(data_dir=tmp_path / "data")
    builder.download_and_prepare(file_format="array_record")
    options = (*SMALL, "--train-size", "16", "--val-size", "4")
    data = {
        spec: succeeds("train", "simple", "--dataset", spec, *options, "--dry-run", cwd=tmp_path, **around).json["data"]
        for spec in ("idx", "arrays.npz", "pngs", "tfds:kmnist")
    }
    assert len({told["fingerprint"] for told in data.values()}) == 1
    assert [told["name"] for told in data.values()] == ["idx", "arrays", "pngs", "kmnist"]

    trained = succeeds("train", "simple", "--dataset", "tfds:kmnist", *options, cwd=tmp_path, **around)
    assert "tensorflow" not in trained.err.lower()
    # It is measured without knowing where TFDS keeps its data.
    run = trained.json["run"]
    succeeds("eval", run, "-k", "1", "--split", "test", "--batch-size", "8", cwd=tmp_path)


def test_offline_downloads_end_at_once_and_nothing_is_written(tmp_path):
    # A proxy that is not there keeps the test from the network, wherever it runs.
    nowhere = {"HTTP_PROXY": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9", "NO_PROXY": None}
    lower = {name.lower(): value for name, value in nowhere.items()}
    options = ("--dataset", "tfds:kmnist", "--data-dir", "data")
    done = nf("train", "simple", *options, cwd=tmp_path, timeout=15, **nowhere, **lower)
    assert_refused(done, 3)
    assert "cannot download kmnist" in done.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


FASHION = Path(os.environ.get("NF_FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


@pytest.mark.fashion_mnist
@pytest.mark.skipif(not FASHION.is_dir(), reason="Fashion-MNIST is not there: Debian's package dataset-fashion-mnist")
def test_fashion_mnist_trains(tmp_path):
    options = ("--dataset", FASHION, "--smoke", "--epochs", "1", "--name", "fashion", "--json")
    sizes = ("--train-size", "640", "--val-size", "128", "--batch-size", "32")
    told = succeeds("train", "multiscale", *options, *sizes, cwd=tmp_path)
    assert f"data: {FASHION}, fingerprint 4abe117fcda0" in told.err
    assert "      50,000 train, 10,000 val, 10,000 test images of 28x28x1, 256 levels\n" in told.err
    # Clothes are harder than digits, and after 20 steps still easier than noise.
    assert 3 < told.json["best_val_bpd"] < 8
