"""A run directory: `runs/<name>/` with config.json, metrics.jsonl, checkpoints/, results.json and figures/."""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.errors import RunError, UsageError
from nfcli.runs.files import read_json, write_error, write_json, write_text

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,99}")


@dataclass(frozen=True)
class RunDir:
    """One run on disk; the folder need not exist yet."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / "config.json").is_file()

    def config(self) -> dict[str, Any]:
        """The effective configuration that training wrote.

        Raises:
            RunError: It is missing or damaged.
        """
        return read_json(self.path / "config.json", kind="run file")

    def write_config(self, content: dict[str, Any]) -> None:
        """Write config.json."""
        write_json(self.path / "config.json", content)

    def results(self) -> dict[str, Any] | None:
        """What `nf eval` measured, None before the first evaluation.

        Raises:
            RunError: It is damaged.
        """
        path = self.path / "results.json"
        return read_json(path, kind="results file") if path.exists() else None

    def write_results(self, content: dict[str, Any]) -> None:
        """Write results.json."""
        write_json(self.path / "results.json", content)

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line that a kill cut off is left out.

        Raises:
            RunError: Another line is damaged.
        """
        try:
            lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
        except FileNotFoundError:
            return []
        rows = []
        for number, line in enumerate(lines, 1):
            try:
                rows.append(dict(json.loads(line)))
            except (ValueError, TypeError) as error:
                if number == len(lines) and not line.endswith("\n"):
                    break
                raise RunError(f"line {number} of {self.path / 'metrics.jsonl'} is damaged: {error}") from error
        return rows

    def write_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Replace metrics.jsonl."""
        write_text(self.path / "metrics.jsonl", "".join(_row(row) for row in rows))

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add one row to metrics.jsonl.

        Raises:
            WriteError: The disk is full, or the file cannot be written.
        """
        path = self.path / "metrics.jsonl"
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write(_row(row))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(path, error) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing; readers need no lock.

        Raises:
            RunError: Another process is training here.
            WriteError: The folder cannot be written.
        """
        import fcntl

        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = (self.path / ".lock").open("a+")
        except OSError as error:
            raise write_error(self.path, error) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise RunError(
                    f"run '{self.name}' is being trained by another process",
                    hint="wait for it, or train under another --name",
                ) from None
            yield


def run_named(name: str, runs_dir: Path) -> RunDir:
    """The run directory of a name, whether it exists or not.

    Args:
        name: A plain name, or the path of a folder directly inside `runs_dir` (as shells complete it).
        runs_dir: Where runs live.

    Raises:
        UsageError: The name is not plain, or the folder leaves `runs_dir`.
    """
    path = Path(name.rstrip("/"))
    if path.parent != Path() and path.parent.resolve() == runs_dir.resolve():
        name = path.name
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no run name",
            hint=f"use letters, digits and . _ + = - (runs are folders of {runs_dir}; --runs-dir names another place)",
        )
    run = runs_dir / name
    if run.is_symlink() and run.resolve().parent != runs_dir.resolve():
        raise UsageError(f"run '{name}' is a link that leaves {runs_dir}", hint="use --runs-dir with its real place")
    return RunDir(run)


def find_run(name: str | None, runs_dir: Path) -> RunDir:
    """An existing run: the one named, or the one trained last.

    Raises:
        RunError: There is none.
        UsageError: The name is not plain.
    """
    if name is not None:
        run = run_named(name, runs_dir)
        if not run.exists():
            names = ", ".join(known.name for known in list_runs(runs_dir)) or "none yet"
            raise RunError(f"there is no run '{name}' in {runs_dir}", hint=f"runs there: {names}")
        return run
    runs = list_runs(runs_dir)
    if not runs:
        raise RunError(f"there is no run in {runs_dir}", hint="train one first, for example: nf train simple --smoke")
    return max(runs, key=_last_trained)


def list_runs(runs_dir: Path) -> list[RunDir]:
    """All runs, by name."""
    if not runs_dir.is_dir():
        return []
    runs = [RunDir(path) for path in sorted(runs_dir.iterdir()) if path.is_dir() and NAME.fullmatch(path.name)]
    return [run for run in runs if run.exists()]


def _last_trained(run: RunDir) -> tuple[int, str]:
    # Training writes these two and nothing else does, so an evaluation does not make a run the latest.
    times = [
        path.stat().st_mtime_ns for path in (run.path / "metrics.jsonl", run.path / "config.json") if path.exists()
    ]
    return max(times), run.name


def _row(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
