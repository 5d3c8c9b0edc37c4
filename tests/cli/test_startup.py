"""What must be there at once: help, version, and no array library before it is needed."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import pytest

import nfcli
from nfcli.__main__ import main
from nfcli.cli.app import _told
from tests.cli.program import NF, assert_refused, environment, nf, succeeds

COMMANDS = ("train", "eval", "sample", "interpolate", "inspect-dequant", "compare")
HEAVY = {"jax", "jaxlib", "numpy", "flax", "optax", "orbax", "matplotlib", "PIL"}


def imported(*arguments, cwd):
    command = [sys.executable, "-X", "importtime", "-m", "nfcli", *arguments]
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=True)
    return {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def test_help_names_every_command(tmp_path):
    text = succeeds("--help", cwd=tmp_path).out
    assert all(f"\n  {command} " in text for command in COMMANDS)
    assert succeeds("-h", cwd=tmp_path).out == text


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_fits_the_terminal_and_shows_examples(command, tmp_path):
    text = succeeds(command, "--help", cwd=tmp_path).out
    assert max(map(len, text.splitlines())) <= 80
    assert text.startswith(f"Usage: nf {command} [OPTIONS]")
    assert "[[" not in text
    assert "{PRESET}" not in text
    assert f"      nf {command}" in text
    assert "--json" in text
    assert "None" not in text


def test_no_arguments_show_the_help(tmp_path):
    done = nf(cwd=tmp_path)
    assert done.code in (0, 2)
    assert "\nCommands:\n" in done.out + done.err
    assert "error: " not in done.err


def test_version(tmp_path):
    assert succeeds("--version", cwd=tmp_path).out == f"nf {nfcli.__version__}\n"


def test_help_takes_under_half_a_second(tmp_path):
    times = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([*NF, "--help"], cwd=tmp_path, env=environment(), stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - start)
    assert statistics.median(times) < 0.5


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("train", "--help"), ("eval", "--help")])
def test_help_imports_no_array_library(arguments, tmp_path):
    assert not imported(*arguments, cwd=tmp_path) & HEAVY


def test_commands_that_compute_tell_malloc(monkeypatch):
    told = []
    monkeypatch.setattr("nfcli.backend.runtime.with_large_pages", lambda: told.append(sys.argv[1]))
    monkeypatch.setattr("nfcli.process.signals.listen", lambda: None)
    monkeypatch.setattr("nfcli.cli.app.main", lambda: None)
    for words in (["--help"], ["train", "simple", "-h"], *([command] for command in COMMANDS)):
        monkeypatch.setattr(sys, "argv", ["nf", *words])
        main()
    assert told == [command for command in COMMANDS if command != "compare"]


def test_compare_imports_no_array_library(tmp_path):
    run = tmp_path / "runs" / "some-run"
    run.mkdir(parents=True)
    model = {"preset": "simple", "smoke": False, "shape": [8, 8, 1], "levels": 256, "alpha": 1e-5, "parameters": 7}
    data = {"name": "mnist", "source": "mnist", "fingerprint": "0", "train_images": 1, "val_images": 1}
    settings = {"epochs": 1, "batch_size": 1, "dataset": "mnist"}
    config = {"schema_version": 1, "settings": settings, "model": model, "data": data}
    config |= {"id": "0", "versions": {}, "device": {}, "continued": []}
    (run / "config.json").write_text(json.dumps(config))
    assert not imported("compare", cwd=tmp_path) & HEAVY


@pytest.mark.parametrize("arguments", [("trian",), ("train",), ("train", "simple", "--bogus"), ("eval", "a", "b")])
def test_refusals_of_the_parser_look_like_all_others(arguments, tmp_path):
    assert_refused(nf(*arguments, cwd=tmp_path), 2)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")])
def test_too_little_memory_is_no_fault_of_nf(error):
    told = _told(error, ["train"])
    assert (told.message, told.exit_code) == ("there is not enough memory", 1)
    assert "--accumulate" in str(told.hint)
    assert _told(error, ["eval"]).hint == "a smaller --batch-size takes less"
    assert _told(error, ["sample"]).hint is None


def test_where_an_error_came_from_is_shown_before_what_it_is(tmp_path):
    done = nf("sample", "nothere", cwd=tmp_path, NF_DEBUG="1")
    assert done.code == 3
    assert done.err.startswith("Traceback")
    assert [line.partition(":")[0] for line in done.err.splitlines()[-2:]] == ["error", "hint"]
