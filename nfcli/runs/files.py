"""JSON files that are whole or not there: written to a temporary file, flushed to disk, renamed. No NaN gets in."""

from __future__ import annotations

import json
import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

from nfcli.errors import NFError, RunError, WriteError

SCHEMA_VERSION = 1
MAX_BYTES = 64 * 2**20


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write one JSON object, atomically.

    Raises:
        WriteError: The disk is full, or the folder cannot be written.
        ValueError: A number is not finite.
    """
    text = json.dumps({"schema_version": SCHEMA_VERSION, **content}, indent=2, allow_nan=False) + "\n"
    write_text(path, text)


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
    # Not from `tempfile`: its files are private to the user, and results should follow the umask.
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            # Gone already after a successful replacement; a failing clean-up must not hide the first error.
            with suppress(OSError):
                temporary.unlink()
    except OSError as error:
        raise write_error(path, error) from error


def read_json(path: Path, *, kind: str) -> dict[str, Any]:
    """Read one JSON object that `write_json` wrote.

    Args:
        path: The file.
        kind: What the user would call it, for messages.

    Raises:
        RunError: It is missing, is no JSON object, or has a schema that this version does not know.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise RunError(f"{kind} {path} is larger than {MAX_BYTES // 2**20} MiB", hint="it was not written by nf")
        content = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise RunError(f"{kind} {path} is missing") from None
    except OSError as error:
        raise RunError(f"{kind} {path} cannot be read: {error.strerror or error}") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{kind} {path} is damaged: {error}", hint="it was changed by hand or cut off") from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise RunError(f"{kind} {path} is not of schema version {SCHEMA_VERSION}", hint="it was not written by this nf")
    return content


def write_error(path: Path, error: OSError) -> WriteError:
    """The error for something that could not be written."""
    # "File exists" would be said of the parent, and would read as if the file were there already.
    reason = "its parent is not a folder" if isinstance(error, FileExistsError) else error.strerror or str(error)
    return WriteError(f"cannot write {path}: {reason}", hint="check free space, quota and permissions of that folder")


def remove_tree(path: Path) -> None:
    """Delete a folder of this package's own making; a missing one is fine.

    Raises:
        NFError: It cannot be deleted.
    """
    import shutil

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NFError(f"cannot delete {path}: {error.strerror or error}") from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number that nf writes")
