"""SIGINT and SIGTERM at any moment: one line and the exit code of the signal, whatever they fall into."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.program import NF, ROOT

# An exception in a callback of compiled code, such as one of the garbage collector, is lost or crashes.
COLLECTING = """
import gc, signal, time
from nfcli.process.signals import listen
listen()
gc.callbacks.append(lambda *_: signal.raise_signal(signal.SIGINT))
gc.collect()
time.sleep(1)
print("went on")
"""

# Compiled code that is not back for an hour.
COMPUTING = """
import hashlib, os, signal, threading
from nfcli.process.signals import listen
listen()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
hashlib.pbkdf2_hmac("sha256", b"", b"", 2**31 - 1)
"""

STOPPING = """
import signal, time
from nfcli.process import signals
signals.listen()
with signals.StopRequest(lambda: print("stopping", flush=True)) as stop:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.raise_signal(number)  # a wrapper passes on what the terminal has sent already
    time.sleep(signals.ONE_WISH + 0.1)
    print(stop.signum, flush=True)
    signal.raise_signal(signal.SIGTERM)
    time.sleep(60)
"""

WRITING = """
import signal, sys, time
from pathlib import Path
from nfcli.process import signals
signals.listen()
file, folder = Path(sys.argv[1], "file"), Path(sys.argv[1], "folder")
with signals.unfinished(file), signals.unfinished(folder):
    folder.mkdir()
    for path in (file, folder / "picture.png"):
        path.touch()
    signal.raise_signal(signal.SIGTERM)
    time.sleep(60)
"""

# Python is on its way out for a while after the last line of a program.
DONE = """
import signal
from nfcli.process.signals import listen
listen()
class Late:
    def __del__(self, interrupt=signal.raise_signal, number=signal.SIGINT):
        interrupt(number)
late = Late()
"""


def run(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("code", [COLLECTING, COMPUTING], ids=["collecting garbage", "computing"])
def test_an_interrupt_is_one_line_and_never_lost(code: str) -> None:
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_what_the_parent_ignores_stays_ignored() -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert run(ignoring + COLLECTING).stdout == "went on\n"


def test_the_second_signal_ends_a_process_that_is_stopping() -> None:
    done = run(STOPPING)
    assert (done.returncode, done.stdout, done.stderr) == (143, "stopping\n2\n", "error: terminated\n")


def test_what_is_half_written_goes(tmp_path: Path) -> None:
    assert run(WRITING, tmp_path).returncode == 143
    assert not list(tmp_path.iterdir())


def test_what_is_done_stays_done() -> None:
    assert run(DONE).returncode == 0


def listens(pid: int) -> bool:
    """Whether a process catches SIGTERM, which Python by itself does not."""
    (mask,) = re.findall(r"SigCgt:\t(\w+)", Path(f"/proc/{pid}/status").read_text())
    return bool(int(mask, 16) & 1 << signal.SIGTERM - 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc")
@pytest.mark.parametrize(
    ("command", "seconds"),
    [("train", 0.0), ("sample", 0.2), ("inspect-dequant", 0.5), ("interpolate", 1), ("eval", 2), ("sample", 4)],
)
def test_every_command_ends_at_once_with_nothing_compiled(command: str, seconds: float, tmp_path: Path) -> None:
    """While modules are imported, weights loaded and programs compiled."""
    around = {**os.environ, "NF_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}
    arguments = [command, "multiscale" if command == "train" else "pretrained:multiscale"]
    process = subprocess.Popen([*NF, *arguments], cwd=tmp_path, env=around, stderr=subprocess.PIPE, text=True)
    try:
        start = time.monotonic()
        while not listens(process.pid):
            assert time.monotonic() < start + 20
            time.sleep(0.001)
        time.sleep(seconds)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=2)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, said.splitlines()[-1:]) == (130, ["error: interrupted"])
    assert "Traceback" not in said
    assert said.count("error") == 1
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".tmp", ".part")]
