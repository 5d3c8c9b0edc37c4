"""JSON files that are whole or not there: written to a temporary file, flushed to disk, renamed. No NaN gets in."""

import errno
import json
import math
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from nfcli.errors import NFError, RunError, WriteError
from nfcli.process.signals import unfinished

SCHEMA_VERSION = 1
MAX_BYTES = 64 * 2**20

STAGING = ".saving-"
"""Begins the name of a folder that is being written."""


def real_path(path: str | Path) -> Path:
    """A path with its links followed, which `Path.resolve` refuses where they lead in a circle."""
    return Path(os.path.realpath(path))


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one JSON object, atomically.

    Raises:
        WriteError: The disk is full, or the folder cannot be written.
        ValueError: A number is not finite.
    """
    write_text(path, json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file, atomically.

    Raises:
        WriteError: The disk is full, or the folder cannot be written.
    """
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, atomically.

    Raises:
        WriteError: The disk is full, or the folder cannot be written.
    """
    with _beside(path) as temporary:
        with temporary.open("xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)


def check_place(path: Path) -> None:
    """Find out whether a file could be written here, before the work whose result it will hold.

    Raises:
        WriteError: It could not.
    """
    with _beside(path) as temporary:
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        temporary.touch(exist_ok=False)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """The place of a temporary file, which is gone afterwards unless it was renamed."""
    # Not from `tempfile`: its files are private to the user, and results should follow the umask.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with unfinished(temporary):
            yield temporary


def flush(*paths: Path) -> None:
    """Have the disk keep files, or what is in folders, before more is done."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_json(path: Path, *, kind: str, pipe: bool = False) -> dict[str, Any]:
    """Read one JSON object that `write_json` wrote.

    Args:
        path: The file.
        kind: What the user would call it, for messages.
        pipe: It may be a pipe, as a shell gives with `<(...)`: that is waited for.

    Raises:
        RunError: It is missing, is no JSON object, or has a schema that this version does not know.
    """
    text = read_text(path, kind=kind, pipe=pipe)
    try:
        content = parse_json(text)
    except ValueError as error:
        raise RunError(f"{kind} {path} is damaged: {error}", hint="it was changed by hand or cut off") from error
    if content.get("schema_version") != SCHEMA_VERSION:
        raise RunError(f"{kind} {path} is not of schema version {SCHEMA_VERSION}", hint="it was not written by this nf")
    return content


def parse_json(text: str) -> dict[str, Any]:
    """One JSON object with finite numbers.

    Raises:
        ValueError: It is something else.
    """
    try:
        content = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(content, dict):
        raise ValueError("it is no JSON object")
    return content


def read_text(path: Path, *, kind: str, pipe: bool = False) -> str:
    """Read a text file of this package.

    Raises:
        RunError: It is missing, no regular file, larger than any that nf writes, or no text.
    """
    try:
        if not (path.is_file() or (pipe and path.is_fifo())) and path.exists():
            raise RunError(f"{kind} {path} is not a regular file", hint="it was not written by nf")
        if path.stat().st_size > MAX_BYTES:
            raise RunError(f"{kind} {path} is larger than {MAX_BYTES // 2**20} MiB", hint="it was not written by nf")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RunError(f"{kind} {path} is missing") from None
    except OSError as error:
        raise RunError(f"{kind} {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise RunError(f"{kind} {path} is damaged: it is no text", hint="it was changed by hand or cut off") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses inside is told as a WriteError of a path."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path, error: OSError) -> WriteError:
    """The error for something that could not be written."""
    # "File exists" would be said of the parent, and would read as if the file were there already.
    reason = "its parent is not a folder" if isinstance(error, FileExistsError) else error.strerror or str(error)
    misplaced = isinstance(error, (FileExistsError, NotADirectoryError, FileNotFoundError, IsADirectoryError))
    hint = "name a place in a folder" if misplaced else "check free space, quota and permissions of that folder"
    return WriteError(f"cannot write {path}: {reason}", hint=hint)


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A folder for files that are not kept."""
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="nf-"))
    with unfinished(folder):
        yield folder


def remove_tree(path: Path) -> None:
    """Delete a folder of this package's own making; a missing one is fine.

    Raises:
        NFError: It cannot be deleted.
    """
    import shutil

    try:
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
    except OSError as error:
        raise NFError(f"cannot delete {path}: {error.strerror or error}") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a number that nf writes")
    return number
