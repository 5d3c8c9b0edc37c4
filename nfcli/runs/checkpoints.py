"""Checkpoints: Orbax for the arrays, a manifest of sha256 sums around them, a rename that makes them appear at once.

    checkpoints/00000390/
        parameters/     Orbax: what the model needs
        training/       Orbax: optimizer, step, sums
        meta.json       where the run stood: step, steps an epoch, best validation so far
        manifest.json   size and sha256 of every other file

The latest two are kept, the best by validation, and the latest that a diverged run can go back to. One that is
incomplete or damaged is never used; Orbax's own manager would find one cut off, and not one whose bits have changed.
All processes of a run save together, into one folder that all of them see; the first one does all else. What is saved
does not depend on how many there were.
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nfcli.errors import CheckpointError, NFError, Say, WriteError, one_line
from nfcli.files import STAGING, flush, read_json, real_path, remove_tree, write_error, write_json
from nfcli.process import collectives
from nfcli.runs.arrays import load_tree, save_tree
from nfcli.runs.schema import Count, Index, Number, Object, Positive, check_fields, parse

KEEP_LATEST = 2
DAMAGE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)
"""Of what a system says, that which means that a checkpoint is not whole, and not that it cannot be read just now."""

STEP = re.compile(r"[0-9]{8,}")


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

    step: Index
    steps_per_epoch: Count
    best_step: Index | None = None
    best_val_bpd: Number | None = None
    best_val_stderr: Positive | None = None
    last_finite_step: Index | None = None
    seconds: Positive = 0.0
    train_seconds: Positive = 0.0
    train_images: Index = 0


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: `checkpoints/` of the run.
        warn: Called with a sentence for each checkpoint that is passed over.
    """

    def __init__(self, folder: Path, warn: Say = lambda _: None) -> None:
        self.folder, self.warn = real_path(folder), warn

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
        def publish() -> None:
            write_json(staging / "meta.json", asdict(meta))
            write_json(staging / "manifest.json", {"files": _sums(staging)})
            flush(*staging.rglob("*"), staging)
            before = self.folder / f"{STAGING}before"
            with suppress(FileNotFoundError):  # of the same step, after a stop within a validation
                final.rename(before)
            staging.rename(final)
            shutil.rmtree(before, ignore_errors=True)
            flush(self.folder)
            keep = {*self.steps()[-KEEP_LATEST:], meta.best_step, meta.last_finite_step}
            for step in {*self.steps()} - keep:
                shutil.rmtree(self.path(step), ignore_errors=True)

        collectives.from_first(begin)
        with _writing(staging, final):
            parameters, training = _halves(state)
            save_tree(staging / "parameters", parameters)
            if training:
                save_tree(staging / "training", training)
        collectives.from_first(publish)

    def latest(self, *, but: tuple[str, ...] = ()) -> tuple[CheckpointMeta, Path] | None:
        """The newest checkpoint that is whole, `but` for files whose names begin so; None when there is none at all.

        Raises:
            CheckpointError: There are checkpoints, and every one is damaged, or one cannot be read.
        """
        steps = self.steps()
        for step in reversed(steps):
            found = self._whole(step, "; going back to the one before" if step != steps[0] else "", but)
            if found is not None:
                return found
        if steps:
            raise CheckpointError(
                f"every checkpoint in {self.folder} is damaged", hint="train the run again with --overwrite"
            )
        return None

    def best(self) -> tuple[CheckpointMeta, Path]:
        """The checkpoint with the best validation, to read its parameters: `training/` may be damaged.

        Raises:
            CheckpointError: There is none.
        """
        latest = self.latest(but=("training/",))
        if latest is None:
            raise CheckpointError(f"there is no checkpoint in {self.folder} yet", hint="train the run further first")
        if (best_step := latest[0].best_step) is None:
            raise CheckpointError(f"no checkpoint in {self.folder} is validated yet", hint="train it further first")
        instead = f"; using the latest checkpoint, of step {latest[0].step}, instead of the best one"
        return self._whole(best_step, instead, ("training/",)) or latest

    def last_finite(self, meta: CheckpointMeta) -> tuple[CheckpointMeta, Path] | None:
        """The latest checkpoint to go back to when training diverged; None for the start of the run."""
        steps = dict.fromkeys((meta.last_finite_step, meta.best_step))
        for step in steps:
            if step is not None and (found := self._whole(step)) is not None:
                return found
        return None

    def _whole(self, step: int, instead: str = "", but: tuple[str, ...] = ()) -> tuple[CheckpointMeta, Path] | None:
        """A checkpoint whose files are as its manifest says; None and a warning, with what is done instead, if not."""
        path = self.path(step)
        try:
            manifest = read_json(path / "manifest.json", kind="manifest")
            check_fields(manifest, {"files": Object})
            _check_sums(_sums(path, but), manifest["files"], but)
            content = read_json(path / "meta.json", kind="checkpoint file")
            content.setdefault("last_finite_step", content.get("sound_step"))  # as earlier versions call it
            return parse(CheckpointMeta, content), path
        except (NFError, OSError, ValueError) as error:
            reason = error.__cause__ if isinstance(error, NFError) else error
            if isinstance(reason, OSError) and not isinstance(reason, DAMAGE):
                raise CheckpointError(
                    f"checkpoint {path} cannot be read: {reason.strerror or reason}",
                    hint="it may be whole: try again; without that folder, nf goes on from the one before",
                ) from error
            self.warn(f"checkpoint {path} is damaged: {one_line(error)}{instead}")
            return None

    def forget_after(self, step: int) -> None:
        """Delete checkpoints of later steps: they were damaged, or led nowhere, and would displace good ones.

        Raises:
            NFError: One cannot be deleted.
        """
        for later in [other for other in self.steps() if other > step]:
            remove_tree(self.path(later))

    def seal(self, step: int) -> None:
        """Write the manifest of a checkpoint anew, whose files were changed on purpose.

        Raises:
            WriteError: It could not be written.
        """
        write_json(self.path(step) / "manifest.json", {"files": _sums(self.path(step))})

    def load_state(self, path: Path, like: dict[str, Any]) -> dict[str, Any]:
        """The whole state as numpy arrays.

        Args:
            path: Its folder.
            like: A state of the same names, shapes and types.

        Raises:
            CheckpointError: What is there has other names or shapes.
        """
        parameters, training = _halves(like)
        return {"parameters": load_tree(path / "parameters", parameters), **load_tree(path / "training", training)}


def _halves(state: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the model needs, and what only training needs."""
    return state["parameters"], {name: value for name, value in state.items() if name != "parameters"}


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


def _sums(folder: Path, but: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    sums = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != "manifest.json" and not name.startswith(but):
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            sums[name] = {"bytes": path.stat().st_size, "sha256": digest}
    return sums


def _check_sums(got: dict[str, Any], want: dict[str, Any], but: tuple[str, ...]) -> None:
    for name in sorted({*got, *want}):
        if not name.startswith(but) and (name not in got or got[name] != want.get(name)):
            wrong = "does not belong there" if name not in want else "has changed" if name in got else "is missing"
            raise ValueError(f"{name} {wrong}")
