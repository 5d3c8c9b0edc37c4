"""Time of a training run: training steps alone, everything, what is left; and when its processes stop or save."""

import time
from collections.abc import Callable
from dataclasses import replace

from jax.sharding import Mesh

from nfcli.backend.mesh import all_reduce_max
from nfcli.config import TrainConfig
from nfcli.process.signals import StopRequest
from nfcli.runs.checkpoints import CheckpointMeta
from nfcli.training.reporter import Progress

Answer = Callable[[], tuple[int, ...]]


class Clock:
    """Runs while steps are taken, stands still during compilation, validation and saving.

    Args:
        meta: Where the run stands; its times are counted on.
        config: For the limits and totals.
        began: When the work did, loading of images and all, as `time.monotonic` has it: `max_minutes` count from then.
    """

    def __init__(self, meta: CheckpointMeta, config: TrainConfig, began: float) -> None:
        self._began_work = began
        self.config, self.total_steps = config, meta.steps_per_epoch * config.epochs
        self.seconds_before, self.train_seconds, self.train_images = meta.seconds, meta.train_seconds, meta.train_images
        self._born = self._saved = time.monotonic()
        self._running_since: float | None = None
        self._row_began = (self.train_seconds, self.train_images, self._born)

    def checkpoint_due(self) -> bool:
        """Whether the minutes between checkpoints have passed."""
        return time.monotonic() - self._saved > 60 * self.config.checkpoint_minutes

    def out_of_time(self) -> bool:
        """Whether `max_minutes` have passed."""
        limit = self.config.max_minutes
        return limit is not None and time.monotonic() - self._began_work > 60 * limit

    def begin(self, step: int) -> None:
        """Training steps begin after `step`, at first or once more: estimates count from here."""
        self.pause()
        self._began = (step, self.train_seconds, time.monotonic())
        self.start()

    def start(self) -> None:
        """Training steps go on."""
        self._running_since = self._running_since or time.monotonic()

    def pause(self) -> None:
        """Something else than training steps begins. The caller has waited for the last step."""
        self.train_seconds += self._running()
        self._running_since = None

    def stamp(self, meta: CheckpointMeta) -> CheckpointMeta:
        """Stand still, and write the times into a checkpoint's description; the next one is due from now."""
        self.pause()
        self._saved = time.monotonic()
        seconds = self.seconds_before + self._saved - self._born
        return replace(meta, seconds=seconds, train_seconds=self.train_seconds, train_images=self.train_images)

    def row(self) -> dict[str, float | None]:
        """The timings of one epoch's row."""
        train_seconds, train_images, since = self._row_began
        self._row_began = (self.train_seconds, self.train_images, time.monotonic())
        spent, images = self.train_seconds - train_seconds, self.train_images - train_images
        # None where an earlier process took all steps of the epoch.
        speed = images / spent if images and spent > 0 else None
        return {"images_per_second": speed, "seconds": self._row_began[2] - since}

    def progress(self, meta: CheckpointMeta, loss: float) -> Progress:
        """What a progress line shows."""
        step, train_seconds, since = self._began
        # Of steps known to be done: those under way are counted in `train_images` already. And without compilation.
        done = max(1, meta.step - step)
        spent = self.train_seconds + self._running() - train_seconds
        now = time.monotonic()
        # Of a run that was continued, this process may have validated after a few steps: then the whole run tells more.
        young = step > 0 and done < meta.steps_per_epoch
        pace = (self.seconds_before + now - self._born) / meta.step if young else (now - since) / done
        speed = done * self.config.batch_size / spent if spent > 0 else 0.0
        left = pace * (self.total_steps - meta.step)
        epoch = min(self.config.epochs, (meta.step - 1) // meta.steps_per_epoch + 1)
        return Progress(meta.step, self.total_steps, epoch, self.config.epochs, loss, speed, meta.best_val_bpd, left)

    def _running(self) -> float:
        """Seconds of training steps since the clock was last started."""
        return 0.0 if self._running_since is None else time.monotonic() - self._running_since


class Stopping:
    """What the processes agree on.

    Attributes:
        signum: Of the signal that some process got, 0 for none.
        leaving: Whether all leave after the next checkpoint, because of it or because time is up.

    Args:
        mesh: Devices of all processes.
        clock: Of this process.
        request: Of this process.
    """

    def __init__(self, mesh: Mesh, clock: Clock, request: StopRequest) -> None:
        self.mesh, self.clock, self.request = mesh, clock, request
        self.signum, self.leaving = 0, False

    def ask(self) -> Answer:
        """Ask every process whether to leave or to save; the answer comes when the steps before this are done."""
        request, clock = self.request, self.clock
        return all_reduce_max(self.mesh, (lambda: request.signum or 0, clock.out_of_time, clock.checkpoint_due))

    def is_due(self, answer: Answer) -> bool:
        """Whether a checkpoint is due, because of the time or because all are `leaving` after it."""
        signum, out_of_time, checkpoint_due = answer()
        self.signum = self.signum or signum
        self.leaving = self.leaving or bool(self.signum or out_of_time)
        return self.leaving or bool(checkpoint_due)
