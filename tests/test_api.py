"""`nfcli.load`: the numbers and images of the commands, on numpy arrays."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import nfcli
from nfcli.config import TrainConfig
from nfcli.drawing.samples import SampleConfig, sample
from nfcli.errors import RunError, UsageError
from nfcli.evaluation.bound import BoundEvaluator
from nfcli.evaluation.evaluate import EvalConfig, evaluate
from nfcli.training.loop import train
from tests.tiny import tiny_preset


@pytest.fixture(scope="module")
def runs(digits, tmp_path_factory):
    """Runs `plain` and `told`, the second one class-conditional."""
    folder = tmp_path_factory.mktemp("runs")
    with tiny_preset():
        for name, conditional in (("plain", False), ("told", True)):
            train(
                TrainConfig(
                    preset="tiny",
                    dataset=str(digits),
                    epochs=1,
                    batch_size=32,
                    conditional=conditional,
                    runs_dir=folder,
                    name=name,
                )
            )
        yield folder


@pytest.fixture(scope="module")
def plain(runs):
    return nfcli.load("plain", runs)


@pytest.fixture(scope="module")
def told(runs):
    return nfcli.load("told", runs)


def test_it_says_what_the_run_is(plain, told):
    assert (plain.name, plain.shape, plain.levels, plain.classes, plain.step) == ("plain", (8, 8, 1), 256, 0, 5)
    assert told.classes == 10
    assert "plain" in repr(plain)


def test_bits_are_those_of_eval(plain, runs):
    measured = evaluate(EvalConfig(run="plain", runs_dir=runs, importance_samples=3, splits=("test",), limit=20))
    images, labels = plain.images("test")
    assert len(images) == len(labels) == 48
    bpd = plain.bpd(images[:20], samples=3)
    assert bpd.mean() == pytest.approx(measured.splits["test"].bpd, abs=1e-6)
    assert np.allclose(plain.log_prob(images[:20], samples=3), -bpd * 64 * np.log(2))


def test_samples_are_those_of_the_command(plain, runs, tmp_path):
    drawn = plain.sample(5, temperature=0.7, seed=3)
    assert drawn.shape == (5, 8, 8, 1)
    assert drawn.dtype == np.uint8
    found = sample(
        SampleConfig(run="plain", runs_dir=runs, num=5, temperature=0.7, seed=3, output=tmp_path / "drawn.png")
    )
    assert found.facts["mean_pixel"] == pytest.approx(drawn.mean())


@pytest.mark.parametrize("name", ["plain", "told"])
def test_every_image_comes_back(name, request):
    flow = request.getfixturevalue(name)
    images, labels = flow.images("val")
    given = labels if flow.classes else None
    latents = flow.encode(images, given)
    assert [array.shape for array in latents] == [(48, *shape) for shape in flow.latent_shapes]
    np.testing.assert_array_equal(flow.decode(latents, given), images)


def test_a_label_counts(told):
    images, labels = told.images("test")
    assert not np.allclose(told.bpd(images, labels), told.bpd(images, (labels + 1) % 10))
    np.testing.assert_array_equal(told.sample(3, [7]), told.sample(3, [7, 7]))
    assert len(told.sample(12)) == 12


@pytest.mark.parametrize(
    ("name", "ask"),
    [
        ("plain", lambda flow: flow.bpd(np.zeros((2, 8, 8, 1)))),
        ("plain", lambda flow: flow.bpd(np.zeros((2, 8, 7), int))),
        ("plain", lambda flow: flow.bpd(np.zeros((0, 8, 8), int))),
        ("plain", lambda flow: flow.bpd(np.full((2, 8, 8), 256))),
        ("plain", lambda flow: flow.bpd(np.full((2, 8, 8), -1))),
        ("plain", lambda flow: flow.bpd(np.zeros((2, 8, 8), int), samples=0)),
        ("plain", lambda flow: flow.bpd(np.zeros((2, 8, 8), int), [1, 2])),
        ("plain", lambda flow: flow.sample(0)),
        ("plain", lambda flow: flow.sample(2, [1])),
        ("plain", lambda flow: flow.sample(2, seed=-1)),
        ("plain", lambda flow: flow.sample(2, seed=1.5)),
        ("plain", lambda flow: flow.sample(2.5)),
        ("plain", lambda flow: flow.sample("2")),
        ("plain", lambda flow: flow.sample(np.arange(2))),
        ("plain", lambda flow: flow.sample(2, temperature=float("nan"))),
        ("plain", lambda flow: flow.sample(2, temperature=-1.0)),
        ("plain", lambda flow: flow.decode([])),
        ("plain", lambda flow: flow.decode([np.zeros((0, *shape)) for shape in flow.latent_shapes])),
        ("plain", lambda flow: flow.decode([np.full((2, *shape), np.nan) for shape in flow.latent_shapes])),
        ("told", lambda flow: flow.bpd(np.zeros((2, 8, 8), int))),
        ("told", lambda flow: flow.bpd(np.zeros((2, 8, 8), int), [1, 10])),
        ("told", lambda flow: flow.encode(np.zeros((2, 8, 8), int), [1.0, 2.0])),
        ("told", lambda flow: flow.sample(2, [-1])),
        ("told", lambda flow: flow.sample(2, np.array([], int))),
    ],
)
def test_what_does_not_fit_is_refused(name, ask, request):
    with pytest.raises(UsageError) as refused:
        ask(request.getfixturevalue(name))
    assert refused.value.hint


def test_a_run_that_is_not_there(tmp_path):
    with pytest.raises(RunError):
        nfcli.load("nowhere", tmp_path)


def test_importing_it_is_light():
    code = "import sys, nfcli; nfcli.load; print(sorted({'jax', 'numpy', 'typer'} & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[1]
    )
    assert done.stdout.strip() == "[]"


def test_what_was_compiled_serves_the_next_call(plain, monkeypatch):
    images, _ = plain.images("test")
    first = plain.bpd(images[:3])
    monkeypatch.setattr(BoundEvaluator, "_log_weights", lambda *_: pytest.fail("it is traced again"))
    np.testing.assert_array_equal(plain.bpd(images[:3]), first)


def test_where_runs_live_is_the_same_as_for_commands(runs, monkeypatch):
    monkeypatch.setenv("NF_RUNS_DIR", str(runs))
    assert nfcli.load("plain").name == "plain"
