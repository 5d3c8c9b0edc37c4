"""Class-conditional runs: what training, measuring and drawing do with labels."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nfcli.api import TrainedFlow
from nfcli.config import TrainConfig
from nfcli.data import load_dataset
from nfcli.drawing.interpolation import InterpolateConfig, interpolate
from nfcli.drawing.samples import SampleConfig, sample
from nfcli.errors import DataError, RunError, UsageError
from nfcli.evaluation.bound import BoundEvaluator
from nfcli.evaluation.config import EvalConfig, ScoreResult
from nfcli.evaluation.evaluate import evaluate
from nfcli.runs import find_run
from nfcli.runs.restore import restore
from nfcli.training.loop import train
from nfcli.training.setup import data_in_words, prepare_job
from tests.training.test_loop import Crash, CrashAt, assert_same_state, final_state, rows

Configure = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def conditional(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A finished run that knows labels."""
    config = TrainConfig(
        preset="tiny",
        dataset=str(digits),
        conditional=True,
        epochs=2,
        batch_size=32,
        eval_every=1,
        runs_dir=tmp_path_factory.mktemp("runs"),
        name="run",
    )
    assert train(config).finished
    return config


def test_a_run_that_knows_labels_continues_bit_for_bit(conditional: TrainConfig, tmp_path: Path) -> None:
    cut = replace(conditional, runs_dir=tmp_path)
    with pytest.raises(Crash):
        train(cut, CrashAt(7))
    train(cut)
    assert rows(cut) == rows(conditional)
    assert_same_state(final_state(cut), final_state(conditional))


def test_many_steps_a_dispatch_see_the_same_labels(conditional: TrainConfig, tmp_path: Path) -> None:
    resident = replace(conditional, runs_dir=tmp_path, steps_per_dispatch=3)
    train(resident)
    pairs = zip(rows(resident), rows(conditional), strict=True)
    assert all(left["train_bpd"] == pytest.approx(right["train_bpd"], rel=1e-5) for left, right in pairs)


def test_labels_decide_what_is_learned(conditional: TrainConfig, tmp_path: Path) -> None:
    plain = replace(conditional, runs_dir=tmp_path, conditional=False)
    train(plain)
    assert rows(plain)[1]["train_bpd"] != rows(conditional)[1]["train_bpd"]


def test_labels_that_no_image_has_are_told_and_drawn_only_if_asked_for(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    labels = {"train_labels": np.tile([1, 2, 4], 4), "test_labels": np.tile([1, 2, 4], 4)}
    np.savez(tmp_path / "from_one.npz", train=images, test=images, **labels)
    config = TrainConfig(
        "tiny", str(tmp_path / "from_one.npz"), conditional=True, epochs=1, batch_size=4, runs_dir=tmp_path, name="run"
    )
    assert "labels 0 to 4; no training image has 0, 3" in data_in_words(prepare_job(config))
    train(config)
    said: list[str] = []
    options = SampleConfig(run="run", runs_dir=tmp_path, num=4)
    assert sample(options, warn=said.append).facts["labels"] == [1, 2, 4, 1]
    assert not said
    assert sample(replace(options, labels=["0", "2"]), warn=said.append).facts["labels"] == [0, 2, 0, 2]
    assert said == ["no training image of run 'run' has label 0: what is drawn of it means nothing"]
    flow = TrainedFlow(restore(find_run("run", tmp_path)))
    np.testing.assert_array_equal(flow.sample(4), flow.sample(4, [1, 2, 4, 1]))
    run = find_run("run", tmp_path)
    for unused, message in (([0, 1, 2, 3, 4], "leaves none"), ([-1], "not a list of labels")):
        run.write_config({**flow.config, "data": {**flow.config["data"], "unused_labels": unused}})
        with pytest.raises(RunError, match=message):
            run.config()


@pytest.fixture(scope="module")
def pets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a run `pets` of images in folders cat, dog and 7 is, with them in `pets`. Do not change it."""
    path, images = tmp_path_factory.mktemp("pets"), np.random.default_rng(0).integers(0, 256, (12, 8, 8), np.uint8)
    for index, image in enumerate(images):
        folder = path / "pets" / ["cat", "dog", "7"][index % 3]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{index:02}.png")
    train(TrainConfig("tiny", str(path / "pets"), conditional=True, epochs=1, batch_size=4, runs_dir=path, name="pets"))
    return path


def test_words_for_labels_mean_the_same_as_in_training(pets: Path, tmp_path: Path) -> None:
    assert find_run("pets", pets).config()["data"]["label_names"] == ["7", "cat", "dog"]
    options = SampleConfig(run="pets", runs_dir=pets, num=2, output=tmp_path / "x.png")
    assert sample(replace(options, labels=["dog", "cat"])).facts["labels"] == [2, 1]
    assert sample(replace(options, labels=["7", "2"])).facts["labels"] == [0, 2]  # a word before a number
    shown = sample(replace(options, labels=["dog"], real=True)).facts
    images = load_dataset(str(pets / "pets")).train
    assert images.labels is not None
    assert shown["mean_pixel"] == images.images[images.labels == 2][:2].mean()
    for real in (False, True):
        with pytest.raises(UsageError, match="wolf") as caught:
            sample(replace(options, labels=["wolf"], real=real))
        assert "7, cat, dog" in str(caught.value.hint)


def test_captions_are_words_where_labels_are(pets: Path, tmp_path: Path) -> None:
    def width(label: str) -> int:
        path = tmp_path / "x.png"
        sample(SampleConfig(run="pets", runs_dir=pets, num=1, labels=[label], captions=True, output=path))
        with Image.open(path) as image:
            return image.width

    assert width("dog") == width("cat") == width("2") > width("7")


def test_images_in_folders_are_scored_by_the_words_of_training(pets: Path, tmp_path: Path) -> None:
    settings = EvalConfig(run="pets", runs_dir=pets, importance_samples=1, images=tmp_path)
    for name in ("cat", "dog"):
        shutil.copytree(pets / "pets" / name, tmp_path / name)
    scored = evaluate(settings)
    assert isinstance(scored, ScoreResult)
    assert [scored.label_names[image.label or 0] for image in scored.images] == ["cat"] * 4 + ["dog"] * 4
    assert evaluate(replace(settings, images=tmp_path / "dog", label="dog")).bpd != scored.bpd  # type: ignore[union-attr]
    (tmp_path / "cat").rename(tmp_path / "wolf")
    with pytest.raises(DataError, match=r"sub-folder wolf of .* is no label that the model knows") as caught:
        evaluate(settings)
    assert caught.value.hint == "it knows 7, cat, dog"


def test_words_say_nothing_to_a_run_of_numbers(conditional: TrainConfig, pets: Path) -> None:
    with pytest.raises(DataError, match="is no label") as caught:
        evaluate(EvalConfig(run="run", runs_dir=conditional.runs_dir, images=pets / "pets"))
    assert caught.value.hint == "sub-folders are numbers then, from 0 to 9"


def test_measuring_uses_each_image_s_label(conditional: TrainConfig) -> None:
    evaluate(EvalConfig(run="run", runs_dir=conditional.runs_dir, importance_samples=2, splits=("test",), limit=20))
    run = find_run("run", conditional.runs_dir)
    trained = restore(run)
    test = trained.dataset().test
    assert test.labels is not None
    evaluator = BoundEvaluator(trained.model, 20)
    results = run.results()
    assert results is not None
    right, wrong = (
        evaluator(trained.parameters, test.images[:20], samples=2, seed=42, labels=labels[:20]).bpd.mean()
        for labels in (test.labels, (test.labels + 1) % 10)
    )
    assert results["evaluations"][0]["bpd"] == pytest.approx(right, rel=1e-6)
    assert abs(right - wrong) > 1e-4


def test_samples_of_a_label(conditional: TrainConfig) -> None:
    def drawn(**settings: object) -> dict:
        return sample(SampleConfig(run="run", runs_dir=conditional.runs_dir, num=12, **settings)).facts  # type: ignore[arg-type]

    assert drawn()["labels"] == [*range(10), 0, 1]
    assert drawn(labels=["7", "3"])["labels"] == [7, 3] * 6
    assert drawn(labels=["7"])["mean_pixel"] != drawn(labels=["3"])["mean_pixel"]
    with pytest.raises(UsageError, match="knows no label 10"):
        drawn(labels=["10"])


def test_captions_say_the_label_of_a_row_or_a_column(conditional: TrainConfig, tmp_path: Path) -> None:
    def height_and_width(**settings: object) -> tuple[int, int]:
        config = SampleConfig(run="run", runs_dir=conditional.runs_dir, num=4, output=tmp_path / "x.png", **settings)  # type: ignore[arg-type]
        sample(config)
        with Image.open(tmp_path / "x.png") as image:
            return image.height, image.width

    height, width = height_and_width(columns=2)
    rows = height_and_width(columns=2, labels=["7"], captions=True)
    assert rows[0] == height
    assert rows[1] > width
    columns = height_and_width(columns=2, labels=["7", "3"], captions=True)
    assert columns[0] > height
    assert columns[1] == width
    with pytest.raises(UsageError, match="one label a row or a column") as caught:
        height_and_width(columns=3, labels=["7", "3"], captions=True)
    assert caught.value.hint == "--columns 2 gives each a column"


def test_samples_as_data_have_their_labels(conditional: TrainConfig, tmp_path: Path) -> None:
    settings = {"run": "run", "runs_dir": conditional.runs_dir, "num": 3, "labels": ["7", "3"]}
    sample(SampleConfig(output=tmp_path / "x.npz", **settings))  # type: ignore[arg-type]
    assert np.load(tmp_path / "x.npz")["labels"].tolist() == [7, 3, 7]
    sample(SampleConfig(output=tmp_path / "folder", **settings))  # type: ignore[arg-type]
    names = sorted(file.name for file in (tmp_path / "folder").iterdir())
    assert names == ["0000-label7.png", "0001-label3.png", "0002-label7.png"]


def test_real_images_of_a_label(conditional: TrainConfig) -> None:
    settings = {"run": "run", "runs_dir": conditional.runs_dir, "real": True, "num": 4}
    known = restore(find_run("run", conditional.runs_dir)).dataset().train
    assert known.labels is not None
    rows = np.stack([np.flatnonzero(known.labels == label)[:2] for label in (3, 7)], axis=1).ravel()
    shown = sample(SampleConfig(labels=["3", "7"], **settings)).facts  # type: ignore[arg-type]
    assert shown["labels"] == [3, 7, 3, 7]
    assert shown["mean_pixel"] == pytest.approx(known.images[rows].mean())
    assert sample(SampleConfig(**settings)).facts["labels"] == known.labels[:4].tolist()  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="0 training images of label 10") as caught:
        sample(SampleConfig(labels=["10"], **settings))  # type: ignore[arg-type]
    assert caught.value.hint == "labels: 0 to 9"


def test_interpolation_ends_in_the_images(conditional: TrainConfig) -> None:
    result = interpolate(InterpolateConfig(run="run", runs_dir=conditional.runs_dir, pairs=((0, 1), (2, 2)), steps=3))
    assert result.facts["ends_exact"]


def test_images_without_labels_are_not_scored(conditional: TrainConfig, digits: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=next(iter(np.load(digits).values()))[:2])
    with pytest.raises(UsageError, match="given its label"):
        evaluate(EvalConfig(run="run", runs_dir=conditional.runs_dir, images=tmp_path / "images.npz"))


def test_labels_that_cannot_be_learned_are_refused(configure: Configure, digits: Path, tmp_path: Path) -> None:
    arrays = dict(np.load(digits))
    for name, labels, match in [
        ("none", None, "has no labels for its train images, and"),
        ("negative", arrays["train_labels"] - 1, "go from -1"),
        ("new", np.minimum(arrays["train_labels"], 3), "is in no training image"),
    ]:
        path = tmp_path / f"{name}.npz"
        changed = {**arrays, "train_labels": labels}
        np.savez(path, **{key: value for key, value in changed.items() if value is not None})
        with pytest.raises(UsageError, match=match):
            train(configure(dataset=str(path), conditional=True))
    assert load_dataset(str(digits)).classes() == 10


def test_a_label_says_nothing_to_another_run(configure: Configure) -> None:
    config = configure(epochs=1)
    train(config)
    with pytest.raises(UsageError, match="--label says nothing"):
        sample(SampleConfig(run="run", runs_dir=config.runs_dir, labels=["1"]))


@pytest.mark.parametrize("change", [lambda labels: 9 - labels, lambda labels: labels // 2], ids=["others", "fewer"])
def test_other_labels_are_refused(
    conditional: TrainConfig, digits: Path, tmp_path: Path, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    shutil.copytree(conditional.runs_dir / "run", tmp_path / "run")
    place, arrays = tmp_path / "digits.npz", dict(np.load(digits))
    np.savez(place, **{name: change(array) if "label" in name else array for name, array in arrays.items()})
    here = replace(conditional, runs_dir=tmp_path, dataset=str(place))
    with pytest.raises(UsageError, match="was started with other labels than"):
        train(replace(here, epochs=3))
    config = tmp_path / "run" / "config.json"
    config.write_text(config.read_text().replace(str(digits), str(place)))
    with pytest.raises(DataError, match="holds other labels than run 'run' was trained on"):
        restore(find_run("run", tmp_path)).dataset()


def test_images_that_have_lost_their_labels_are_refused(conditional: TrainConfig, digits: Path, tmp_path: Path) -> None:
    shutil.copytree(conditional.runs_dir / "run", tmp_path / "run")
    place, config = tmp_path / "digits.npz", tmp_path / "run" / "config.json"
    np.savez(place, **{name: array for name, array in np.load(digits).items() if "label" not in name})
    config.write_text(config.read_text().replace(str(digits), str(place)))
    with pytest.raises(RunError, match="has no labels"):
        evaluate(EvalConfig(run="run", runs_dir=tmp_path, importance_samples=1))
