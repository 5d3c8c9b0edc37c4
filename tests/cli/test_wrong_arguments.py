"""Arguments that make no sense: one line that says so, the right exit code, nothing written."""

from __future__ import annotations

import json
import typing

import pytest

from nfcli.cli.app import app
from tests.cli.conftest import SETTINGS, write_images
from tests.cli.program import assert_refused, contents, nf

SMALL = ("--dataset", "tiny.npz", "--smoke")

USAGE = [
    ("train", "nonsense"),
    ("train", "SIMPLE"),
    ("train", ""),
    ("train", "simple", "--epochs", "0"),
    ("train", "simple", "--epochs", "abc"),
    ("train", "simple", "--epochs", "1.5"),
    ("train", "simple", "--eval-every", "0"),
    ("train", "simple", "--train-size", "0"),
    ("train", "simple", "--seed", "4294967296"),
    ("train", "simple", *SMALL, "--batch-size", "4", "--epochs", "2147483647"),
    ("train", "simple", "--learning-rate", "0"),
    ("train", "simple", "--learning-rate", "nan"),
    ("train", "simple", "--learning-rate", "inf"),
    ("train", "simple", "--learning-rate", "1e39"),
    ("train", "simple", "--learning-rate-decay", "1.1"),
    ("train", "simple", "--learning-rate-decay", "0.5", "--schedule", "cosine"),
    ("train", "simple", "--learning-rate-floor", "1"),
    ("train", "simple", "--clip-norm", "-1"),
    ("train", "simple", "--checkpoint-minutes", "0"),
    ("train", "simple", "--max-minutes", "-1"),
    ("train", "simple", "--max-minutes", "nan"),
    ("train", "simple", "--devices", "0"),
    ("train", "simple", "--dataset", ""),
    ("train", "simple", "--dataset", "nowhere"),
    ("train", "simple", *SMALL, "--batch-size", "49"),
    ("train", "simple", *SMALL, "--batch-size", "16", "--train-size", "49"),
    ("train", "simple", *SMALL, "--batch-size", "16", "--train-size", "32", "--val-size", "17"),
    ("train", "multiscale", "--dataset", "odd.npz", "--batch-size", "4"),
    ("eval", "simple", "--importance-samples", "0"),
    ("eval", "simple", "--limit", "0"),
    ("eval", "simple", "--batch-size", "0"),
    ("eval", "simple", "--split", "nonsense"),
    ("eval", "simple", "--split", ""),
    ("eval", "simple", "--split", "val,"),
    ("eval", "simple", "--save-per-image", "each.txt"),
    ("eval", "simple", "--images", "tiny.npz", "--split", "val"),
    ("compare", "--format", "nonsense"),
    ("compare", "--format", "csv", "--json"),
    ("compare", "--format", "csv", "--html", "page.html"),
    ("compare", "--format", "csv", "--paired", "a", "b"),
    ("sample", "--from-latents", "z.npz", "--num", "3"),
    ("sample", "--from-latents", "z.npz", "--seed", "3"),
    ("sample", "--from-latents", "z.npz", "--temperature", "0.5"),
    ("sample", "--real", "--temperature", "0.5"),
    ("sample", "--share-final-latent", "--columns", "3"),
    ("sample", "--temperature", "nan"),
    ("sample", "--temperature", "1e300"),
    ("inspect-dequant", "--explain", "--levels", "4"),
    ("inspect-dequant", "--explain", "--seed", "4"),
    ("inspect-dequant", "simple", "--draws", "1001"),
]

HUGE = "99999999999999999999"

WHOLE = [
    (registered.name or registered.callback.__name__, f"--{name.replace('_', '-')}")
    for registered in app.registered_commands
    for name, kind in typing.get_type_hints(registered.callback).items()
    if kind in (int, int | None, list[int] | None)
]

NAMES = ["..", ".", "", "../outside", "/etc", "/etc/passwd", "a/b", "a b", ".hidden", "größe", "-x", "x" * 101, "a\nb"]


@pytest.fixture
def empty(tmp_path):
    write_images(tmp_path / "tiny.npz")
    write_images(tmp_path / "odd.npz", side=27, train=8, val=4, test=4)
    return tmp_path


@pytest.mark.parametrize("arguments", USAGE, ids=lambda arguments: " ".join(arguments))
def test_usage(arguments, empty, call):
    before = contents(empty)
    # What should have been refused must not train for hours.
    harmless = ("--dry-run",) if arguments[0] == "train" else ()
    assert_refused(call(*arguments, *harmless, cwd=empty), 2)
    assert contents(empty) == before


@pytest.mark.parametrize(("command", "option"), WHOLE, ids=" ".join)
def test_every_whole_number_has_bounds(command, option, empty, call):
    before = contents(empty)
    words = (command, *(("simple", "--dry-run") if command == "train" else ()))
    for value in (HUGE, "-1", "9" * 5000):
        assert_refused(call(*words, option, value, cwd=empty), 2)
    assert contents(empty) == before


def test_and_so_has_one_of_a_configuration(empty, call):
    settings = {"preset": "simple", "epochs": int(HUGE)}
    (empty / "config.json").write_text(json.dumps({"schema_version": 1, "run": "a", "settings": settings, "data": {}}))
    before = contents(empty)
    done = call("train", "--config", "config.json", cwd=empty)
    assert_refused(done, 2)
    assert f"--epochs {HUGE} is not possible" in done.err
    assert contents(empty) == before


def test_a_wrong_value_is_repeated_to_the_user(empty, call):
    assert "abc" in call("train", "simple", "--epochs", "abc", cwd=empty).err
    assert "1.5" in call("sample", "--num", "1.5", cwd=empty).err


def test_sizes_that_cannot_be_squeezed_are_named(empty, call):
    done = call("train", "multiscale", "--dataset", "odd.npz", "--batch-size", "4", cwd=empty)
    assert "27x27" in done.err
    assert "multiples of 4" in done.err


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", ["train", "eval", "compare"])
def test_names_that_are_none(command, name, empty, call):
    before = contents(empty)
    words = ("train", "simple", *SMALL, "--name", name) if command == "train" else (command, "--", name)
    done = call(*words, cwd=empty)
    assert_refused(done, 2)
    assert len(done.err) < 500
    assert contents(empty) == before


@pytest.mark.parametrize("command", ["eval", "sample", "interpolate", "inspect-dequant", "compare"])
def test_no_run_at_all(command, empty, nothing_ships, call):
    done = call(command, cwd=empty)
    assert_refused(done, 3)
    assert "nf train" in done.err
    assert_refused(call(command, "nothere", cwd=empty), 3)
    assert_refused(call(command, "--runs-dir", "tiny.npz", cwd=empty), 3)


@pytest.mark.parametrize("place", ["tiny.npz", "tiny.npz/below", "/proc/nowhere", "/dev/null"])
def test_runs_cannot_be_made_there(place, empty, call):
    before = contents(empty)
    words = ("train", "simple", *SETTINGS, "--epochs", "1", "--runs-dir", place)
    assert_refused(call(*words, cwd=empty), 1)
    assert contents(empty) == before


@pytest.mark.parametrize("place", ["nonsense", "tiny.npz", "/proc/1/fd/x", "a\nb", "x" * 300])
def test_nonsense_in_the_environment(place, empty, nothing_ships, call, monkeypatch):
    monkeypatch.setenv("NF_RUNS_DIR", place)
    assert_refused(call("compare", cwd=empty), 3)


@pytest.mark.parametrize("platforms", ["cuda", "nonsense"])
def test_devices_that_are_not_there(platforms, empty):
    done = nf("train", "simple", *SETTINGS, cwd=empty, JAX_PLATFORMS=platforms)
    assert_refused(done, 2)
    assert f"JAX_PLATFORMS={platforms} asks for devices that are not here" in done.err


@pytest.mark.parametrize("variable", ["NF_ONEDNN", "NF_MATRIX_UNITS", "NF_KEEP_MEMORY"])
def test_a_switch_is_0_or_1(variable, empty):
    words = ("train", "simple", "--dataset", "tiny.npz", "--batch-size", "16", "--dry-run")
    done = nf(*words, cwd=empty, **{variable: "off"})
    assert_refused(done, 2)
    assert f"{variable}=off is not possible" in done.err


def test_many_devices_are_refused_at_once(empty):
    words = ("train", "simple", *SETTINGS, "--devices", "100000", "--batch-size", "100000")
    assert_refused(nf(*words, cwd=empty, timeout=20, JAX_NUM_CPU_DEVICES=None), 2)
