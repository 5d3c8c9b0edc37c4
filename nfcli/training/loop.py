"""The training loop: `train(config)` starts a run, continues it, or finds it finished."""

import math
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import jax

from nfcli.config import TrainConfig
from nfcli.errors import Interrupted
from nfcli.evaluation.numerics import check_numerics
from nfcli.process.collectives import from_first, is_first, losses_are_errors, require_same, together
from nfcli.process.signals import StopRequest
from nfcli.training import saved
from nfcli.training.clock import Clock, Stopping
from nfcli.training.continuing import check_shared, enter_run, note_where
from nfcli.training.dispatch import make_dispatch
from nfcli.training.optimizer import learning_rate_scale
from nfcli.training.reporter import Reporter, TrainResult
from nfcli.training.saved import Diverged, SavedRun
from nfcli.training.setup import Job, data_in_words, policy_in_words, prepare_job
from nfcli.training.step import News, TrainStep


@losses_are_errors()
def train(config: TrainConfig, reporter: Reporter | None = None) -> TrainResult:
    """Train until `config.epochs` are done; the same call continues an unfinished run.

    Where `nfcli.process.cluster.join` was called before, all processes train one run together; the first one reports
    and writes.

    Raises:
        UsageError: The settings do not fit the data, or the run there has others.
        InputError: Data, run or checkpoint are missing or damaged.
        NumericsError: The installed jaxlib computes wrong here.
        WriteError: The run directory cannot be written.
        DivergedError: The loss stayed non-finite.
        Interrupted: SIGINT, SIGTERM or SIGHUP, after saving.
        LostError: Another process of the run is gone.
    """
    began, reporter = time.monotonic(), reporter if reporter is not None and is_first() else Reporter()
    with together():
        check_numerics()
        job = prepare_job(config, reporter.message, reporter.warning)
    require_same(job.identity())
    job = job.agreed()
    with ExitStack() as stack:
        from_first(lambda: stack.enter_context(job.run.lock()))
        continued = from_first(lambda: enter_run(job, reporter.message))
        check_shared(job.run)
        return _Training(job, reporter, continued, began).run()


class _Leaving(Exception):
    """A validation was given up because the process should end."""


class _Training:
    """One start of a run; `meta` says where it stands, `state` is what training needs to go on from there."""

    def __init__(self, job: Job, reporter: Reporter, continued: bool, began: float) -> None:
        self.job, self.config, self.reporter = job, job.config, reporter
        self.step = TrainStep(job.model, self.config, job.steps_per_epoch, job.mesh, job.policy)
        self.dispatch = make_dispatch(self.step, job.examples, self.config.steps_per_dispatch)
        self.evaluator = job.evaluator()
        self.saved = SavedRun(job, self.step, reporter.warning)
        self.meta, self._latest_row = self.saved.latest(continued), -1
        self.clock = Clock(self.meta, self.config, began)
        self.request = StopRequest(lambda: reporter.message("stopping after this step; another signal ends nf at once"))
        self.stopping = Stopping(job.mesh, self.clock, self.request)
        # Dispatches under way when the next one is asked for: an accelerator would idle while the latest is waited for.
        # On CPU a second step under way would take its gigabytes before the first one gives them back.
        self.ahead = 0 if job.mesh.devices.flat[0].platform == "cpu" else 1

    def _begin(self) -> None:
        """Compile, and make or load the state; the clock runs from here."""
        self.reporter.message(f"data: {data_in_words(self.job)}")
        self.reporter.message(f"networks: {policy_in_words(self.job.policy)}")
        if self.job.init is not None:
            weights, step = self.job.init.run.name, self.job.init.checkpoint.step
            self.reporter.message(f"weights: those of '{weights}' after step {step}")
        self.reporter.busy(f"compiling the training step of {self.job.model.num_parameters:,} parameters")
        self.dispatch.fetch()
        self.state = self.saved.state(self.meta.step)
        if self.meta.step:
            self.reporter.message(f"continuing run '{self.job.run.name}' after step {self.meta.step}")
            from_first(lambda: note_where(self.job, self.reporter.message))
        self.saved.forget_after(self.meta.step)
        with together():
            self.dispatch.compile(self.state)
        self.reporter.begin(self.job.run.path, self.meta.step)
        self.clock.begin(self.meta.step)

    def run(self) -> TrainResult:
        """Train to the end, or until asked to stop."""
        if self._finished():
            self.reporter.message(f"run '{self.job.run.name}' is finished: all of --epochs {self.config.epochs}")
            return self._result()
        self._begin()
        with self.request:  # not before: there is nothing to save while the first step is compiled
            while not self.stopping.leaving and not self._finished():
                try:
                    self._epoch()
                except _Leaving:
                    self._save()
                except Diverged as what:
                    recoveries = int(self.state["recoveries"]) + 1
                    self.meta, self.state = self.saved.go_back(self.meta, str(what), recoveries)
                    self.clock.begin(self.meta.step)
                    self._latest_row = -1  # it may be deleted
        if self.stopping.signum and not self._finished():
            raise Interrupted(
                f"stopped after step {self.meta.step} of {self.job.total_steps}; everything is saved",
                hint="the same command continues the run",
                signum=self.stopping.signum,
            )
        return self._result()

    def _epoch(self) -> None:
        """The steps of an epoch that are not done yet, and its end."""
        steps, at_once, end_is_missing = self.job.steps_per_epoch, self.dispatch.per_dispatch, self._end_is_missing()
        epoch = (self.meta.step - end_is_missing) // steps
        batches = self.job.batches(epoch)
        unseen: list[tuple[int, News]] = []
        for done in range(self.meta.step - epoch * steps, steps, at_once):
            answer, chosen = self.stopping.ask(), batches[done : done + at_once]
            self.state, news = self.dispatch(self.state, chosen)
            self.meta = replace(self.meta, step=self.meta.step + len(chosen))
            self.clock.train_images += chosen.size
            unseen.append((self.meta.step, news))
            if len(unseen) > self.ahead:
                self._look_at(*unseen.pop(0))
            if done + at_once < steps and self.stopping.is_due(answer):
                self._save()
                if self.stopping.leaving:
                    return
        for step, news in unseen:
            self._look_at(step, news)
        self._end_epoch(epoch + 1, patient=end_is_missing)

    def _look_at(self, step: int, news: News) -> None:
        """Wait for the dispatch that ended with `step`, and report it."""
        loss, skipped_in_a_row = jax.block_until_ready(news)
        meta = replace(self.meta, step=step)
        if int(skipped_in_a_row) >= saved.SKIPPED_IN_A_ROW:
            self.meta = meta
            raise Diverged(f"{saved.SKIPPED_IN_A_ROW} steps in a row gave no finite loss or gradient")
        self.reporter.step(self.clock.progress(meta, float(loss)))

    def _end_epoch(self, epoch: int, *, patient: bool) -> None:
        """Validate, write the row, save; `patient` when an earlier process left before it could."""
        skipped, recoveries = int(self.state["skipped"]), int(self.state["recoveries"])
        self.clock.pause()
        if self.meta.step >= self.job.total_steps and int(self.state["skipped_in_a_row"]):
            raise Diverged("the last step gave no finite loss or gradient")
        counted = self.job.steps_per_epoch - skipped
        validated = epoch % self.config.eval_every == 0 or epoch == self.config.epochs
        row: dict[str, Any] = {
            "epoch": epoch,
            "step": self.meta.step,
            "train_bpd": float(self.state["loss_sum"]) / counted if counted else None,
            "learning_rate": float(self.step.schedule(self.meta.step) * learning_rate_scale(recoveries)),
            "skipped_steps": skipped,
            "recoveries": recoveries,
            **(self._validate(patient=patient) if validated else {}),
            **self.clock.row(),
        }
        # The row goes first: killed between the two, the run goes back to a checkpoint before it and writes it again.
        from_first(lambda: self.job.run.append_metrics(row))
        self._latest_row = self.meta.step
        self.reporter.row(row, self.clock.progress(self.meta, row["train_bpd"] or math.nan))
        if self.stopping.is_due(self.stopping.ask()) or validated:
            self._save()
        self.clock.start()

    def _validate(self, *, patient: bool) -> dict[str, Any]:
        def leave_if_asked(*_: int) -> None:
            # A time limit that is shorter than a validation must not keep a run from ever passing it.
            self.stopping.is_due(self.stopping.ask())
            if self.stopping.leaving and (self.stopping.signum or not patient):
                raise _Leaving

        leave_if_asked()
        images, labels, seed = self.job.val.images, self.job.labels(self.job.val), self.config.seed
        bound = self.evaluator(
            self.state["parameters"], images, samples=1, seed=seed, labels=labels, progress=leave_if_asked
        ).summary()
        bpd, stderr, meta = bound.bpd, bound.bpd_stderr, self.meta
        if bpd is None and meta.step >= self.job.total_steps:
            raise Diverged("the last validation bound is not finite")
        if bpd is None:
            self.reporter.warning("the validation bound is not finite; this epoch cannot be the best one")
        elif meta.best_val_bpd is None or bpd < meta.best_val_bpd:
            self.meta = replace(meta, best_step=meta.step, best_val_bpd=bpd, best_val_stderr=stderr)
        return {"val_bpd": bpd, "val_bpd_stderr": stderr, "val_images": bound.images}

    def _save(self) -> None:
        if int(self.state["skipped_in_a_row"]) == 0:
            self.meta = replace(self.meta, last_finite_step=self.meta.step)
        self.meta = self.clock.stamp(self.meta)
        self.saved.checkpoints.save(self.state, self.meta)
        self.clock.start()

    def _end_is_missing(self) -> bool:
        """Whether all steps of an epoch are done, and its validation and its row are not."""
        step = self.meta.step
        if step == 0 or step % self.job.steps_per_epoch or step == self._latest_row:
            return False
        return not self.saved.has_row(step)

    def _finished(self) -> bool:
        return self.meta.step >= self.job.total_steps and not self._end_is_missing()

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
