"""What Typer's parser says, in the words and the form of every other error."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from typer.core import TyperCommand

from nfcli.errors import UsageError


class Command(TyperCommand):
    """A command whose usage line shows a required argument as its plain name."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


def usage_error(error: typer.TyperException, arguments: Sequence[str]) -> UsageError:
    """One error for whatever the parser did not understand.

    Args:
        error: What the parser raised.
        arguments: The command line, without the program's name.
    """
    command = getattr(getattr(error, "ctx", None), "command_path", None) or _command(arguments)
    help_of = f"{command} --help"
    wrong = _wrong_value(error)
    if wrong is not None:
        value, wanted = wrong
        return UsageError(f"{_name(error)} {value} is not possible", hint=f"it must be {wanted}")
    message, hint = error.format_message().strip().rstrip("."), help_of
    close = getattr(error, "possibilities", None)
    if close:
        message = message.partition(" (Possible")[0]
        hint = f"did you mean {' or '.join(sorted(close))}? {help_of}"
    message, _, suggestion = message.partition(". Did you mean ")
    if suggestion:
        hint = f"did you mean {suggestion.rstrip('?')}? {help_of}"
    return UsageError(message[:1].lower() + message[1:], hint=hint)


def _command(arguments: Sequence[str]) -> str:
    """The command of a line that was not understood: what comes first, unless that is an option."""
    return f"nf {arguments[0]}" if arguments and not arguments[0].startswith("-") else "nf"


def _wrong_value(error: Exception) -> tuple[str, str] | None:
    """The value that is of the wrong type, and what it must be, when that is what is wrong."""
    details = getattr(error.__cause__, "errors", None)
    if details is None:
        return None
    first = details()[0]
    if first["type"] == "int_parsing_size":  # thousands of digits
        return f"{first['input'][:40]}...", "a smaller number"
    return str(first["input"]), first["msg"].partition(",")[0].removeprefix("Input should be ")


def _name(error: Exception) -> str:
    parameter = getattr(error, "param", None)
    options = getattr(parameter, "opts", None) or ["the argument"]
    return str(max(options, key=len))
