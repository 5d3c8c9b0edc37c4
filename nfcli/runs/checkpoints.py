"""Checkpoints: Orbax for the arrays, a manifest of sha256 sums around them, a rename that makes them appear at once.

    checkpoints/00000390/
        parameters/     Orbax: what the model needs
        training/       Orbax: optimizer, step, sums
        meta.json       where the run stood: step, epoch, best validation so far
        manifest.json   size and sha256 of every other file

The latest two are kept, the best by validation, and the latest that a diverged run can go back to. One that is
incomplete or damaged is never used. All processes of a run save together, into one folder that all of them see; the
first one does all else. What is saved does not depend on how many there were.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfcli.errors import CheckpointError, NFError, WriteError, one_line
from nfcli.files import STAGING, read_json, remove_tree, write_error, write_json
from nfcli.process import collectives
from nfcli.runs.arrays import load_tree, save_tree
from nfcli.runs.schema import COUNT, INDEX, NUMBER, OBJECT, POSITIVE, Check, check_fields, optional

KEEP_LATEST = 2
STEP = re.compile(r"[0-9]{8,}")

META: dict[str, Check] = {
    "step": INDEX,
    "steps_per_epoch": COUNT,
    "best_step": optional(INDEX),
    "best_val_bpd": optional(NUMBER),
    "best_val_stderr": optional(POSITIVE),
    "last_finite_step": optional(INDEX),
    "seconds": POSITIVE,
    "train_seconds": POSITIVE,
    "train_images": INDEX,
}


@dataclass(frozen=True)
class CheckpointMeta:
    """Where a run stood.

    Attributes:
        step: Steps done.
        steps_per_epoch: To tell epochs from steps.
        best_step: Step of the best validation so far, None before the first.
        best_val_bpd: Its result, bits per dimension.
        best_val_stderr: Its standard error over images.
        last_finite_step: Step of the latest checkpoint that was not within a row of skipped steps.
        seconds: Spent on the run so far.
        train_seconds: Of those, spent in training steps alone.
        train_images: Images trained on in that time.
    """

    step: int
    steps_per_epoch: int
    best_step: int | None = None
    best_val_bpd: float | None = None
    best_val_stderr: float | None = None
    last_finite_step: int | None = None
    seconds: float = 0.0
    train_seconds: float = 0.0
    train_images: int = 0


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: `checkpoints/` of the run.
        warn: Called with a sentence for each checkpoint that is passed over.
    """

    def __init__(self, folder: Path, warn: Callable[[str], None] = lambda _: None) -> None:
        self.folder, self.warn = folder.resolve(), warn

    def steps(self) -> list[int]:
        """Steps of the checkpoints on disk, oldest first; nothing is verified."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if STEP.fullmatch(path.name) and path.is_dir())

    def path(self, step: int) -> Path:
        """The folder of a checkpoint, whether it exists or not."""
        return self.folder / f"{step:08d}"

    def save(self, state: dict[str, Any], meta: CheckpointMeta) -> None:
        """Save a state, or parameters alone, which no training can continue; then only those that are kept are left.

        Raises:
            WriteError: It could not be written; what was there before is untouched.
        """
        staging, final = self.folder / f"{STAGING}{meta.step:08d}", self.path(meta.step)

        @_writing(staging, final)
        def begin() -> None:
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)

        @_writing(staging, final)
        def save_arrays() -> None:
            training = {name: value for name, value in state.items() if name != "parameters"}
            save_tree(staging / "parameters", state["parameters"])
            if training:
                save_tree(staging / "training", training)

        @_writing(staging, final)
        def publish() -> None:
            write_json(staging / "meta.json", asdict(meta))
            write_json(staging / "manifest.json", {"files": _sums(staging)})
            _flush_tree(staging)
            if final.exists():
                shutil.rmtree(final)
            staging.rename(final)
            _flush(self.folder)
            self._prune(meta)

        collectives.from_first(begin)
        save_arrays()
        collectives.from_first(publish)

    def latest(self) -> tuple[CheckpointMeta, Path] | None:
        """The newest checkpoint that is whole, None when there is none at all.

        Raises:
            CheckpointError: There are checkpoints, and every one is damaged.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                return self.verify(step), self.path(step)
            except CheckpointError as error:
                self.warn(error.message + ("; going back to the one before" if step != steps[0] else ""))
        if steps:
            raise CheckpointError(
                f"every checkpoint in {self.folder} is damaged", hint="train the run again with --overwrite"
            )
        return None

    def best(self) -> tuple[CheckpointMeta, Path]:
        """The checkpoint with the best validation that is whole.

        Raises:
            CheckpointError: There is none.
        """
        latest = self.latest()
        if latest is None:
            raise CheckpointError(f"there is no checkpoint in {self.folder} yet", hint="train the run further first")
        meta, _ = latest
        if meta.best_step is None:
            raise CheckpointError("the run has no validated checkpoint yet", hint="train the run further first")
        try:
            return self.verify(meta.best_step), self.path(meta.best_step)
        except CheckpointError as error:
            self.warn(f"{error.message}; using the latest checkpoint, of step {meta.step}, instead of the best one")
            return latest

    def last_finite(self, meta: CheckpointMeta) -> tuple[CheckpointMeta, Path] | None:
        """The latest checkpoint to go back to when training diverged; None for the start of the run."""
        for step in dict.fromkeys((meta.last_finite_step, meta.best_step)):
            if step is not None:
                try:
                    return self.verify(step), self.path(step)
                except CheckpointError as error:
                    self.warn(error.message)
        return None

    def forget_after(self, step: int) -> None:
        """Delete checkpoints of later steps: they were damaged, or led nowhere, and would displace good ones.

        Raises:
            NFError: One cannot be deleted.
        """
        for later in self.steps():
            if later > step:
                remove_tree(self.path(later))

    def verify(self, step: int) -> CheckpointMeta:
        """Check every file of a checkpoint against its manifest.

        Raises:
            CheckpointError: A file is missing, cut off or changed.
        """
        path = self.path(step)
        try:
            manifest = read_json(path / "manifest.json", kind="manifest")
            check_fields(manifest, {"files": OBJECT})
            sums = _sums(path)
            if sums != manifest["files"]:
                raise CheckpointError(f"checkpoint {path} is damaged: {_difference(sums, manifest['files'])}")
            content = read_json(path / "meta.json", kind="checkpoint file")
            content.setdefault("last_finite_step", content.get("sound_step"))  # as earlier versions call it
            check_fields(content, META)
            return CheckpointMeta(**{name: content[name] for name in META})
        except CheckpointError:
            raise
        except (NFError, OSError, ValueError) as error:
            raise CheckpointError(f"checkpoint {path} is damaged: {one_line(error)}") from error

    def seal(self, step: int) -> None:
        """Write the manifest of a checkpoint anew, whose files were changed on purpose.

        Raises:
            WriteError: It could not be written.
        """
        write_json(self.path(step) / "manifest.json", {"files": _sums(self.path(step))})

    def load_parameters(self, path: Path, like: dict[str, Any]) -> dict[str, Any]:
        """The model's parameters as numpy arrays, in the shapes of `like`."""
        return load_tree(path / "parameters", like)

    def load_state(self, path: Path, like: dict[str, Any]) -> dict[str, Any]:
        """The whole state as numpy arrays, in the shapes of `like`."""
        training = {name: value for name, value in like.items() if name != "parameters"}
        return {
            "parameters": load_tree(path / "parameters", like["parameters"]),
            **load_tree(path / "training", training),
        }

    def _prune(self, meta: CheckpointMeta) -> None:
        keep = {*self.steps()[-KEEP_LATEST:], meta.best_step, meta.last_finite_step}
        for step in self.steps():
            if step not in keep:
                shutil.rmtree(self.path(step), ignore_errors=True)


@contextmanager
def _writing(staging: Path, final: Path) -> Iterator[None]:
    """What goes wrong is told as a WriteError, and leaves nothing half-written."""
    try:
        yield
    except Exception as error:
        if collectives.is_loss(error):
            raise
        if collectives.is_first():
            shutil.rmtree(staging, ignore_errors=True)
        if isinstance(error, OSError):
            raise write_error(final, error) from error
        if isinstance(error, NFError):
            raise
        raise WriteError(
            f"cannot write checkpoint {final}: {one_line(error)}", hint="check free space, quota and permissions"
        ) from error


def _sums(folder: Path) -> dict[str, dict[str, Any]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(folder).as_posix(): _sum(path) for path in files}


def _sum(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _difference(got: dict[str, Any], want: dict[str, Any]) -> str:
    for name in sorted({*got, *want}):
        if name not in got:
            return f"{name} is missing"
        if name not in want:
            return f"{name} does not belong there"
        if got[name] != want[name]:
            return f"{name} has changed"
    return "its files have changed"


def _flush_tree(folder: Path) -> None:
    for path in [*folder.rglob("*"), folder]:
        _flush(path)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
