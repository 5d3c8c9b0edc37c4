"""The one place that prints. stdout carries the result and nothing else; everything else goes to stderr.

Progress is a live line on a terminal; elsewhere training prints a plain line an epoch.
"""

import json
import os
import sys
import textwrap
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Self, TextIO

from nfcli.errors import NFError, WriteError, error_lines
from nfcli.limits import setting
from nfcli.training.reporter import Progress, Reporter

COLUMNS = 80


@dataclass
class Console:
    """Prints for one command, as its options say."""

    as_json: bool = setting(False, "Print one JSON object on stdout.", names=("--json",))
    quiet: bool = setting(False, "Only warnings and errors on stderr.", names=("--quiet", "-q"))
    verbose: bool = setting(False, "More details on stderr.", names=("--verbose", "-v"))
    muted: bool = False
    live: Any = None
    """Of `rich`: a line that changes, above which all others are printed."""

    def mute(self) -> None:
        """Print nothing from now on: another process prints for all."""
        self.quiet = self.muted = True

    def result(self, content: Any, text: str) -> None:
        """Print the result: `content` (dataclasses, or what JSON knows) as JSON, or `text`."""
        if self.muted:
            return
        if self.as_json:
            text = json.dumps(content, indent=2, allow_nan=False, default=asdict)
        if sys.stdout is None:  # closed before nf began; printing would do nothing, and say nothing
            raise WriteError("cannot write the result to stdout: it is closed")
        try:
            print(text, flush=True)
        except BrokenPipeError:
            raise
        except OSError as error:
            abandon_stdout()
            raise WriteError(f"cannot write the result to stdout: {error.strerror or error}") from error
        except UnicodeEncodeError:
            # A terminal or a pipe of another encoding gets what it can show, rather than nothing.
            encoding = sys.stdout.encoding or "ascii"
            print(text.encode(encoding, "replace").decode(encoding), flush=True)

    def message(self, *texts: str) -> None:
        """Something worth a line each."""
        if not self.quiet:
            for text in texts:
                self._print(text)

    def detail(self, text: str) -> None:
        """Something for -v."""
        if self.verbose:
            self.message(text)

    def hint(self, text: str) -> None:
        """What the user may want to do next; not for scripts that read JSON."""
        if not self.as_json:
            self.message(f"hint: {text}")

    def warning(self, text: str) -> None:
        """Something went wrong and was survived."""
        if not self.muted:
            self._print(f"warning: {text}")

    def _print(self, text: str) -> None:
        # That nobody can be told, on a full disk for example, must not end the work.
        with suppress(OSError):
            text = fitted(text, sys.stderr)
            if self.live is None:
                print(text, file=sys.stderr, flush=True)
            else:
                self.live.console.print(text, markup=False, highlight=False, soft_wrap=True)


def abandon_stdout() -> None:
    """Send what is still buffered to nowhere: Python would try to write it once more at exit, and fail loudly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(error: NFError) -> None:
    """Print an error to stderr."""
    with suppress(OSError):
        print(fitted(error_lines(error), sys.stderr), file=sys.stderr, flush=True)


def fitted(text: str, file: TextIO | None) -> str:
    """Text in lines that end between words where a terminal is too narrow for them, and as it is elsewhere."""
    if file is None or not file.isatty():
        return text
    width = os.get_terminal_size(file.fileno()).columns or COLUMNS
    wrap = textwrap.TextWrapper(width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrap.fill(line) if len(line) > width else line for line in text.split("\n"))


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 5 s`, `2 h 13 min`."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def speed(images_per_second: float) -> str:
    """Images per second with three digits that mean something."""
    return f"{images_per_second:,.0f} images/s" if images_per_second >= 100 else f"{images_per_second:.1f} images/s"


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

    def hide(self, name: str) -> None:
        """Take away what was shown of a name, if anything was."""
        if name in self._tasks:
            self.show(name, visible=False)


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
        best = "" if progress.best_val_bpd is None else f", best {progress.best_val_bpd:.3f}"
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


class Waiting(LiveLine):
    """The name of what is waited for on a terminal, nothing elsewhere."""

    def __init__(self, console: Console, name: str) -> None:
        super().__init__(console)
        self.name = name

    def __enter__(self) -> Self:
        super().__enter__()
        self.show(self.name)
        return self


class CountProgress(Waiting):
    """`progress(name, done, total)` of evaluation as a live line on a terminal, nothing elsewhere."""

    def __init__(self, console: Console) -> None:
        super().__init__(console, "preparing")
        self._begun: dict[str, tuple[int, float]] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        now = time.monotonic()
        self.hide(self.name)
        # Compiling is over when something is done for the first time.
        before, since = self._begun.setdefault(name, (done, now)) if done else (0, now)
        left = f"  {duration((now - since) / (done - before) * (total - done))} left" if 0 < before < done else ""
        self.show(name, completed=done, total=total, news=f"{done:,}/{total:,} images{left}")


def _bpd(value: float | None) -> str:
    return "not finite" if value is None else f"{value:.3f} bpd"
