"""From per-image bounds to a summary and to files."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from nfcli.errors import UsageError
from nfcli.evaluation.bound import BoundEvaluator, PerImageBound
from nfcli.evaluation.config import EvalConfig
from nfcli.evaluation.evaluate import evaluate, table_of
from nfcli.runs.per_image import concatenate, save_table
from tests.runs.untrained import untrained


def bound_of(log_prob, *, index=None):
    log_prob = np.array(log_prob, np.float64)
    index = np.arange(len(log_prob)) if index is None else np.array(index)
    return PerImageBound(index, log_prob, log_prob - 0.1, np.full(len(log_prob), 1.5), dimensions=2)


def test_summary():
    summary = bound_of([-1.0, -2.0, -6.0]).summary()
    bits = np.array([1, 2, 6]) / (2 * np.log(2))
    assert summary.bpd == pytest.approx(bits.mean(), rel=1e-12)
    # Standard deviation with n - 1, over the root of n.
    assert summary.bpd_stderr == pytest.approx(np.sqrt(np.sum((bits - bits.mean()) ** 2) / 2 / 3), rel=1e-12)
    assert summary.elbo_bpd == pytest.approx(bits.mean() + 0.05 / np.log(2), rel=1e-12)
    assert (summary.effective_sample_size, summary.images) == (1.5, 3)
    assert {type(value) for value in vars(summary).values()} == {float, int}


def test_one_image_has_no_standard_error():
    summary = bound_of([-1.0]).summary()
    assert summary.bpd == pytest.approx(0.5 / np.log(2))
    assert (summary.bpd_stderr, summary.images) == (None, 1)


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_an_image_without_a_bound_leaves_no_mean(value):
    """And numpy says nothing about it: the caller does."""
    summary = bound_of([-1.0, value, -2.0]).summary()
    assert (summary.bpd, summary.bpd_stderr, summary.elbo_bpd) == (None, None, None)
    assert summary.images == 3


BOUNDS = {"val": bound_of([-1 / 3, -2.0]), "test": bound_of([-1e-9, -12345.678, -np.inf], index=[4, 0, 2])}
LABELS = {"val": None, "test": np.array([10, 11, 12, 13, 14], np.uint8)}
WANT = {
    "split": ["val", "val", "test", "test", "test"],
    "index": [0, 1, 4, 0, 2],
    "label": [-1, -1, 14, 10, 12],
    **{
        name: np.concatenate([getattr(bound, name) for bound in BOUNDS.values()]).tolist()
        for name in ("log_prob", "elbo", "bpd", "effective_sample_size")
    },
}


TABLE = concatenate([table_of(name, bound, None, LABELS[name]) for name, bound in BOUNDS.items()])


def test_npz_round_trip(tmp_path):
    save_table(tmp_path / "images.npz", TABLE)
    with np.load(tmp_path / "images.npz") as table:
        assert {name: table[name].tolist() for name in table.files} == WANT
        assert table["log_prob"].dtype == np.float64


def test_csv_round_trip(tmp_path):
    """Text keeps every digit; an unknown label is empty."""
    save_table(tmp_path / "images.csv", TABLE)
    with (tmp_path / "images.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(WANT)
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    assert list(columns["split"]) == WANT["split"]
    assert [int(text) if text else -1 for text in columns["label"]] == WANT["label"]
    for name in ("index", "log_prob", "elbo", "bpd", "effective_sample_size"):
        assert [float(text) for text in columns[name]] == WANT[name]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"importance_samples": 0}, "--importance-samples 0 is not possible"),
        ({"limit": 0}, "--limit 0 is not possible"),
        ({"batch_size": -1}, "--batch-size -1 is not possible"),
        ({"devices": 0}, "--devices 0 is not possible"),
        ({"seed": -1}, "--seed -1 is not possible"),
        ({"seed": 2**32}, "--seed 4294967296 is not possible"),
        ({"splits": ("val", "tset")}, "unknown split 'tset'"),
        ({"save_per_image": Path("images.txt")}, "--save-per-image images.txt is neither .npz nor .csv"),
    ],
)
def test_settings_that_cannot_be(settings, message):
    with pytest.raises(UsageError) as caught:
        EvalConfig(**settings)
    assert caught.value.message == message
    assert caught.value.hint


def test_settings_at_the_edge_of_what_can_be():
    config = EvalConfig(importance_samples=1, limit=1, batch_size=1, devices=1, seed=2**32 - 1, splits=("train",))
    assert (EvalConfig().importance_samples, EvalConfig().splits, config.limit) == (8, ("val", "test"), 1)


def test_what_is_timed_is_timed_before_what_takes_long(monkeypatch, tmp_path, digits):
    """So that a failure there, or an interrupt, costs no measurement."""
    done = []
    monkeypatch.setattr(BoundEvaluator, "__call__", lambda *_, **__: done.append("measured"))

    def fails(*_):
        raise MemoryError

    monkeypatch.setattr("nfcli.evaluation.evaluate.time_model", fails)
    run = untrained(tmp_path, "simple", str(digits))
    with pytest.raises(MemoryError):
        evaluate(EvalConfig(run.name, run.path.parent, 1))
    assert done == []
