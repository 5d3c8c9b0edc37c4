"""Progress of training: a live line on a terminal, a plain line an epoch elsewhere."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import replace
from typing import Any, Self

from nfcli.cli.console import Console, duration, speed
from nfcli.training.reporter import Progress, Reporter

COLUMNS = 80


class LiveLine:
    """A live line on a terminal, while it is entered; nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not self.console.quiet:
            from rich import console, progress

            self.console.live = progress.Progress(
                progress.TextColumn("{task.description}", markup=False),
                progress.BarColumn(bar_width=12),
                progress.TextColumn("{task.fields[news]}", markup=False),
                console=console.Console(stderr=True, force_terminal=True),
                transient=True,
            )
            self.console.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        bar, self.console.live = self.console.live, None
        with suppress(OSError):  # the terminal may be gone
            if bar is not None:
                bar.stop()

    def show(self, name: str, **fields: Any) -> None:
        """Change what the line says; each name has one of its own."""
        bar = self.console.live
        if bar is not None:
            with suppress(OSError):
                if name not in self._tasks:
                    self._tasks[name] = bar.add_task(name, total=None, news="")
                bar.update(self._tasks[name], **fields)


class TrainingProgress(LiveLine, Reporter):
    """Prints what training reports."""

    _shown: Progress | None = None

    def message(self, text: str) -> None:
        """Print a line, above the live one."""
        self.console.message(text)

    def warning(self, text: str) -> None:
        """Print a warning."""
        self.console.warning(text)

    def busy(self, text: str) -> None:
        """Say what is waited for."""
        if self.console.live is None:
            self.console.message(text)
        self.show("training", description=text)

    def step(self, progress: Progress) -> None:
        """Move the live line."""
        self._shown = progress
        best = "" if progress.best_val_bpd is None else f"  best {progress.best_val_bpd:.3f}"
        fast, left = speed(progress.images_per_second), duration(progress.seconds_left)
        self.show(
            "training",
            description=f"epoch {progress.epoch}/{progress.epochs}",
            completed=progress.step,
            total=progress.total_steps,
            news=f"{progress.loss:.3f} bpd{best}  {fast}  {left} left",
        )

    def row(self, row: dict[str, Any], progress: Progress) -> None:
        """Print an epoch's line; on a terminal, which has the live one, only where it was validated."""
        if self._shown is not None:  # after the last validation no step follows that would tell the best
            self.step(replace(self._shown, best_val_bpd=progress.best_val_bpd))
        live = self.console.live is not None
        if live and "val_bpd" not in row:
            return
        parts = [f"epoch {row['epoch']}/{progress.epochs}", f"train {_bpd(row['train_bpd'])}"]
        if "val_bpd" in row:
            best = ", best" if row["val_bpd"] is not None and row["val_bpd"] == progress.best_val_bpd else ""
            parts.append(f"val {_bpd(row['val_bpd'])}{best}")
        fast = [] if row["images_per_second"] is None else [speed(row["images_per_second"])]
        ends = live or progress.step >= progress.total_steps
        left = [] if ends else [f"{duration(progress.seconds_left)} left"]
        line = "  ".join([*parts, *fast, *left])
        # The speed is also in metrics.jsonl and in the result.
        self.console.message(line if len(line) <= COLUMNS else "  ".join([*parts, *left]))


class CountProgress(LiveLine):
    """`progress(name, done, total)` of evaluation as a live line on a terminal, nothing elsewhere."""

    def __call__(self, name: str, done: int, total: int) -> None:
        self.show(name, completed=done, total=total, news=f"{done:,}/{total:,} images")


def _bpd(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f} bpd"
