"""What ships must say nothing of the machine that it comes from."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from nfcli.errors import RunError

SHORTEST = 4
"""A name of fewer letters could be in a file by chance."""


def check_portable(folder: Path, places: Iterable[Path]) -> None:
    """Look for absolute paths in JSON and text, and in every file for the name of this machine and some of its folders.

    Args:
        folder: What should ship.
        places: Folders that must not be named.

    Raises:
        RunError: Something of the kind is there.
    """
    names = [str(place) for place in places] + [socket.gethostname()]
    words = [name.encode() for name in names if len(name) >= SHORTEST]
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for word in words:
            if re.search(rb"(?<!\w)" + re.escape(word) + rb"(?!\w)", data):
                raise _found(path.relative_to(folder), word.decode())
        for text in _texts(path, data):
            if PurePosixPath(text).is_absolute() or PureWindowsPath(text).is_absolute():
                raise _found(path.relative_to(folder), text)


def _texts(path: Path, data: bytes) -> Iterator[str]:
    """What could be a path in a file: every text of JSON, every word of plain text."""
    if path.suffix == ".txt":
        yield from data.decode().split()
    elif path.suffix == ".json":
        yield from _in_json(json.loads(data))
    elif path.suffix == ".jsonl":
        yield from _in_json([json.loads(line) for line in data.splitlines()])


def _in_json(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, content in value.items():
            yield key
            yield from _in_json(content)
    elif isinstance(value, list):
        for content in value:
            yield from _in_json(content)


def _found(path: Path, text: str) -> RunError:
    return RunError(f"{path} names '{text}', which means something on this machine alone")
