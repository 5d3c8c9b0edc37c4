"""What a run has on disk, seen alike by all processes that train it: checkpoints, and rows of metrics.jsonl.

A run whose loss is no longer finite goes back to a good checkpoint, with half the learning rate.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.errors import DivergedError, Say
from nfcli.process.collectives import from_first, together
from nfcli.runs.checkpoints import CheckpointMeta, Checkpoints
from nfcli.training.initial import fitted, take_weights
from nfcli.training.optimizer import learning_rate_scale
from nfcli.training.setup import Job
from nfcli.training.step import State, TrainStep

SKIPPED_IN_A_ROW = 10
"""So many skipped steps in a row send a run back to its last checkpoint."""

RECOVERIES = 3
"""So many times, each with half the learning rate; then it gives up."""


class Diverged(Exception):
    """What was not finite, in words."""


class SavedRun:
    """The checkpoints and the rows of one run.

    Args:
        job: Whose run it is.
        step: Makes and places states.
        warn: Called with a sentence for each checkpoint that is passed over, and when the run goes back.
    """

    def __init__(self, job: Job, step: TrainStep, warn: Say) -> None:
        self.job, self.step, self.warn = job, step, warn
        self.checkpoints = Checkpoints(job.run.checkpoints, warn)

    def latest(self, continued: bool) -> CheckpointMeta:
        """Where the run stands: its newest checkpoint that is whole, or its start; a new run has none of its own."""
        return self._found(self.checkpoints.latest if continued else lambda: None)

    def state(self, step: int) -> State:
        """The state of a checkpoint, or at step 0 the one before the first step."""
        job, state = self.job, self.step.init()
        with together():
            if step:
                return self.step.place(self.checkpoints.load_state(self.checkpoints.path(step), state))
            source = job.init or take_weights(job.config, job.description()["model"], self.warn, job.run)
        if source is not None:
            return self.step.start_from(fitted(source.parameters, state["parameters"]))
        first = job.batches(0)[0]
        return self.step.data_dependent_init(state, *(of[first] for of in job.examples))

    def forget_after(self, step: int) -> None:
        """Drop checkpoints and rows of later steps: they will be written again."""

        def forget() -> None:
            self.checkpoints.forget_after(step)
            self.job.run.write_metrics([row for row in self.job.run.metrics() if row["step"] <= step])

        from_first(forget)

    def go_back(self, meta: CheckpointMeta, what: str, recoveries: int) -> tuple[CheckpointMeta, State]:
        """Go back to the last checkpoint whose latest step was finite, or to the start, with half the learning rate.

        Args:
            meta: Where from.
            what: Was not finite.
            recoveries: With this one.

        Raises:
            DivergedError: It was tried `RECOVERIES` times already.
        """
        back = self._found(lambda: self.checkpoints.last_finite(meta))
        if recoveries > RECOVERIES:
            best = "" if back.best_step is None else f"; weights of step {back.best_step} are kept"
            raise DivergedError(
                f"training diverged at step {meta.step}: {what}, also after {RECOVERIES} recoveries",
                hint=f"try a smaller --learning-rate than {self.job.config.learning_rate:g}, with --overwrite or under "
                f"another --name{best}",
            )
        state = self.state(back.step)
        self.forget_after(back.step)
        self.warn(
            f"{what}; going back to step {back.step} with {float(learning_rate_scale(recoveries)):g} of the learning "
            f"rate (recovery {recoveries} of {RECOVERIES})"
        )
        state |= {"recoveries": np.int32(recoveries), "skipped_in_a_row": np.int32(0)}
        return back, self.step.place(state)

    def has_row(self, step: int) -> bool:
        """Whether the epoch that ended with `step` has its row."""
        return from_first(lambda: any(row["step"] == step for row in self.job.run.metrics()))

    def _found(self, look: Callable[[], tuple[CheckpointMeta, Path] | None]) -> CheckpointMeta:
        """The checkpoint that the first process finds, or the start of the run where it finds none."""

        def described() -> dict[str, Any]:
            found = look()
            return asdict(found[0] if found else CheckpointMeta(step=0, steps_per_epoch=self.job.steps_per_epoch))

        return CheckpointMeta(**from_first(described))
