"""The training loop: `train(config)` starts a run, continues it, or finds it finished."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array

from nfcli.backend.mesh import all_reduce_max
from nfcli.config import TrainConfig
from nfcli.errors import DivergedError, Interrupted
from nfcli.evaluation.numerics import check_numerics
from nfcli.process.collectives import from_first, is_first, losses_are_errors, require_same, together
from nfcli.process.signals import StopRequest
from nfcli.runs.checkpoints import CheckpointMeta, Checkpoints
from nfcli.training.clock import Clock
from nfcli.training.dispatch import make_dispatch
from nfcli.training.order import epoch_order
from nfcli.training.precision import policy_in_words
from nfcli.training.reporter import Reporter
from nfcli.training.result import TrainResult
from nfcli.training.setup import Job, check_shared, data_in_words, enter_run, note_where, prepare_job
from nfcli.training.step import State, TrainStep, learning_rate_scale

SKIPPED_IN_A_ROW = 10
"""So many skipped steps in a row send a run back to its last checkpoint."""

RECOVERIES = 3
"""So many times, each with half the learning rate; then it gives up."""


@losses_are_errors()
def train(config: TrainConfig, reporter: Reporter | None = None) -> TrainResult:
    """Train until `config.epochs` are done; the same call continues an unfinished run.

    Where `nfcli.process.cluster.join` was called before, all processes train one run together; the first one reports
    and writes.

    Raises:
        UsageError: The settings do not fit the data, or the run there has others.
        InputError: Data, run or checkpoint are missing or damaged.
        WriteError: The run directory cannot be written.
        DivergedError: The loss stayed non-finite.
        Interrupted: SIGINT or SIGTERM, after saving.
        LostError: Another process of the run is gone.
    """
    reporter = reporter if reporter is not None and is_first() else Reporter()
    with together():
        check_numerics()
        job = prepare_job(config, reporter.message)
    require_same(job.identity())
    with ExitStack() as stack:
        from_first(lambda: stack.enter_context(job.run.lock()))
        continued = from_first(lambda: enter_run(job, reporter.message))
        check_shared(job.run)
        return _Training(job, reporter).run(continued)


class _Diverged(Exception):
    """What was not finite, in words."""


class _Leaving(Exception):
    """A validation was given up because the process should end."""


class _Training:
    def __init__(self, job: Job, reporter: Reporter) -> None:
        self.job, self.config, self.reporter = job, job.config, reporter
        self.stop = StopRequest(lambda: reporter.message("stopping after this step; another signal ends nf at once"))
        self.checkpoints = Checkpoints(job.run.checkpoints, reporter.warning)
        self.step = TrainStep(job.model, self.config, job.steps_per_epoch, job.mesh, job.policy)
        self.dispatch = make_dispatch(
            self.step, job.train.images, self.config.steps_per_dispatch, job.labels(job.train)
        )
        self.evaluator = job.evaluator()
        self.meta = CheckpointMeta(step=0, steps_per_epoch=job.steps_per_epoch)
        # On CPU a second step under way would take its gigabytes before the first one gives them back.
        self.alone = job.mesh.devices.flat[0].platform == "cpu"
        self.leaving, self.signum = False, 0
        self.recoveries = 0

    def run(self, continued: bool) -> TrainResult:
        found = self._find(self.checkpoints.latest) if continued else None
        if found is not None:
            self.meta = found
        self.clock = Clock(self.meta, self.config)
        if self._finished():
            self.reporter.message(f"run '{self.job.run.name}' is finished: all of --epochs {self.config.epochs}")
            return self._result()
        state = self._begin(found)
        with self.stop:  # not before: there is nothing to save while the first step is compiled
            self._go_on(state)
        if self.signum and not self._finished():
            raise Interrupted(
                f"stopped after step {self.meta.step} of {self.job.total_steps}; everything is saved",
                hint="the same command continues the run",
                signum=self.signum,
            )
        return self._result()

    def _go_on(self, state: State) -> None:
        """Train to the end, or until asked to stop."""
        again = self._end_is_missing()
        while (again or self.meta.step < self.job.total_steps) and not self.leaving:
            epoch = self.meta.step // self.job.steps_per_epoch
            try:
                state = self._end_epoch(state, epoch, again=True) if again else self._epoch(state, epoch)
                again = False
            except _Diverged as what:
                state = self._recover(str(what))
                again = self._end_is_missing()

    def _find(self, look: Callable[[], tuple[CheckpointMeta, Path] | None]) -> CheckpointMeta | None:
        """The checkpoint that the first process finds."""

        def described() -> dict[str, Any] | None:
            found = look()
            return None if found is None else asdict(found[0])

        content = from_first(described)
        return None if content is None else CheckpointMeta(**content)

    def _finished(self) -> bool:
        return self.meta.step >= self.job.total_steps and not self._end_is_missing()

    def _end_is_missing(self) -> bool:
        """Whether all steps of an epoch are done, and its validation and its row are not."""
        step = self.meta.step
        ended = step > 0 and step % self.job.steps_per_epoch == 0
        return ended and from_first(lambda: all(row["step"] != step for row in self.job.run.metrics()))

    def _begin(self, found: CheckpointMeta | None) -> State:
        self.reporter.message(f"data: {data_in_words(self.job)}")
        self.reporter.message(f"networks: {policy_in_words(self.job.policy)}")
        self.reporter.busy(f"compiling the training step of {self.job.model.num_parameters:,} parameters")
        self.dispatch.fetch()
        state = self.step.init()
        if found is not None:
            state = self._load(found, state)
            self.recoveries = int(state["recoveries"])
            self.reporter.message(f"continuing run '{self.job.run.name}' after step {self.meta.step}")
            from_first(lambda: note_where(self.job, self.reporter.message))
        else:
            state = self._data_dependent_init(state)
        from_first(self._forget_later)
        with together():
            self.dispatch.compile(state)
        self.reporter.begin(self.job.run.path, self.meta.step)
        self.clock.start()
        return state

    def _data_dependent_init(self, state: State) -> State:
        first = epoch_order(self.config.seed, 0, len(self.job.train))[: self.config.batch_size]
        labels = self.job.labels(self.job.train)
        return self.step.data_dependent_init(
            state, self.job.train.images[first], None if labels is None else labels[first]
        )

    def _load(self, meta: CheckpointMeta, like: State) -> State:
        with together():
            return self.step.place(self.checkpoints.load_state(self.checkpoints.path(meta.step), like))

    def _forget_later(self) -> None:
        """Drop checkpoints and metrics of steps after the checkpoint: they will be written again."""
        self.checkpoints.forget_after(self.meta.step)
        self.job.run.write_metrics([row for row in self.job.run.metrics() if row["step"] <= self.meta.step])

    def _epoch(self, state: State, epoch: int) -> State:
        steps, batch = self.job.steps_per_epoch, self.config.batch_size
        order = epoch_order(self.config.seed, epoch, len(self.job.train))
        pending: tuple[Array, Array] | None = None
        for position in range(self.meta.step - epoch * steps, steps, self.dispatch.per_dispatch):
            following = min(position + self.dispatch.per_dispatch, steps)
            chosen = order[position * batch : following * batch].reshape(-1, batch)
            asked = self._ask()
            if pending is not None and self.alone:
                self._look_at(jax.block_until_ready(pending), self.meta.step)
            state, news = self.dispatch(state, chosen)
            # What came before is looked at while this runs: waiting for this would leave an accelerator idle.
            if pending is not None and not self.alone:
                self._look_at(pending, self.meta.step)
            pending = news
            self.meta = replace(self.meta, step=self.meta.step + len(chosen))
            self.clock.count(chosen.size)
            if following < steps and self._is_due(asked):
                self._save(state)
                if self.leaving:
                    return state
        self._look_at(news, self.meta.step)
        return self._end_epoch(state, epoch + 1)

    def _look_at(self, news: tuple[Array, Array], step: int) -> None:
        loss, skipped_in_a_row = float(news[0]), int(news[1])
        if skipped_in_a_row >= SKIPPED_IN_A_ROW:
            raise _Diverged(f"{SKIPPED_IN_A_ROW} steps in a row gave no finite loss or gradient")
        self.reporter.step(self.clock.progress(replace(self.meta, step=step), loss))

    def _end_epoch(self, state: State, epoch: int, *, again: bool = False) -> State:
        """Validate, write the row, save; `again` when an earlier process left before it could."""
        skipped = int(state["skipped"])
        self.clock.pause()
        if self.meta.step >= self.job.total_steps and int(state["skipped_in_a_row"]):
            raise _Diverged("the last step gave no finite loss or gradient")
        counted = self.job.steps_per_epoch - skipped
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": self.meta.step,
            "train_bpd": float(state["loss_sum"]) / counted if counted else None,
            "learning_rate": float(self.step.schedule(self.meta.step) * learning_rate_scale(self.recoveries)),
            "skipped_steps": skipped,
            "recoveries": self.recoveries,
        }
        validated = epoch % self.config.eval_every == 0 or epoch == self.config.epochs
        if validated:
            try:
                row |= self._validate(state, patient=again)
            except _Leaving:
                self._save(state)
                return state
        row |= self.clock.row()
        # The row goes first: killed between the two, the run goes back to a checkpoint before it and writes it again.
        from_first(lambda: self.job.run.append_metrics(row))
        self.reporter.row(row, self.clock.progress(self.meta, row["train_bpd"] or math.nan))
        if self._is_due(self._ask()) or validated:
            self._save(state)
        self.clock.start()
        return state

    def _validate(self, state: State, *, patient: bool) -> dict[str, Any]:
        def leave_if_asked(*_: int) -> None:
            # A time limit that is shorter than a validation must not keep a run from ever passing it.
            self._is_due(self._ask())
            if self.leaving and (self.signum or not patient):
                raise _Leaving

        leave_if_asked()
        bound = self.evaluator(
            state["parameters"],
            self.job.val.images,
            samples=1,
            seed=self.config.seed,
            labels=self.job.labels(self.job.val),
            progress=leave_if_asked,
        )
        result = bound.summary()
        if result.bpd is None and self.meta.step >= self.job.total_steps:
            raise _Diverged("the last validation bound is not finite")
        if result.bpd is None:
            self.reporter.warning("the validation bound is not finite; this epoch cannot be the best one")
        elif self.meta.best_val_bpd is None or result.bpd < self.meta.best_val_bpd:
            self.meta = replace(
                self.meta, best_step=self.meta.step, best_val_bpd=result.bpd, best_val_stderr=result.bpd_stderr
            )
        return {"val_bpd": result.bpd, "val_bpd_stderr": result.bpd_stderr, "val_images": result.images}

    def _save(self, state: State) -> None:
        in_a_row = int(state["skipped_in_a_row"])
        self.clock.pause()
        self.meta = self.clock.stamp(self.meta)
        if in_a_row == 0:
            self.meta = replace(self.meta, last_finite_step=self.meta.step)
        self.checkpoints.save(state, self.meta)
        self.clock.start()

    def _ask(self) -> Callable[[], tuple[int, ...]]:
        """Ask every process whether to leave or to save; the answer comes when the steps before this are done."""
        wishes = (lambda: self.stop.signum or 0), (lambda: self.clock.out_of_time), (lambda: self.clock.checkpoint_due)
        return all_reduce_max(self.job.mesh, wishes)

    def _is_due(self, answer: Callable[[], tuple[int, ...]]) -> bool:
        """Whether a checkpoint is due, because of the time or because all are `leaving` after it."""
        signum, out_of_time, checkpoint_due = answer()
        self.signum = self.signum or signum
        self.leaving = self.leaving or bool(self.signum or out_of_time)
        return self.leaving or bool(checkpoint_due)

    def _recover(self, what: str) -> State:
        """Go back to the last checkpoint whose latest step was finite, or to the start, with half the learning rate."""
        self.recoveries += 1
        found = self._find(lambda: self.checkpoints.last_finite(self.meta))
        if self.recoveries > RECOVERIES:
            best = "" if found is None or found.best_step is None else f"; weights of step {found.best_step} are kept"
            raise DivergedError(
                f"training diverged at step {self.meta.step}: {what}, also after {RECOVERIES} recoveries",
                hint=f"try a smaller --learning-rate than {self.config.learning_rate:g}, with --overwrite or under "
                f"another --name{best}",
            )
        fresh = self.step.init()
        self.meta = found or CheckpointMeta(step=0, steps_per_epoch=self.job.steps_per_epoch)
        fresh = self._data_dependent_init(fresh) if found is None else self._load(found, fresh)
        from_first(self._forget_later)
        self.reporter.warning(
            f"{what}; going back to step {self.meta.step} with {float(learning_rate_scale(self.recoveries)):g} of the "
            f"learning rate (recovery {self.recoveries} of {RECOVERIES})"
        )
        self.clock.pause()
        self.clock.go_back(self.meta.step)
        self.clock.start()
        return self.step.place({**fresh, "recoveries": np.int32(self.recoveries), "skipped_in_a_row": np.int32(0)})

    def _result(self) -> TrainResult:
        meta = self.meta
        return TrainResult(
            run=self.job.run.name,
            path=str(self.job.run.path),
            preset=self.config.preset,
            parameters=self.job.model.num_parameters,
            epochs=meta.step // meta.steps_per_epoch,
            steps=meta.step,
            best_step=meta.best_step,
            best_val_bpd=meta.best_val_bpd,
            images_per_second=meta.train_images / meta.train_seconds if meta.train_seconds else None,
            seconds=meta.seconds,
            finished=self._finished(),
        )
