"""A run directory: `runs/<name>/` with config.json, metrics.jsonl, checkpoints/, results.json and figures/."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.config import renamed
from nfcli.errors import NFError, RunError
from nfcli.files import STAGING, parse_json, read_json, read_text, remove_tree, write_error, write_json, write_text
from nfcli.runs.schema import (
    COUNT,
    FLAG,
    FRACTION,
    INDEX,
    NUMBER,
    OBJECT,
    SHAPE,
    TEXT,
    Check,
    check_fields,
    optional,
)

CONFIG: dict[str, Check] = {
    "id": TEXT,
    "settings.epochs": COUNT,
    "settings.batch_size": COUNT,
    "settings.dataset": TEXT,
    "model.preset": TEXT,
    "model.smoke": FLAG,
    "model.shape": SHAPE,
    "model.levels": ("a whole number of 2 or more", lambda value: COUNT[1](value) and value >= 2),
    "model.alpha": FRACTION,
    "model.parameters": COUNT,
    "data.name": TEXT,
    "data.source": TEXT,
    "data.fingerprint": TEXT,
    "data.train_images": COUNT,
    "data.val_images": COUNT,
    "versions": OBJECT,
    "device": OBJECT,
    "continued": ("a list of versions and devices", lambda value: _is_history(value)),
}

CURVES: dict[str, Check] = {"train_bpd": optional(NUMBER), "val_bpd": optional(NUMBER)}
"""Columns of metrics.jsonl that are drawn; training itself looks at none of them again."""


def _is_history(value: Any) -> bool:
    try:
        return all(isinstance(entry[name], dict) for entry in value for name in ("versions", "device"))
    except (TypeError, KeyError):
        return False


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

    @property
    def pretrained(self) -> bool:
        """Whether it came with the package, and so is never written to."""
        return False

    def exists(self) -> bool:
        """Whether a run was started here."""
        try:
            return (self.path / "config.json").is_file()
        except OSError:  # a name that is too long for the file system, for example
            return False

    def config(self) -> dict[str, Any]:
        """The effective configuration that training wrote.

        Raises:
            RunError: It is missing or damaged.
        """
        path = self.path / "config.json"
        content = read_json(path, kind="run file")
        try:
            check_fields(content, CONFIG)
            # Runs of the time before class-conditional models have none.
            check_fields({"classes": content["model"].get("classes", 0)}, {"classes": INDEX})
        except ValueError as error:
            raise RunError(
                f"run file {path} is damaged: {error}",
                hint="it was changed by hand, or written by another version of nf",
            ) from error
        return {**content, "settings": renamed(content["settings"])}

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

    def metrics(self, columns: Mapping[str, Check] | None = None) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line that a kill cut off is left out.

        Args:
            columns: What the caller looks at besides `epoch` and `step`, where a row has it.

        Raises:
            RunError: Another line is damaged.
        """
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        rows = []
        lines = read_text(path, kind="metrics file").splitlines(keepends=True)
        for number, line in enumerate(lines, 1):
            try:
                row = parse_json(line)
                looked_at = {name: check for name, check in (columns or {}).items() if name in row}
                check_fields(row, {"epoch": COUNT, "step": INDEX, **looked_at})
                rows.append(row)
            except ValueError as error:
                if number == len(lines) and not line.endswith("\n"):
                    break
                raise RunError(
                    f"line {number} of {path} is damaged: {error}", hint="it was changed by hand; delete that line"
                ) from error
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

    def sweep(self) -> None:
        """Remove what a killed process left half-written. Call with the lock held."""
        # Not those of results.json: an evaluation may be writing it just now.
        mine = [path for path in self.path.glob(".*.tmp") if not path.name.startswith(".results.json")]
        leftovers = [*mine, *self.checkpoints.glob(f"{STAGING}*")]
        for path in leftovers:
            remove_tree(path) if path.is_dir() else path.unlink(missing_ok=True)

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
            except BlockingIOError:
                raise RunError(
                    f"run '{self.name}' is being trained by another process",
                    hint="wait for it, or train under another --name",
                ) from None
            except OSError as error:
                raise NFError(
                    f"cannot lock {self.path / '.lock'}: {error.strerror or error}",
                    hint="the file system must know locks (flock); --runs-dir names another place",
                ) from error
            yield

    @contextlib.contextmanager
    def results_lock(self) -> Iterator[None]:
        """Wait for, and hold, the right to change results.json, which has nothing to do with training.

        Raises:
            WriteError: The folder cannot be written.
        """
        import fcntl

        path = self.path / ".results.lock"
        try:
            file = path.open("a+")
        except OSError as error:
            raise write_error(path, error) from error
        with file:
            # Without locks on this file system the worst is that one of two simultaneous measurements is lost.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _row(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
