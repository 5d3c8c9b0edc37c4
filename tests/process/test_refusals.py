"""What is wrong with one process is said by both, before anything is written."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from nfcli.errors import UsageError
from nfcli.process import cluster
from nfcli.runs import RunDir
from tests.cli.program import NF, assert_refused, environment, nf
from tests.process.pairs import Pair, free_port, settings
from tests.survival.processes import Process

HERE = ("--coordinator", "127.0.0.1:9", "--num-processes", 2, "--process-id")


@pytest.mark.parametrize(
    "words",
    [
        ("--coordinator", "127.0.0.1:9"),
        ("--num-processes", 2),
        ("--distributed", "--process-id", 0),
        (*HERE, 2),
        (*HERE, -1),
        ("--coordinator", "127.0.0.1", "--num-processes", 2, "--process-id", 0),
        ("--coordinator", "host:port", "--num-processes", 2, "--process-id", 0),
        ("--coordinator", "127.0.0.1:9", "--num-processes", 0, "--process-id", 0),
        ("--distributed",),  # there is no cluster here
    ],
)
def test_options_that_make_no_cluster_are_refused(words, tmp_path):
    assert_refused(nf("train", "simple", *words, cwd=tmp_path), 2)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["0", "-1", "soon", "99999999999999999999"])
def test_seconds_that_cannot_be_are_refused(text, monkeypatch):
    monkeypatch.setenv("NF_LOST_SECONDS", text)
    with pytest.raises(UsageError, match=f"^NF_LOST_SECONDS={text} is not possible"):
        cluster._seconds("NF_LOST_SECONDS", cluster.LOST_SECONDS)


@dataclass(frozen=True)
class InVain:
    """Commands that wait for what does not come.

    Attributes:
        alone: Processes 0 and 1 of two, which do not look for each other at the same place.
        closed: Process 0 of two, a command whose stdout is closed.
        apart: Two that write to different folders.
        folder: Where they work.
    """

    alone: list[Process]
    closed: subprocess.Popen[str]
    apart: Pair
    folder: Path


@pytest.fixture(scope="module")
def in_vain(digits, tmp_path_factory):
    """All of them at the same time: there is nothing but waiting."""
    folder = tmp_path_factory.mktemp("in-vain")
    place = ("--num-processes", 2, "--runs-dir", folder / "runs", "--coordinator")
    alone = [
        Process("train", "simple", *place, f"127.0.0.1:{free_port()}", "--process-id", number, NF_JOIN_SECONDS="2")
        for number in (0, 1)
    ]
    where = f"--coordinator 127.0.0.1:{free_port()} --num-processes 2 --process-id 0"
    line, around = f"exec {' '.join(NF)} eval simple {where} >&-", environment(NF_JOIN_SECONDS="1")
    closed = subprocess.Popen(line, shell=True, cwd=folder, env=around, stderr=subprocess.PIPE, text=True)
    words = settings(digits, folder / "here")
    apart = Pair(*words, last=("--runs-dir", folder / "there"))
    try:
        yield InVain(alone, closed, apart, folder)
    finally:
        closed.kill()
        closed.wait()
        closed.stderr.close()
        apart.kill()
        for process in alone:
            process.process.kill()


def test_a_process_that_nobody_joins_gives_up(in_vain):
    for process in in_vain.alone:
        assert process.finish() == 1
        assert [line.split(": ")[0] for line in process.lines[-2:]] == ["error", "hint"]
        assert "did not find each other in 2 s" in process.lines[-2]
        assert not [line for line in process.lines if "Traceback" in line]
    assert not (in_vain.folder / "runs").exists()


def test_without_stdout_the_error_is_the_same(in_vain):
    _, said = in_vain.closed.communicate()
    assert in_vain.closed.returncode == 1
    told = said.splitlines()[-2:]
    assert [line.split(": ")[0] for line in told] == ["error", "hint"], said
    assert "did not find each other in 1 s" in told[0]


def both_refuse(pair, codes, error):
    assert pair.finish() == codes, (pair.first.lines, pair.second.lines)
    for process in (pair.first, pair.second):
        (line,) = [line for line in process.lines if line.startswith("error: ")]
        assert error in line
        assert not [line for line in process.lines if "Traceback" in line]


def test_other_settings_in_one_process_are_refused_by_both(digits, tmp_path):
    pair = Pair(*settings(digits, tmp_path / "runs"), last=("--seed", 1))
    both_refuse(pair, (2, 2), "process 1 was started with another seed: 1, not 42")
    assert not (tmp_path / "runs").exists()


def test_images_that_one_process_does_not_find_end_both(digits, tmp_path):
    pair = Pair(*settings(digits, tmp_path / "runs"), last=("--dataset", tmp_path / "none.npz"))
    both_refuse(pair, (3, 3), "none.npz does not exist")
    assert not (tmp_path / "runs").exists()


def test_a_run_that_is_being_trained_is_refused_by_both(digits, tmp_path):
    with RunDir(tmp_path / "run").lock():
        both_refuse(Pair(*settings(digits, tmp_path)), (3, 3), "run 'run' is being trained by another process")


def test_runs_that_the_processes_do_not_share_are_refused(in_vain):
    both_refuse(in_vain.apart, (2, 2), "is not the folder that the first process writes")


def test_a_batch_that_cannot_be_divided_is_refused(digits, tmp_path):
    pair = Pair(*settings(digits, tmp_path / "runs"), "--batch-size", 31)
    both_refuse(pair, (2, 2), "a batch of 31 cannot be divided over 2 processes")
