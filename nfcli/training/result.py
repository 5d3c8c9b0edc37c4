"""What a training run comes to."""

from __future__ import annotations

from dataclasses import dataclass


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
