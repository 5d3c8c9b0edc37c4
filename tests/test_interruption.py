"""An interrupt before there is anything to save: one line, exit code 130, whatever it falls into."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

# Interrupts the import of a module, as often as it is tried.
IMPORTING = """
import sys, signal
class Interrupting:
    def find_spec(self, name, path, target=None):
        if name == {name!r}:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupting())
sys.argv = ["nf", "train", "simple"]
from nfcli.__main__ import main
main()
"""

# jax has callbacks of the garbage collector; an exception raised there goes nowhere.
COLLECTING = """
import gc, signal
from nfcli.interruption import listen
listen()
gc.callbacks.append(lambda *_: signal.raise_signal(signal.SIGINT))
gc.collect()
print("went on")
"""

# Compiled modules make an ImportError of what is raised while they are imported.
TURNED = """
import signal
from nfcli.cli import app
from nfcli.interruption import listen
listen()
def turned(_):
    try:
        signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error
app.mend_words = lambda _: None
app.app = lambda **_: turned(None)
app.main()
"""

SWALLOWED = """
import contextlib, signal
from nfcli.interruption import listen, report
from nfcli.training.signals import StopRequest
listen()
with contextlib.suppress(KeyboardInterrupt):
    signal.raise_signal(signal.SIGINT)
try:
    with StopRequest():
        print("went on")
except KeyboardInterrupt:
    raise SystemExit(report())
"""


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "code",
    [IMPORTING.format(name="typer"), IMPORTING.format(name="jax"), COLLECTING, TURNED, SWALLOWED],
    ids=["importing", "importing jax", "collecting garbage", "turned", "swallowed"],
)
def test_an_interrupt_is_one_line_and_never_lost(code):
    done = run(code)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "error: interrupted\n")


def test_what_the_parent_ignores_stays_ignored():
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
    assert "went on" in run(ignoring + COLLECTING).stdout


def test_another_interrupt_ends_a_process_that_is_leaving():
    leaving = "from nfcli.interruption import listen, report; import signal; listen(); report()"
    done = run(f"{leaving}; signal.raise_signal(signal.SIGINT); print('went on')")
    assert (done.returncode, done.stdout) == (-signal.SIGINT, "")
