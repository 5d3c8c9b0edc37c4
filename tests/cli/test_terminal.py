"""What reaches a terminal of 80 columns, a pipe, and a pipe whose reader has gone."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest

from nfcli.cli.console import Console, CountProgress
from tests.cli.conftest import SETTINGS
from tests.cli.program import ESCAPE, NF, environment, nf, succeeds
from tests.cli.terminal import CONTROL, TerminalOfNF

COLOUR = b"\x1b[3"


def longest_line(plain: str) -> int:
    """Columns that the longest line needs, each drawing of a live line counted by itself."""
    return max(len(piece.rstrip()) for line in plain.split("\n") for piece in line.split("\r"))


def test_training_on_a_terminal_has_a_live_line_and_ends_tidily(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    command = ["train", "simple", *SETTINGS, "--epochs", "3", "--eval-every", "2", "--name", "live"]
    with TerminalOfNF(command, home, environment(TERM="xterm-256color")) as terminal:
        assert terminal.finish() == 0
        written, plain = terminal.written, terminal.plain
    assert "compiling" in plain
    assert "epoch 3/3" in plain
    assert "epoch 2/3  train" in plain  # validated, so it keeps a line of its own
    assert longest_line(plain) <= 80
    assert written.rindex(b"\x1b[?25h") > written.rindex(b"\x1b[?25l")  # the cursor is shown again
    assert plain.rstrip().splitlines()[-1].startswith("hint: ")


def test_a_terminal_is_told_what_it_waits_for(workshop, tmp_path):
    command = ["sample", "simple", "--output", tmp_path / "drawn.png"]
    with TerminalOfNF(command, workshop.path, environment(TERM="xterm-256color")) as terminal:
        assert terminal.finish() == 0
        assert "drawing" in terminal.plain
        assert "drawn.png" in terminal.plain.rpartition("drawing")[2]
        assert terminal.written.rindex(b"\x1b[?25h") > terminal.written.rindex(b"\x1b[?25l")


def test_no_color_draws_without_colours_and_interrupting_saves(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    command = ["train", "simple", *SETTINGS, "--epochs", "2000", "--eval-every", "1000", "--name", "plain"]
    with TerminalOfNF(command, home, environment(TERM="xterm-256color", NO_COLOR="1")) as terminal:
        assert terminal.wait_for(" left", 60), terminal.plain
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.finish() == 130
        assert COLOUR not in terminal.written
        assert "stopping after this step" in terminal.plain
        assert "error: stopped after step" in terminal.plain
        assert "Traceback" not in terminal.plain
    assert list((home / "runs/plain/checkpoints").iterdir())


def test_a_terminal_that_is_closed_ends_a_training_after_saving(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    command = ["train", "simple", *SETTINGS, "--epochs", "2000", "--eval-every", "1000", "--name", "closed"]
    terminal = TerminalOfNF(command, home, environment(TERM="xterm-256color"))
    assert terminal.wait_for(" left", 60), terminal.plain
    os.close(terminal.leader)
    os.kill(terminal.pid, signal.SIGHUP)  # as the system does with a terminal that controls a session
    assert terminal.wait() == 129
    os.close(terminal.follower)
    assert list((home / "runs/closed/checkpoints").iterdir())


def test_interrupting_before_the_first_step_leaves_the_terminal_tidy(workshop, tmp_path):
    # A learning rate of its own: no program of it is in the cache.
    command = ["train", "simple", *SETTINGS, "--learning-rate", "0.00013", "--runs-dir", tmp_path]
    with TerminalOfNF(command, workshop.path, environment(TERM="xterm-256color")) as terminal:
        assert terminal.wait_for("compiling", 60), terminal.plain
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.finish(5) == 130
        assert terminal.plain.splitlines()[-1] == "error: interrupted"
        assert terminal.written.rindex(b"\x1b[?25h") > terminal.written.rindex(b"\x1b[?25l")


def test_dumb_terminal_gets_plain_lines(workshop, tmp_path):
    home = workshop.copy(tmp_path / "copy")
    command = ["train", "simple", *SETTINGS, "--epochs", "1", "--name", "simple"]
    with TerminalOfNF(command, home, environment(TERM="dumb")) as terminal:
        assert terminal.finish() == 0
        assert not CONTROL.search(terminal.written)
        assert longest_line(terminal.plain) <= 80


def test_sentences_end_between_words(workshop):
    command = ["compare", "nobody", "--runs-dir", "runs/" + "deeper/" * 8]
    with TerminalOfNF(command, workshop.path, environment(TERM="xterm-256color")) as terminal:
        assert terminal.finish() == 3
        lines = [line.strip() for line in terminal.plain.splitlines() if line.strip()]
    assert longest_line(terminal.plain) <= 80
    assert len(lines) > 2
    assert " ".join(lines) == " ".join(nf(*command, cwd=workshop.path).err.split())


def test_how_long_a_measurement_will_take(monkeypatch):
    progress, said = CountProgress(Console()), []
    monkeypatch.setattr(progress, "show", lambda name, **fields: said.append(fields["news"]))
    for seconds, done in ((0, 0), (50, 10), (60, 20), (70, 30)):  # the first ones take long: they are compiled
        monkeypatch.setattr("nfcli.cli.console.time.monotonic", lambda seconds=seconds: seconds)
        progress("test", done, 1000)
    assert said == [
        "0/1,000 images",
        "10/1,000 images",
        "20/1,000 images  16 min 20 s left",
        "30/1,000 images  16 min 10 s left",
    ]


@pytest.mark.parametrize("forced", ["FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"])
def test_a_pipe_never_sees_escape_sequences(forced, measured):
    arguments = ("train", "simple", *SETTINGS, "--epochs", "1", "--name", "simple")
    for words in (arguments, ("compare",), ("train", "--help"), ("eval", "nothere"), ()):
        done = nf(*words, cwd=measured.path, **{forced: "1"})
        assert not ESCAPE.search(done.out + done.err)


@pytest.mark.parametrize("arguments", ["compare", "compare --format nonsense", "--help", "compare --json"])
def test_a_reader_that_left_is_no_error(arguments, measured):
    line = f"{{ {' '.join(NF)} {arguments}; echo $? > code; }} | true"
    done = subprocess.run(line, shell=True, cwd=measured.path, env=environment(), capture_output=True, text=True)
    assert (measured.path / "code").read_text() == ("2\n" if "nonsense" in arguments else "141\n")
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr


@pytest.mark.parametrize("stream", [1, 2])
def test_a_closed_stream_gives_no_traceback(stream, measured):
    line = f"{' '.join(NF)} compare {stream}>&-"
    done = subprocess.run(line, shell=True, cwd=measured.path, env=environment(), capture_output=True, text=True)
    assert done.returncode in (0, 1)
    assert "Traceback" not in done.stderr
    if stream == 1:
        assert (done.returncode, done.stderr) == (1, "error: cannot write the result to stdout: it is closed\n")


def test_without_stderr_all_works_and_stdout_has_results_alone(measured, tmp_path):
    home = measured.copy(tmp_path / "copy")

    def told(words):
        line = f"{' '.join(NF)} {words}"
        return subprocess.run(line, shell=True, cwd=home, env=environment(), capture_output=True, text=True)

    assert json.loads(told("train --config runs/simple/config.json --json 2> /dev/full").stdout)["finished"]
    assert json.loads(told("eval simple -k 1 --limit 2 --split test --batch-size 2 --json 2>&-").stdout)["recorded"]
    for stderr in ("2>&-", "2> /dev/full"):
        nothing = told(f"sample nothere {stderr}")
        assert (nothing.returncode, nothing.stdout) == (3, "")


def test_a_full_disk_behind_stdout_is_one_line(measured):
    line = f"{' '.join(NF)} compare > /dev/full"
    done = subprocess.run(line, shell=True, cwd=measured.path, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.startswith("error: ")
    assert "unexpected" not in done.stderr


def test_an_ascii_world_gets_its_output(measured):
    done = succeeds("compare", "--format", "fancy_grid", cwd=measured.path, LC_ALL="C")
    assert "simple" in done.out
