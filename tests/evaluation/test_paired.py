"""Paired comparison: a clear difference is found, none is not made up, and unequal questions are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nfcli.errors import RunError, UsageError
from nfcli.runs import RunDir
from nfcli.runs.paired import bootstrap_interval, compare_paired
from nfcli.runs.per_image import keep_per_image
from nfcli.runs.results import best_first, record
from tests.runs.measured import CONFIG, IMAGES, evaluation_of, measured


@pytest.fixture
def bpd() -> np.ndarray:
    """Images differ far more from each other than the models do."""
    return 1 + 0.3 * np.random.default_rng(0).standard_normal(IMAGES)


def test_a_small_steady_difference_is_found(tmp_path: Path, bpd: np.ndarray) -> None:
    noise = 0.005 * np.random.default_rng(1).standard_normal(IMAGES)
    measured(tmp_path, "a", bpd)
    measured(tmp_path, "b", bpd + 0.01 + noise)
    result = compare_paired("a", "b", tmp_path)
    assert result.decided
    assert result.difference_bpd == pytest.approx(-0.01 - noise.mean(), abs=1e-12)
    assert result.interval_low < result.difference_bpd < result.interval_high < 0
    assert "decide for a: it needs 0.0" in result.sentence
    other = compare_paired("b", "a", tmp_path)
    assert "decide for a: it needs 0.0" in other.sentence
    assert other.better_images == pytest.approx(1 - result.better_images)


def test_no_difference_is_not_made_up(tmp_path: Path, bpd: np.ndarray) -> None:
    measured(tmp_path, "a", bpd)
    measured(tmp_path, "b", bpd + 0.1 * np.random.default_rng(3).standard_normal(IMAGES))
    result = compare_paired("a", "b", tmp_path)
    assert not result.decided
    assert result.interval_low < 0 < result.interval_high
    assert "do not decide between a and b" in result.sentence


def test_the_interval_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).standard_normal(2000)
    low, high = bootstrap_interval(values, seed=0)
    half = 1.96 * values.std(ddof=1) / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=0.003)
    assert high == pytest.approx(values.mean() + half, abs=0.003)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split_fingerprint": "e" * 64}, "other test images"),
        ({"importance_samples": 64}, "another K: 8 and 64"),
    ],
)
def test_unequal_questions_are_refused(tmp_path: Path, bpd: np.ndarray, changes: dict, message: str) -> None:
    measured(tmp_path, "a", bpd)
    measured(tmp_path, "b", bpd, **changes)
    with pytest.raises(UsageError, match=message) as refused:
        compare_paired("a", "b", tmp_path)
    helps = "same nf eval options" if "K" in message else "the same data"
    assert helps in str(refused.value.hint)


def test_a_run_is_not_compared_with_itself(tmp_path: Path, bpd: np.ndarray) -> None:
    measured(tmp_path, "a", bpd)
    with pytest.raises(UsageError, match="differs from itself in nothing"):
        compare_paired("a", "a", tmp_path)


def test_of_other_numbers_of_images_those_in_common_are_compared(tmp_path: Path, bpd: np.ndarray) -> None:
    """A measurement is of the first images of the split."""
    measured(tmp_path, "a", bpd)
    measured(tmp_path, "b", bpd[:100] + 0.01)
    result = compare_paired("a", "b", tmp_path)
    assert (result.images, result.first_images, result.second_images) == (100, 200, 100)
    assert result.difference_bpd == pytest.approx(-0.01, abs=1e-12)
    assert result.sentence.startswith("The 100 test images in common (of 200 of one run) with K = 8 decide for a")
    measured(tmp_path, "c", bpd[:1])
    with pytest.raises(UsageError, match="a single image"):
        compare_paired("a", "c", tmp_path)


def test_most_images_in_common_count(tmp_path: Path, bpd: np.ndarray) -> None:
    """Also where another pair of measurements is of equally many."""
    a, b = measured(tmp_path, "a", bpd), measured(tmp_path, "b", bpd[:150] + 0.01)
    for run in (a, b):
        add(run, bpd[:8])
    assert compare_paired("a", "b", tmp_path).images == 150


def add(run: RunDir, bpd: np.ndarray) -> None:
    """One more measurement of a run."""
    keep_per_image(run, evaluation_of(bpd), {"bpd": bpd})
    record(run, CONFIG, [evaluation_of(bpd)], {"inference_ms": 1.0, "sampling_ms": 2.0})


def test_most_images_that_both_were_measured_on_count(tmp_path: Path, bpd: np.ndarray) -> None:
    """Not those of the latest measurement, which may have been a quick one."""
    a, b = measured(tmp_path, "a", bpd), measured(tmp_path, "b", bpd[:150] + 0.01)
    add(a, bpd[:150])
    for run in (a, b):
        add(run, bpd[:8])
    assert compare_paired("a", "b", tmp_path).images == 150
    add(b, bpd + 0.01)
    assert compare_paired("a", "b", tmp_path).images == 200


def test_the_weights_that_were_measured_last_count(bpd: np.ndarray) -> None:
    old = replace(evaluation_of(bpd), checkpoint_step=5)
    half, whole, quick = (evaluation_of(bpd[:count]) for count in (100, 200, 8))
    again = replace(half, seed=43)
    assert best_first([old, half, whole, again, quick], "test") == [whole, again, half, quick]
    assert best_first([whole, old], "test") == [old]
    assert best_first([], "test") == []


def test_a_run_that_was_not_measured(tmp_path: Path, bpd: np.ndarray) -> None:
    measured(tmp_path, "a", bpd)
    RunDir(tmp_path / "b").write_config(CONFIG)
    with pytest.raises(RunError, match="'b' has no measurement of its test images"):
        compare_paired("a", "b", tmp_path)


@pytest.mark.parametrize("damage", ["cut off", "other numbers", "missing", "objects", "a number", "not deflated"])
def test_damaged_per_image_numbers(tmp_path: Path, bpd: np.ndarray, damage: str) -> None:
    run = measured(tmp_path, "a", bpd)
    measured(tmp_path, "b", bpd)
    (path,) = (run.path / "per-image").iterdir()
    if damage == "cut off":
        path.write_bytes(path.read_bytes()[:100])
    elif damage == "other numbers":
        np.savez(path, bpd=bpd + 1e-3)
    elif damage == "a number":
        np.savez(path, bpd=bpd.mean())
    elif damage == "objects":
        np.savez(path, bpd=np.array([{}] * IMAGES, dtype=object))
    elif damage == "not deflated":
        changed = bytearray(path.read_bytes())
        changed[60:68] = b"\xff" * 8
        path.write_bytes(changed)
    else:
        path.unlink()
    with pytest.raises(RunError, match="per-image file") as caught:
        compare_paired("a", "b", tmp_path)
    assert caught.value.hint == "nf eval a writes it again"


def test_a_measurement_without_a_finite_mean_decides_nothing(tmp_path: Path, bpd: np.ndarray) -> None:
    measured(tmp_path, "a", bpd)
    broken = np.where(np.arange(len(bpd)) == 3, np.nan, bpd)
    run = measured(tmp_path, "b", bpd)
    evaluation = replace(evaluation_of(bpd), bpd=None)
    keep_per_image(run, evaluation, {"bpd": broken})
    record(run, CONFIG, [evaluation], {"inference_ms": 1.0, "sampling_ms": 1.0})
    with pytest.raises(RunError, match="no finite bound"):
        compare_paired("a", "b", tmp_path)


def test_a_run_that_was_replaced_meanwhile_keeps_its_own_results(tmp_path: Path, bpd: np.ndarray) -> None:
    run = measured(tmp_path, "a", bpd)
    before = run.results()
    run.write_config({**CONFIG, "id": "1"})
    with pytest.raises(RunError, match="was replaced by another one"):
        record(run, CONFIG, [evaluation_of(bpd + 1)], {"inference_ms": 1.0, "sampling_ms": 2.0})
    assert run.results() == before
