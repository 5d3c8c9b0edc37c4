"""Training that starts from the weights of another run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from nfcli.config import TrainConfig, read_settings
from nfcli.errors import DivergedError, RunError, UsageError
from nfcli.flows import coupling
from nfcli.flows.networks import GatedConvNet
from nfcli.presets import PartitionedCouplings, Squeeze, get_preset
from nfcli.runs import RunDir, find_run
from nfcli.runs.restore import restore
from nfcli.training import saved
from nfcli.training.loop import train
from nfcli.training.setup import prepare_job
from nfcli.training.step import TrainStep
from tests.training.test_loop import Crash, CrashAt, Messages, assert_same_state, final_state, rows

Configure = Callable[..., TrainConfig]


@pytest.fixture(scope="module")
def others(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Other images of the same shape: the digits upside down."""
    arrays = {name: array[:, ::-1] if array.ndim > 1 else array for name, array in np.load(digits).items()}
    path = tmp_path_factory.mktemp("others") / "others.npz"
    np.savez(path, **arrays)
    return path


@pytest.fixture(scope="module")
def source(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainConfig:
    """A finished run, which shares its folder with all that start from it."""
    config = TrainConfig(
        preset="tiny",
        dataset=str(digits),
        epochs=2,
        batch_size=32,
        eval_every=1,
        runs_dir=tmp_path_factory.mktemp("runs"),
        name="source",
    )
    train(config)
    return config


@pytest.fixture
def tuned(source: TrainConfig, others: Path, request: pytest.FixtureRequest) -> TrainConfig:
    """Fine-tuning on the other images, in a run of the test's own."""
    return replace(source, init="source", dataset=str(others), name=request.node.name.replace("[", "-").rstrip("]"))


def described(config: TrainConfig) -> dict[str, Any]:
    return RunDir(config.runs_dir / str(config.name)).config()


def test_it_starts_from_the_best_weights_with_a_fresh_optimizer_and_schedule(tuned: TrainConfig) -> None:
    weights = restore(find_run("source", tuned.runs_dir))
    job = prepare_job(tuned)
    step = TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh, job.policy)
    state = saved.SavedRun(job, step, print).state(0)
    jax.tree.map(np.testing.assert_array_equal, state["parameters"], weights.parameters)
    assert int(state["step"]) == 0
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, np.zeros_like(leaf)), state["optimizer"])


def test_what_was_taken_is_said_and_written_down(tuned: TrainConfig, source: TrainConfig) -> None:
    heard = Messages()
    train(tuned, heard)
    assert "weights: those of 'source' after step 10" in heard.texts
    config, theirs = described(tuned), described(source)
    assert config["init"] == {
        "run": "source",
        "id": theirs["id"],
        "step": 10,
        "data": {"name": theirs["data"]["name"], "fingerprint": theirs["data"]["fingerprint"]},
    }
    assert config["settings"]["init"] == "source"
    assert config["data"]["fingerprint"] != theirs["data"]["fingerprint"]
    assert {"init"} & {*theirs, *theirs["settings"]} == set()
    # It knows what images look like: its first epoch is better than that of a run that knows nothing.
    fresh = replace(tuned, init=None, name="fresh")
    train(fresh)
    assert rows(tuned)[0]["train_bpd"] < rows(fresh)[0]["train_bpd"]
    assert rows(tuned)[0]["learning_rate"] == rows(fresh)[0]["learning_rate"]
    # config.json gives the same once more.
    settings = read_settings(tuned.runs_dir / str(tuned.name) / "config.json")
    again = TrainConfig(**{**settings, "runs_dir": tuned.runs_dir, "name": "again"})
    train(again)
    assert rows(again) == rows(tuned)


def test_it_continues_bit_for_bit_with_or_without_the_option(tuned: TrainConfig) -> None:
    whole = replace(tuned, name="whole")
    train(whole)
    for init in (None, "source"):
        cut = replace(tuned, name=f"cut-{init}")
        for step in (1, 7):
            with pytest.raises(Crash):
                train(cut, CrashAt(step))
            cut = replace(cut, init=init)
        assert train(cut).finished
        assert rows(cut) == rows(whole)
        assert_same_state(final_state(cut), final_state(whole))


def test_an_average_starts_from_the_weights_too(tuned: TrainConfig) -> None:
    tuned = replace(tuned, ema_decay=0.9, epochs=1)
    assert train(tuned).finished
    assert rows(tuned)[0]["train_bpd"] < 20


def test_another_one_is_refused_when_it_is_continued(tuned: TrainConfig, source: TrainConfig) -> None:
    train(replace(tuned, epochs=1))
    train(replace(source, name="other", epochs=1))
    with pytest.raises(UsageError, match="--init source became other"):
        train(replace(tuned, init="other"))
    with pytest.raises(UsageError, match="--init none became source"):
        train(replace(source, name="other", init="source"))


def test_a_run_that_saved_nothing_needs_the_same_weights_once_more(tuned: TrainConfig, source: TrainConfig) -> None:
    moving = replace(source, name="moving", epochs=1)
    train(moving)
    tuned = replace(tuned, init="moving")
    with pytest.raises(Crash):
        train(tuned, CrashAt(1))
    train(replace(moving, epochs=2))
    with pytest.raises(RunError, match="began from weights of 'moving' that are no longer there") as caught:
        train(replace(tuned, init=None))
    assert "--overwrite" in str(caught.value.hint)
    assert train(replace(tuned, overwrite=True)).finished
    assert described(tuned)["init"]["step"] == 10


def test_a_finished_run_does_not_need_them_any_more(tuned: TrainConfig, source: TrainConfig) -> None:
    gone = replace(source, name="gone", epochs=1)
    train(gone)
    tuned = replace(tuned, init="gone", epochs=1)
    train(tuned)
    folder = tuned.runs_dir / "gone"
    folder.rename(folder.with_name("moved"))
    assert train(replace(tuned, init=None, epochs=2)).steps == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"preset": "tiny-mixture"}, "preset tiny there, tiny-mixture here"),
        ({"smoke": True}, "smoke False there, True here"),
        ({"crop": "4"}, "shape 8x8x1 there, 4x4x1 here"),
        ({"levels": 32}, "levels 256 there, 32 here"),
    ],
)
def test_weights_of_another_model_are_refused(tuned: TrainConfig, changes: dict[str, Any], message: str) -> None:
    config = replace(tuned, **changes)
    with pytest.raises(UsageError, match=message) as caught:
        train(config)
    assert caught.value.hint
    assert not (config.runs_dir / str(config.name)).exists()


def test_labels_can_be_learned_by_weights_that_know_none(tuned: TrainConfig) -> None:
    """At first they say the same of every label, and they continue bit for bit as any run."""
    weights = restore(find_run("source", tuned.runs_dir))
    labelled = replace(tuned, conditional=True, epochs=1)
    job = prepare_job(labelled)
    step = TrainStep(job.model, job.config, job.steps_per_epoch, job.mesh, job.policy)
    parameters = saved.SavedRun(job, step, print).state(0)["parameters"]
    images, keys = job.val.images[:3], jax.random.split(jax.random.key(1), 3)
    want = jax.jit(weights.model.log_prob)(weights.parameters, images, keys)
    log_prob = jax.jit(job.model.log_prob)
    for label in (0, 7):
        got = log_prob(parameters, images, keys, np.full(3, label))
        np.testing.assert_allclose(got, want, rtol=1e-6)
    whole = replace(labelled, name="labels")
    train(whole)
    with pytest.raises(Crash):
        train(labelled, CrashAt(2))
    assert train(labelled).finished
    assert rows(labelled) == rows(whole)
    trained = restore(find_run("labels", tuned.runs_dir)).parameters
    kernel = trained["transform"]["levels"]["0"]["0"]["network"]["conv_in"]["kernel"]
    assert np.all(np.any(kernel[:, :, -10:] != 0, axis=(0, 1, 3)))
    with pytest.raises(UsageError, match="classes 10 there, 0 here") as caught:
        train(replace(tuned, init="labels", name="plain"))
    assert caught.value.hint == "train this one with --conditional too, on as many labels"


@pytest.mark.parametrize(
    ("init", "kind", "message"),
    [
        ("nobody", RunError, "there is no run 'nobody'"),
        ("pretrained:nobody", RunError, "no run 'pretrained:nobody' ships"),
        ("a/b", UsageError, "is no run name"),
        ("run", UsageError, "cannot start from its own weights"),
    ],
)
def test_names_that_lead_nowhere(tuned: TrainConfig, init: str, kind: type[Exception], message: str) -> None:
    config = replace(tuned, init=init, name="run")
    with pytest.raises(kind, match=message):
        train(config)
    assert not (config.runs_dir / "run").exists()


def test_weights_that_ship_are_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coupling, "GatedConvNet", GatedConvNet)  # with all its blocks, unlike that of preset `tiny`
    config = TrainConfig.of_preset("simple", init="pretrained:simple", runs_dir=tmp_path, train_size=256)
    job = prepare_job(config)
    assert job.init is not None
    assert job.description()["init"]["run"] == "pretrained:simple"
    assert job.config.settings()["init"] == "pretrained:simple"


def test_a_run_that_diverges_at_once_begins_from_the_same_weights(
    tuned: TrainConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved, "SKIPPED_IN_A_ROW", 3)
    seen: list[Any] = []
    start = TrainStep.start_from

    def watched(self: TrainStep, parameters: Any) -> Any:
        seen.append(jax.tree.map(np.array, parameters))
        return start(self, parameters)

    monkeypatch.setattr(TrainStep, "start_from", watched)
    with pytest.raises(DivergedError):
        train(replace(tuned, learning_rate=1e30))
    weights = restore(find_run("source", tuned.runs_dir)).parameters
    # Each time `init` makes the shapes, and the weights follow.
    assert len(seen) >= 4
    for parameters in seen[1::2]:
        jax.tree.map(np.testing.assert_array_equal, parameters, weights)


def test_weights_of_a_preset_file_of_another_model_are_refused(tuned: TrainConfig, digits: Path) -> None:
    first, second = (
        replace(get_preset("tiny"), name="mine", layers=(Squeeze(), replace(layer, mask=mask)))
        for mask in ("channel", "patch")
        for layer in [PartitionedCouplings(1, "channel", 4, blocks=0, actnorm=False, rotate=False)]
    )
    assert first.layers != second.layers
    source = replace(tuned, preset="mine", custom=first, init=None, name="first", epochs=1)
    train(source)
    with pytest.raises(UsageError, match="its preset file described another model"):
        prepare_job(replace(source, custom=second, init="first", name="second"))
    assert prepare_job(replace(source, init="first", name="third")).init is not None


def test_a_preset_file_may_have_another_recipe_and_another_name(tuned: TrainConfig, digits: Path) -> None:
    preset = replace(get_preset("tiny"), name="mine", recipe={"learning_rate": 0.01})
    mine = replace(tuned, preset="mine", custom=preset, init=None, name="of-a-file", dataset=str(digits), epochs=1)
    assert train(mine).finished
    other = replace(preset, name="other", summary="the same model", recipe={})
    job = prepare_job(replace(tuned, preset="other", custom=other, init="of-a-file"))
    assert job.init is not None
    assert job.init.run.name == "of-a-file"
