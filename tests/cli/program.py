"""`nf` as a user runs it: another process, its stdout and stderr apart."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.cli import forks

ROOT = Path(__file__).resolve().parents[2]

NF = (sys.executable, "-P", str(ROOT / "tests/cli/small.py"))

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
    if ships is None and not changes:
        return Done(*forks.run([*map(str, arguments)], cwd, timeout, environment()))
    if ships is not None:
        changes = {"PYTHONPATH": str(ROOT), **changes}
    done = subprocess.run(
        [*(NF if ships is None else shipping(ships)), *map(str, arguments)],
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    return Done(done.returncode, done.stdout, done.stderr)


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
