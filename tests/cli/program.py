"""`nf` as a user runs it: another process, its stdout and stderr apart."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.forks import ROOT, Command, Fork

NF = (sys.executable, "-P", str(ROOT / "tests/cli/small.py"))

READ_LATE = {"NF_DATA_DIR", "NF_RUNS_DIR", "NF_DATASET", "NF_DEVICES", "NF_ONEDNN", "NF_MATRIX_UNITS"}
READ_LATE |= {"FORCE_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"}
"""Of the environment, what nobody reads while modules are imported, as Python and jax do with others."""

ESCAPE = re.compile(r"\x1b")


@dataclass(frozen=True)
class Done:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """The one JSON object that stdout must be."""
        content = json.loads(self.out)
        assert isinstance(content, dict)
        return content


def environment(**changes):
    """The environment of a command: this process's, on one device, and changed; None removes a variable."""
    settings = {**os.environ, "JAX_NUM_CPU_DEVICES": "1", "COLUMNS": "80", **changes}
    return {name: value for name, value in settings.items() if value is not None}


def shipping(folder: Path) -> tuple[str, ...]:
    """`nf` with which the runs in a folder ship, and no others."""
    return sys.executable, "-m", "tests.cli.shipping", str(folder)


def nf(*arguments, cwd: Path, timeout=120, ships: Path | None = None, **changes) -> Done:
    """Run `nf`, whatever comes of it; `ships` is a folder of runs that ship with it, instead of its own."""
    words = [*map(str, arguments)]
    if not changes.keys() <= READ_LATE:
        settings = {"cwd": cwd, "env": environment(**changes), "timeout": timeout, "stdin": subprocess.DEVNULL}
        done = subprocess.run([*NF, *words], capture_output=True, text=True, **settings)
        return Done(done.returncode, done.stdout, done.stderr)
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        process = Fork(Command(words, cwd, environment(**changes), out, err, ships=ships))
        try:
            return Done(process.wait(timeout), out.read_text(), err.read_text())
        finally:
            process.kill()


def succeeds(*arguments, cwd: Path, **changes) -> Done:
    """Run `nf`; it must end well, without a traceback or a warning."""
    done = nf(*arguments, cwd=cwd, **changes)
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert "Warning" not in done.err
    return done


def assert_refused(done: Done, code: int, *, warnings=0) -> None:
    """The command ended with this code, one `error:` line, at most one `hint:` line and nothing on stdout."""
    assert done.code == code, (done.out, done.err)
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "error: unexpected " not in done.err
    lines = done.err.splitlines()
    assert [line for line in lines if line.startswith("error: ")], done.err
    kinds = [line.split(": ")[0] for line in lines if not line.startswith("warning: ")]
    assert kinds in (["error"], ["error", "hint"]), done.err
    assert len(lines) - len(kinds) <= warnings, done.err
    assert not ESCAPE.search(done.err)


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every path below a folder with what is in it, to see that nothing was written or lost."""
    paths = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in paths}
