"""`nf`: the commands, and what becomes of their errors."""

import os
import sys
import traceback
from typing import Annotated

import typer

from nfcli import __version__
from nfcli.cli.compare import compare
from nfcli.cli.complete import mend_words
from nfcli.cli.console import abandon_stdout, print_error
from nfcli.cli.draw import inspect_dequant, interpolate, sample
from nfcli.cli.evaluate import evaluate
from nfcli.cli.options import with_options
from nfcli.cli.train import train
from nfcli.errors import NFError, UsageError
from nfcli.limits import settings_of
from nfcli.process.cluster import Cluster, end

app = typer.Typer(
    name="nf",
    help="Normalizing flows on images: train, measure honestly, look at what was learned.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 usage, 3 data, run or checkpoint missing, damaged or in use, "
    "129, 130 and 143 interrupted, 141 nobody reads the output.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

PLACES = {"seeds": "name", "config": "name", "dry_run": "checkpoint_minutes", "tensorboard": "checkpoint_minutes"}
PLACES |= dict.fromkeys(settings_of(Cluster), "network_dtype")
"""Options of `nf train` among those of its settings."""


for name, function, short_help in (
    ("train", with_options(train, **PLACES), "Train a model, or continue an unfinished run."),
    ("eval", with_options(evaluate), "Measure bits per dimension of a run."),
    ("sample", with_options(sample), "Draw images as a PNG grid."),
    ("interpolate", with_options(interpolate), "Walk between images in latent space."),
    ("inspect-dequant", with_options(inspect_dequant), "Show how integers become real numbers."),
    ("compare", with_options(compare), "Print the results table."),
):
    app.command(name, short_help=short_help)(function)


LESS_MEMORY = {"train": "--accumulate, --remat and a smaller --batch-size take less"}
LESS_MEMORY |= {"eval": "a smaller --batch-size takes less"}
"""What to do about it, of commands that have such options."""


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
    end(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; an expected error becomes two lines on stderr."""
    try:
        code = app(args=arguments or ["--help"], prog_name="nf", standalone_mode=False)
        return int(code or 0) if arguments else 2
    except (BrokenPipeError, SystemExit) as error:  # Typer makes the latter of the former
        if not isinstance(error, BrokenPipeError) and not isinstance(error.__context__, BrokenPipeError):
            raise
        # Whoever read stdout has gone, as with `nf ... | head`: the code of a program that SIGPIPE ended.
        abandon_stdout()
        return 141
    except Exception as error:
        if os.environ.get("NF_DEBUG", "") not in ("", "0"):
            traceback.print_exc()
        told = _told(error, arguments)
        print_error(told)
        return told.exit_code


def _told(error: Exception, arguments: list[str]) -> NFError:
    """What the user is told of an error."""
    match error:
        case NFError():
            return error
        case typer.TyperException():
            return _not_understood(error, arguments)
        case OSError():
            # What nf reads and writes has errors of its own; this is what changed under its hands.
            reason = error.strerror or str(error)
            hint = "was it moved or deleted meanwhile?" if isinstance(error, FileNotFoundError) else None
            return NFError(reason if error.filename is None else f"{error.filename}: {reason}", hint=hint)
        case MemoryError() | RuntimeError() if isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error):
            return NFError("there is not enough memory", hint=LESS_MEMORY.get("".join(arguments[:1])))
        case RuntimeError() | AssertionError() if missing := _missing_devices():
            return missing
    text = (str(error).strip().splitlines() or ["no message"])[0][:300]
    return NFError(f"unexpected {type(error).__name__}: {text}", hint="NF_DEBUG=1 shows where; please report it")


def _not_understood(error: typer.TyperException, arguments: list[str]) -> UsageError:
    """What Typer's parser says, in the words and the form of every other error."""
    details = getattr(error.__cause__, "errors", None)
    if details is not None:  # a value of the wrong type
        wrong = details()[0]
        value, wanted = str(wrong["input"]), wrong["msg"].partition(",")[0].removeprefix("Input should be ")
        if wrong["type"] == "int_parsing_size":  # thousands of digits
            value, wanted = f"{value[:40]}...", "a smaller number"
        options = getattr(getattr(error, "param", None), "opts", None) or ["the argument"]
        return UsageError(f"{max(options, key=len)} {value} is not possible", hint=f"it must be {wanted}")
    close = getattr(error, "possibilities", None) or ()
    message = error.message if close else error.format_message()
    message, _, suggestion = message.strip().rstrip(".").partition(". Did you mean ")
    meant = " or ".join(sorted(close)) or suggestion.rstrip("?")
    named = [word for word in arguments[:1] if not word.startswith("-")]
    command = getattr(getattr(error, "ctx", None), "command_path", None) or " ".join(["nf", *named])
    hint = f"did you mean {meant}? {command} --help" if meant else f"{command} --help"
    return UsageError(message[:1].lower() + message[1:], hint=hint)


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
