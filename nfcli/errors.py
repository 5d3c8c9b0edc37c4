"""Every error that a user can meet, as a tree.

    NFError                exit 1   the work failed
    ├── WriteError         exit 1   disk full, folder not writable, quota
    ├── DivergedError      exit 1   training gave up on a non-finite loss
    ├── NumericsError      exit 1   the installed libraries compute wrong on this machine
    ├── LostError          exit 1   another process of the same run is gone
    ├── UsageError         exit 2   a bad option, argument or combination
    ├── InputError         exit 3   something that should be read is missing or damaged
    │   ├── DataError               images
    │   ├── RunError                a run directory or one of its files
    │   └── CheckpointError         saved weights
    └── Interrupted        exit 128 + signal  SIGINT, SIGTERM or SIGHUP, after saving

The command line prints one of these as `error: ...` and, when there is one, `hint: ...`.
"""

from collections.abc import Callable

Say = Callable[[str], None]
"""Called with a sentence for the user: a message, or a warning of what was survived."""

REINSTALL = "the installation is damaged; install the package again"
"""The hint where something that ships with nf is missing or damaged."""


class NFError(Exception):
    """The work failed for a reason that the message explains.

    Args:
        message: One sentence, without a full stop, that names what went wrong.
        hint: One sentence that says what to do about it.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        if hint:
            self.add_note(f"hint: {hint}")  # Python shows it below the message


class WriteError(NFError):
    """Something could not be written."""


class DivergedError(NFError):
    """Training met non-finite losses or gradients and could not recover."""


class NumericsError(NFError):
    """The installed libraries return wrong numbers on this machine."""


class LostError(NFError):
    """Another process of the same run is gone."""


class UsageError(NFError):
    """An option, an argument or a combination of them makes no sense."""

    exit_code = 2


class InputError(NFError):
    """An input is missing or damaged."""

    exit_code = 3


class DataError(InputError):
    """Images cannot be found, read or understood."""


class RunError(InputError):
    """A run, or one of its files, is missing or damaged."""


class CheckpointError(InputError):
    """Saved weights are missing or damaged."""


class Interrupted(NFError):
    """A signal asked to stop; what could be saved has been saved.

    Args:
        message: What was done before stopping.
        hint: How to go on.
        signum: The signal's number; the exit code is 128 + signum.
    """

    def __init__(self, message: str, *, hint: str | None = None, signum: int) -> None:
        super().__init__(message, hint=hint)
        self.exit_code = 128 + signum


def one_line(error: BaseException) -> str:
    """An error of a library in one line; the first of its own lines alone may end in a colon."""
    return " ".join(str(error).split())[:200] or type(error).__name__


def error_lines(error: NFError) -> str:
    """One line that says what went wrong, one that says what to do."""
    hint = f"\nhint: {' '.join(error.hint.split())}" if error.hint else ""
    return f"error: {' '.join(error.message.split())}{hint}"
