"""`nf`: the commands, and what becomes of their errors."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from nfcli import __version__
from nfcli.cli.compare import compare
from nfcli.cli.console import print_error
from nfcli.cli.evaluate import evaluate
from nfcli.cli.look import inspect_dequant, interpolate, sample
from nfcli.cli.train import train
from nfcli.errors import NFError, UsageError

app = typer.Typer(
    name="nf",
    help="Normalizing flows on images: train, measure honestly, look at what was learned.",
    epilog="Exit codes: 0 done, 1 the work failed, 2 usage, 3 data, run or checkpoint missing or damaged, "
    "130 and 143 interrupted.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Train a model, or continue an unfinished run.")(train)
app.command("eval", short_help="Measure bits per dimension of a run.")(evaluate)
app.command(short_help="Draw images as a PNG grid.")(sample)
app.command(short_help="Walk between images in latent space.")(interpolate)
app.command("inspect-dequant", short_help="Show how integers become real numbers.")(inspect_dequant)
app.command(short_help="Print the results table.")(compare)


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
    """Run `nf` and exit: the entry point."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; an expected error becomes two lines on stderr."""
    try:
        return int(app(args=arguments, prog_name="nf", standalone_mode=False) or 0)
    except BrokenPipeError:
        # Whoever read stdout has gone, as with `nf ... | head`; Python must not try to flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (KeyboardInterrupt, typer.Abort):
        print("error: interrupted", file=sys.stderr)
        return 130
    except typer.TyperException as error:
        if _debugging():
            raise
        return _report(_usage_error(error))
    except NFError as error:
        if _debugging():
            raise
        return _report(error)
    except Exception as error:
        if _debugging():
            raise
        return _report(_unexpected(error))


def _report(error: NFError) -> int:
    print_error(error)
    return error.exit_code


def _usage_error(error: typer.TyperException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "nf"
    message = error.format_message().strip().rstrip(".")
    message = message[:1].lower() + message[1:]
    return UsageError(message or "no command was given", hint=f"{command} --help")


def _unexpected(error: Exception) -> NFError:
    text = (str(error).strip().splitlines() or ["no message"])[0][:300]
    return NFError(f"unexpected {type(error).__name__}: {text}", hint="NF_DEBUG=1 shows where; please report it")


def _debugging() -> bool:
    return os.environ.get("NF_DEBUG", "") not in ("", "0")
