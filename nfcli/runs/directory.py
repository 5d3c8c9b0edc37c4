"""A run directory: `runs/<name>/` with config.json, metrics.jsonl, checkpoints/, results.json and figures/."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Annotated, Any, ClassVar

from nfcli.config import renamed
from nfcli.errors import NFError, RunError
from nfcli.files import STAGING, parse_json, read_json, read_text, remove_tree, write_json, write_text, writing
from nfcli.runs.schema import Check, Count, Flag, Fraction, Index, Number, Object, Shape, Text, check_fields, is_whole


def _is_history(value: Any) -> bool:
    try:
        return all(isinstance(entry[name], dict) for entry in value for name in ("versions", "device"))
    except (TypeError, KeyError):
        return False


def _are_labels(value: Any) -> bool:
    return isinstance(value, list) and all(is_whole(label, 0) for label in value)


def _are_words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(word, str) for word in value)


CONFIG = {
    "id": Text,
    "settings.epochs": Count,
    "settings.batch_size": Count,
    "settings.dataset": Text,
    "model.preset": Text,
    "model.smoke": Flag,
    "model.shape": Shape,
    "model.levels": Annotated[int, Check("a whole number of 2 or more", lambda value: is_whole(value, 2))],
    "model.alpha": Fraction,
    "model.parameters": Count,
    "data.name": Text,
    "data.source": Text,
    "data.fingerprint": Text,
    "data.train_images": Count,
    "data.val_images": Count,
    "versions": Object,
    "device": Object,
    "continued": Annotated[list[Any], Check("a list of versions and devices", _is_history)],
    "model.classes": Index,
    "data.unused_labels": Annotated[list[int], Check("a list of labels", _are_labels)],
    "data.label_names": Annotated[list[str], Check("a list of words", _are_words)],
}

CURVES = {"train_bpd": Number | None, "val_bpd": Number | None}
"""Columns of metrics.jsonl that are drawn; training itself looks at none of them again."""


@dataclass(frozen=True)
class RunDir:
    """One run on disk; the folder need not exist yet.

    Attributes:
        path: The folder.
        pretrained: Whether it came with the package, and so is never written to.
    """

    pretrained: ClassVar[bool] = False
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
        """Whether a run was started here; not where its name is too long for the file system, for example."""
        return os.path.isfile(self.path / "config.json")  # noqa: PTH113, since Path.is_file raises then

    def config(self) -> dict[str, Any]:
        """The effective configuration that training wrote.

        Raises:
            RunError: It is missing or damaged.
        """
        path = self.path / "config.json"
        content = read_json(path, kind="run file")
        if isinstance(content.get("model"), dict):
            content["model"].setdefault("classes", 0)  # as it was before there were class-conditional models
        if isinstance(content.get("data"), dict):
            for name in ("unused_labels", "label_names"):  # earlier runs do not say which; most have none
                content["data"].setdefault(name, [])
        try:
            check_fields(content, CONFIG)
            if content["model"]["classes"] and not known_labels(content):
                raise ValueError("data.unused_labels leaves none")
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

    def metrics(self, columns: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line that a kill cut off is left out.

        Args:
            columns: What the caller looks at besides `epoch` and `step`, where a row has it.

        Raises:
            RunError: Another line is damaged.
        """
        path, rows = self.path / "metrics.jsonl", []
        lines = read_text(path, kind="metrics file").splitlines(keepends=True) if path.exists() else []
        for number, line in enumerate(lines, 1):
            try:
                row = parse_json(line)
                looked_at = {name: kind for name, kind in (columns or {}).items() if name in row}
                check_fields(row, {"epoch": Count, "step": Index, **looked_at})
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
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(_row(row))
            file.flush()
            os.fsync(file.fileno())

    def sweep(self) -> None:
        """Remove what a killed process left half-written. Call with the lock held."""
        # Not those of results.json: an evaluation may be writing it just now.
        mine = [path for path in self.path.glob(".*.tmp") if not path.name.startswith(".results.json")]
        for path in (*mine, *self.checkpoints.glob(f"{STAGING}*")):
            remove_tree(path) if path.is_dir() else path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run for writing; readers need no lock.

        Raises:
            RunError: Another process is training here.
            WriteError: The folder cannot be written.
        """
        import fcntl

        path = self.path / ".lock"
        with _opened(path, self.path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise RunError(
                    f"run '{self.name}' is being trained by another process",
                    hint="wait for it, or train under another --name",
                ) from None
            except OSError as error:
                raise NFError(
                    f"cannot lock {path}: {error.strerror or error}",
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
        with _opened(path, path) as file:
            # Without locks on this file system the worst is that one of two simultaneous measurements is lost.
            with contextlib.suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def known_labels(config: dict[str, Any]) -> list[int]:
    """Labels that some training image has, ascending, by the config.json of a class-conditional run; else none."""
    return sorted({*range(config["model"]["classes"])}.difference(config["data"]["unused_labels"]))


def _opened(lock: Path, named: Path) -> IO[str]:
    """A file to lock, made where there is none; `named` is what an error is about."""
    with writing(named):
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("a+")


def _row(row: dict[str, Any]) -> str:
    return json.dumps(row, allow_nan=False) + "\n"
