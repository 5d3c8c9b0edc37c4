"""Completion in the shells themselves, from the files of `completions/`."""

from __future__ import annotations

import os
import resource
import shlex
import shutil
import subprocess
import sys

import pytest
from tabulate import tabulate_formats

from nfcli.config import SCHEDULES
from nfcli.limits import SPLITS
from tests.cli.make_completions import FILES, FOLDER, script
from tests.cli.program import ROOT, environment, shipping
from tests.cli.terminal import Terminal

CASES = (
    ("nf tr", "nf train"),
    ("nf train mul", "nf train multiscale"),
    ("nf eval --imp", "nf eval --importance-samples"),
    ("nf eval a-r", "nf eval a-run-of-mine"),
    ("nf eval --runs-dir elsewhere an", "nf eval --runs-dir elsewhere another"),
    ("nf sample pre", "nf sample pretrained:multiscale"),
    ("nf sample pretrained:", "nf sample pretrained:multiscale"),
    ("nf sample pretrained:mu", "nf sample pretrained:multiscale"),
    ("nf compare pretrained:multiscale a-r", "nf compare pretrained:multiscale a-run-of-mine"),
    ("nf compare pretrained:multiscale pretrained:m", "nf compare pretrained:multiscale pretrained:multiscale"),
    ("nf train simple --schedule c", "nf train simple --schedule cosine"),
    ("nf eval --split val,te", "nf eval --split val,test"),
)

SHELLS = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], f"source '{FOLDER}/nf.bash'"),
    "zsh": (["zsh", "-f", "-i"], f"fpath=('{FOLDER}' $fpath); autoload -Uz compinit; compinit -D -u"),
}


@pytest.fixture
def folder(tmp_path):
    """A working directory with a run in `runs/` and another one in `elsewhere/`."""
    for run in ("runs/a-run-of-mine", "elsewhere/another"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.json").write_text("{}")
    return tmp_path


@pytest.fixture(scope="module")
def path_with_nf(tmp_path_factory):
    """A PATH whose first `nf` is this Python's; a run `pretrained:multiscale` ships with it."""
    programs, ships = tmp_path_factory.mktemp("bin"), tmp_path_factory.mktemp("ships")
    (ships / "multiscale").mkdir()
    (ships / "multiscale/config.json").write_text("{}")
    words = shlex.join(shipping(ships))
    (programs / "nf").write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec {words} "$@"\n')
    (programs / "nf").chmod(0o755)
    return f"{programs}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.parametrize("shell", FILES)
def test_files_are_what_the_program_prints(shell):
    text = (FOLDER / FILES[shell]).read_text()
    assert text == script(shell), "run: python -m tests.cli.make_completions"


def test_zsh_finds_its_declaration_on_the_first_line():
    assert (FOLDER / "_nf").read_text().splitlines()[0] == "#compdef nf"


@pytest.mark.parametrize(("typed", "completed"), CASES)
@pytest.mark.parametrize("shell", SHELLS)
def test_first_tab_completes(shell, typed, completed, folder, path_with_nf):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    command, preparation = SHELLS[shell]
    settings = environment(PATH=path_with_nf, TERM="dumb", HOME=str(folder), HISTFILE="")
    with Terminal(command, folder, settings) as terminal:
        terminal.type(preparation + "; PS1='REA''DY> '\n")
        assert terminal.wait_for("READY> "), terminal.plain
        terminal.type(typed + "\t")
        assert terminal.wait_for(completed), terminal.plain
        terminal.type("\x15exit\n")


@pytest.mark.parametrize(("typed", "completed"), CASES)
def test_fish_completes(typed, completed, folder, path_with_nf):
    if shutil.which("fish") is None:
        pytest.skip("fish is not installed")
    asked = f"source '{FOLDER}/nf.fish'; complete -C'{typed}'"
    settings = environment(PATH=path_with_nf, HOME=str(folder))
    done = subprocess.run(
        ["fish", "--no-config", "-c", asked], cwd=folder, env=settings, capture_output=True, text=True, check=True
    )
    assert [line.split("\t")[0] for line in done.stdout.splitlines()] == [completed.split()[-1]]


def ask(words, cwd, *flags):
    settings = environment(_NF_COMPLETE="complete_bash", COMP_WORDS="\n".join(words), COMP_CWORD=str(len(words) - 1))
    return subprocess.run(
        [sys.executable, *flags, "-m", "nfcli"], cwd=cwd, env=settings, capture_output=True, text=True
    )


@pytest.mark.parametrize(
    ("words", "choices"),
    [
        (("train", "simple", "--schedule", ""), SCHEDULES),
        (("train", "--network-dtype", "b"), ("bfloat16",)),
        (("train", "--network-dtype", "=", "b"), ("bfloat16",)),  # as bash has --network-dtype=b
        (("train", "simple", "--schedule", "="), SCHEDULES),
        (("eval", "--split", "val,"), ("val,train", "val,test")),
        (("interpolate", "a", "--split", ""), SPLITS),
        (("compare", "--format", ""), sorted({*tabulate_formats, "csv"})),
    ],
    ids=" ".join,
)
def test_an_option_with_choices_completes_to_them(words, choices, folder):
    assert ask(("nf", *words), folder).stdout.splitlines() == list(choices)


@pytest.mark.parametrize("words", [("nf", "tr"), ("nf", "train", "m"), ("nf", "eval", "a"), ("nf", "eval", "--imp")])
def test_no_array_library_is_imported(words, folder):
    done = ask(words, folder, "-X", "importtime")
    assert done.stdout.strip()
    modules = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert "nfcli.cli.app" in modules
    assert not modules & {"jax", "numpy", "flax", "orbax"}


def test_an_answer_takes_under_a_third_of_a_second(folder):
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert ask(("nf", "eval", "a"), folder).stdout.strip() == "a-run-of-mine"
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    assert min(times) < 0.3


@pytest.mark.parametrize("runs_dir", ["missing", "runs/a-run-of-mine/config.json", "", "/proc/1/fd"])
def test_silent_where_no_runs_can_be_listed(runs_dir, folder, monkeypatch):
    monkeypatch.setenv("NF_RUNS_DIR", runs_dir)
    done = ask(("nf", "eval", "zzz"), folder)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")
