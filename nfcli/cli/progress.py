"""Progress of training: a live line on a terminal, a plain line an epoch elsewhere."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Any

from nfcli.cli.console import Console, duration, speed
from nfcli.training.reporter import Progress, Reporter

COLUMNS = 80


class TrainingProgress(Reporter):
    """Prints what training reports.

    Args:
        console: Where to.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self._stack = ExitStack()
        self._bar: Any = None
        self._task: Any = None
        self._shown: Progress | None = None

    def __enter__(self) -> TrainingProgress:
        if self.console.interactive:
            self._bar = self._stack.enter_context(_make_bar())
            self._task = self._bar.add_task("starting", total=None, news="")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def message(self, text: str) -> None:
        """Print a line above the live one."""
        if not self.console.quiet:
            self._line(text)

    def warning(self, text: str) -> None:
        """Print a warning."""
        self._line(f"warning: {text}")

    def busy(self, text: str) -> None:
        """Say what is waited for."""
        if self._bar is not None:
            self._bar.update(self._task, description=text)
        else:
            self.console.message(text)

    def step(self, progress: Progress) -> None:
        """Move the live line."""
        self._shown = progress
        if self._bar is not None:
            left = duration(progress.seconds_left)
            best = "" if progress.best_val_bpd is None else f"  best {progress.best_val_bpd:.3f}"
            self._bar.update(
                self._task,
                description=f"epoch {progress.epoch}/{progress.epochs}",
                completed=progress.step,
                total=progress.total_steps,
                news=f"{progress.loss:.3f} bpd{best}  {speed(progress.images_per_second)}  {left} left",
            )

    def row(self, row: dict[str, Any], progress: Progress) -> None:
        """Print an epoch's line; on a terminal, which has the live one, only where it was validated."""
        if self._shown is not None:  # after the last validation no step follows that would tell the best
            self.step(replace(self._shown, best_val_bpd=progress.best_val_bpd))
        if self.console.quiet or (self._bar is not None and "val_bpd" not in row):
            return
        parts = [f"epoch {row['epoch']}/{progress.epochs}", f"train {_bpd(row['train_bpd'])}"]
        if "val_bpd" in row:
            best = ", best" if row["val_bpd"] is not None and row["val_bpd"] == progress.best_val_bpd else ""
            parts.append(f"val {_bpd(row['val_bpd'])}{best}")
        fast = [] if row["images_per_second"] is None else [speed(row["images_per_second"])]
        left = []
        if self._bar is None and progress.step < progress.total_steps:
            left.append(f"{duration(progress.seconds_left)} left")
        line = "  ".join([*parts, *fast, *left])
        # The speed is also in metrics.jsonl and in the result.
        self._line(line if len(line) <= COLUMNS else "  ".join([*parts, *left]))

    def _line(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)
        elif text.startswith("warning: "):
            self.console.warning(text.removeprefix("warning: "))
        else:
            self.console.message(text)


class CountProgress:
    """`progress(name, done, total)` of evaluation as a live line on a terminal, nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._stack = ExitStack()
        self._bar: Any = None
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> CountProgress:
        if self.console.interactive:
            self._bar = self._stack.enter_context(_make_bar())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def __call__(self, name: str, done: int, total: int) -> None:
        if self._bar is None:
            return
        if name not in self._tasks:
            self._tasks[name] = self._bar.add_task(name, total=total, news="")
        self._bar.update(self._tasks[name], completed=done, news=f"{done:,}/{total:,} images")


def _make_bar() -> Any:
    from rich.console import Console as RichConsole
    from rich.progress import BarColumn, TextColumn
    from rich.progress import Progress as RichProgress

    plain = os.environ.get("NO_COLOR", "") != ""
    return RichProgress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=12),
        TextColumn("{task.fields[news]}", markup=False),
        console=RichConsole(stderr=True, no_color=plain, force_terminal=True),
        transient=True,
    )


def _bpd(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f} bpd"
