"""Time of a training run: training steps alone, everything, and what is left."""

from __future__ import annotations

import time
from dataclasses import replace

from nfcli.config import TrainConfig
from nfcli.runs.checkpoints import CheckpointMeta
from nfcli.training.reporter import Progress


class Clock:
    """Runs while steps are taken, stands still during compilation, validation and saving.

    Args:
        meta: Where the run stands; its times are counted on.
        config: For the limits and totals.
    """

    def __init__(self, meta: CheckpointMeta, config: TrainConfig) -> None:
        self.config, self.steps_per_epoch = config, meta.steps_per_epoch
        self._born = self._saved = time.monotonic()
        self._earlier = meta
        self._running_since: float | None = None
        self._first_start: float | None = None
        self._from_step, self._stepping_before = meta.step, 0.0
        self._stepping = 0.0
        self._images = 0
        self._row_mark = (0.0, 0, self._born)

    @property
    def checkpoint_due(self) -> bool:
        """Whether the minutes between checkpoints have passed."""
        return time.monotonic() - self._saved > 60 * self.config.checkpoint_minutes

    @property
    def out_of_time(self) -> bool:
        """Whether `max_minutes` have passed."""
        limit = self.config.max_minutes
        return limit is not None and time.monotonic() - self._born > 60 * limit

    def start(self) -> None:
        """Training steps begin."""
        if self._running_since is None:
            self._running_since = time.monotonic()
            self._first_start = self._first_start or self._running_since

    def go_back(self, step: int) -> None:
        """Training begins again after an earlier step: estimates count from here."""
        self._from_step, self._stepping_before, self._first_start = step, self._stepping, time.monotonic()

    def pause(self) -> None:
        """Something else than training steps begins. The caller has waited for the last step."""
        if self._running_since is not None:
            self._stepping += time.monotonic() - self._running_since
            self._running_since = None

    def count(self, images: int) -> None:
        """A step took this many images."""
        self._images += images

    def stamp(self, meta: CheckpointMeta) -> CheckpointMeta:
        """Write the times into a checkpoint's description; the next checkpoint is due from now."""
        self._saved = time.monotonic()
        return replace(
            meta,
            seconds=self._earlier.seconds + self._saved - self._born,
            train_seconds=self._earlier.train_seconds + self._stepping,
            train_images=self._earlier.train_images + self._images,
        )

    def row(self) -> dict[str, float | None]:
        """The timings of one epoch's row."""
        stepping, images, since = self._row_mark
        now = time.monotonic()
        self._row_mark = (self._stepping, self._images, now)
        spent = self._stepping - stepping
        return {
            "images_per_second": (self._images - images) / spent if spent > 0 else None,
            "seconds": now - since,
        }

    def progress(self, meta: CheckpointMeta, loss: float) -> Progress:
        """What a progress line shows."""
        now = time.monotonic()
        stepping = self._stepping + (now - self._running_since if self._running_since is not None else 0.0)
        total = self.config.epochs * self.steps_per_epoch
        # Of steps known to be done: those under way are counted in `_images` already. And without compilation.
        done = max(1, meta.step - self._from_step)
        per_step = (now - (self._first_start or now)) / done
        stepping -= self._stepping_before
        return Progress(
            step=meta.step,
            total_steps=total,
            epoch=min(self.config.epochs, (meta.step - 1) // self.steps_per_epoch + 1),
            epochs=self.config.epochs,
            loss=loss,
            images_per_second=done * self.config.batch_size / stepping if stepping > 0 else 0.0,
            best_val_bpd=meta.best_val_bpd,
            seconds_left=per_step * (total - meta.step),
        )
