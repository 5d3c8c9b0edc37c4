"""What training tells: whoever watches, step by step, and whoever called it, at the end."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Progress:
    """One step's worth of news.

    Attributes:
        step, total_steps: Done, and in all.
        epoch, epochs: The epoch under way counted from 1, and in all.
        loss: Bits per dimension of the last batch known.
        images_per_second: Of this process so far, training steps alone.
        best_val_bpd: Best validation so far, None before the first.
        seconds_left: Estimate, validations included as they were so far.
    """

    step: int
    total_steps: int
    epoch: int
    epochs: int
    loss: float
    images_per_second: float
    best_val_bpd: float | None
    seconds_left: float


@dataclass(frozen=True)
class TrainResult:
    """What `nf train --json` prints.

    Attributes:
        run: Name of the run.
        path: Its directory.
        preset: Name of the model.
        parameters: Scalars learned.
        epochs, steps: Done in all.
        best_step: Step of the best validation.
        best_val_bpd: Its result with one noise draw, bits per dimension.
        images_per_second: Training steps alone, over the whole run.
        seconds: Everything, over the whole run.
        finished: False when `max_minutes` ended it.
    """

    run: str
    path: str
    preset: str
    parameters: int
    epochs: int
    steps: int
    best_step: int | None
    best_val_bpd: float | None
    images_per_second: float | None
    seconds: float
    finished: bool


class Reporter:
    """Receives events of a training run. Every method may be left as it is."""

    def begin(self, run: Path, step: int) -> None:
        """The run in this directory starts, or goes on after `step`."""

    def message(self, text: str) -> None:
        """Something worth a line, such as what is continued."""

    def warning(self, text: str) -> None:
        """Something went wrong and was survived."""

    def busy(self, text: str) -> None:
        """A wait of several seconds begins, such as compiling."""

    def step(self, progress: Progress) -> None:
        """A step was taken."""

    def row(self, row: dict[str, Any], progress: Progress) -> None:
        """An epoch ended and this row was written to metrics.jsonl."""
