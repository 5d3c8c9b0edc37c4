"""The one place that prints. stdout carries the result and nothing else; everything else goes to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from dataclasses import asdict, dataclass
from typing import Any

from nfcli.errors import NFError, WriteError, error_lines
from nfcli.limits import setting


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
        for text in texts if not self.quiet else ():
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
        with contextlib.suppress(OSError):
            if self.live is None:
                print(text, file=sys.stderr, flush=True)
            else:
                self.live.console.print(text, markup=False, highlight=False, soft_wrap=True)


def abandon_stdout() -> None:
    """Send what is still buffered to nowhere: Python would try to write it once more at exit, and fail loudly."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def print_error(error: NFError) -> None:
    """Print an error to stderr."""
    with contextlib.suppress(OSError):
        print(error_lines(error), end="", file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Seconds as people say them: `42 s`, `3 min 5 s`, `2 h 13 min`."""
    minutes, seconds = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
    return f"{minutes // 60} h {minutes % 60} min"


def speed(images_per_second: float) -> str:
    """Images per second with three digits that mean something."""
    return f"{images_per_second:,.0f} images/s" if images_per_second >= 100 else f"{images_per_second:.1f} images/s"
