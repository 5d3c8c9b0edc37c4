"""`nf`: the commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated

import typer

from nfcli import __version__
from nfcli.cli.compare import compare
from nfcli.cli.complete import mend_words
from nfcli.cli.console import abandon_stdout, print_error
from nfcli.cli.draw import inspect_dequant, interpolate, sample
from nfcli.cli.evaluate import evaluate
from nfcli.cli.options import with_options
from nfcli.cli.parsing import Command, usage_error
from nfcli.cli.train import train
from nfcli.errors import NFError, UsageError
from nfcli.process.cluster import end

app = typer.Typer(
    name="nf",
    help="Normalizing flows on images: train, measure honestly, look at what was learned.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 usage, 3 data, run or checkpoint missing, damaged or in use, "
    "129, 130 and 143 interrupted.",
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
PLACES = {"seeds": "name", "config": "name", "dry_run": "checkpoint_minutes", "tensorboard": "checkpoint_minutes"}
PLACES |= {"cluster": "network_dtype"}
"""Options of `nf train` among those of its settings."""

COMMANDS: tuple[tuple[str, Callable[..., None], str], ...] = (
    ("train", with_options(train, **PLACES), "Train a model, or continue an unfinished run."),
    ("eval", with_options(evaluate), "Measure bits per dimension of a run."),
    ("sample", with_options(sample), "Draw images as a PNG grid."),
    ("interpolate", with_options(interpolate), "Walk between images in latent space."),
    ("inspect-dequant", with_options(inspect_dequant), "Show how integers become real numbers."),
    ("compare", with_options(compare), "Print the results table."),
)

for name, function, short_help in COMMANDS:
    app.command(name, cls=Command, short_help=short_help)(function)


def _print_version(value: bool) -> None:
    if value:
        print(f"nf {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Run `nf` and exit."""
    mend_words(os.environ)
    try:
        code = run(sys.argv[1:])
    except Exception:  # only with NF_DEBUG
        traceback.print_exc()
        code = 1
    end(code)


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; an expected error becomes two lines on stderr."""
    try:
        if not arguments:
            app(args=["--help"], prog_name="nf", standalone_mode=False)
            return 2
        return int(app(args=arguments, prog_name="nf", standalone_mode=False) or 0)
    except BrokenPipeError:
        # Whoever read stdout has gone, as with `nf ... | head`.
        abandon_stdout()
        return 1
    except Exception as error:
        if os.environ.get("NF_DEBUG", "") not in ("", "0"):
            raise
        told = _told(error, arguments)
        print_error(told)
        return told.exit_code


def _told(error: Exception, arguments: list[str]) -> NFError:
    """What the user is told of an error."""
    if isinstance(error, NFError):
        return error
    if isinstance(error, typer.TyperException):
        return usage_error(error, arguments)
    if isinstance(error, OSError):
        return _of_the_system(error)
    missing = isinstance(error, (RuntimeError, AssertionError)) and _missing_devices()
    return missing or _unexpected(error)


def _of_the_system(error: OSError) -> NFError:
    # What nf reads and writes has errors of its own; this is what changed under its hands.
    reason = error.strerror or str(error)
    hint = "was it moved or deleted meanwhile?" if isinstance(error, FileNotFoundError) else None
    return NFError(reason if error.filename is None else f"{error.filename}: {reason}", hint=hint)


def _missing_devices() -> NFError | None:
    """The error of whoever asked jax for devices that are not there: it is met wherever they are first used."""
    wanted = os.environ.get("JAX_PLATFORMS")
    if not wanted or "cpu" in wanted.split(",") or "jax" not in sys.modules:
        return None
    try:
        sys.modules["jax"].devices()
    except Exception:
        hint = "leave it unset, or set it to cpu, or install jax for these devices"
        return UsageError(f"JAX_PLATFORMS={wanted} asks for devices that are not here", hint=hint)
    return None


def _unexpected(error: Exception) -> NFError:
    text = (str(error).strip().splitlines() or ["no message"])[0][:300]
    return NFError(f"unexpected {type(error).__name__}: {text}", hint="NF_DEBUG=1 shows where; please report it")
