"""A folder whose files are code, and so must be this user's alone: compiled programs.

It is opened once, and what is read and written goes through its descriptor, whatever becomes of its name.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A descriptor of a folder, made if need be, that no other user can write to, rename or replace.

    Args:
        path: From the root, and without links.

    Raises:
        PermissionError: Another user can do that.
        OSError: There is no such folder, or this system cannot tell.
    """
    if os.open not in os.supports_dir_fd:
        raise PermissionError("this system does not open a file by the folder that it is in")
    with ExitStack() as stack:

        def enter(name: str, above: int | None, access: int) -> int:
            entered = os.open(name, access | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=above)
            stack.callback(os.close, entered)
            return entered

        # A folder may let its user pass, and not look inside.
        passing = getattr(os, "O_PATH", os.O_RDONLY)
        folder, exposed = enter(path.anchor, None, passing), True
        for name in path.parts[1:]:
            exposed = _stays(os.fstat(folder), exposed)
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=folder)
            folder = enter(name, folder, passing)
        _require_own(os.fstat(folder))
        yield enter(".", folder, os.O_RDONLY)


def read(folder: int, name: str) -> bytes:
    """Read a file of an opened folder, and note that it was used.

    Raises:
        OSError: It is not there, or another user's.
    """
    with os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=folder), "rb") as file:
        _require_own(os.fstat(file.fileno()))
        os.utime(file.fileno())
        return file.read()


def write(folder: int, name: str, content: bytes) -> None:
    """Write a file of an opened folder anew; a kill may leave a part of it.

    Raises:
        OSError: It cannot be written; then it is not there.
    """
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=folder)
    with os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600, dir_fd=folder), "wb") as file:
        try:
            file.write(content)
            file.flush()
        except OSError:
            os.unlink(name, dir_fd=folder)
            raise


def forget_oldest(folder: int, suffix: str, kept: int) -> None:
    """Remove all files of a name's ending but those that were used last."""
    with suppress(OSError):
        names = [name for name in os.listdir(folder) if name.endswith(suffix)]
        for name in sorted(names, key=lambda name: os.stat(name, dir_fd=folder).st_mtime)[:-kept]:
            os.unlink(name, dir_fd=folder)


def _stays(status: os.stat_result, exposed: bool) -> bool:
    """Whether others can reach what is in a folder, given that they can reach the folder, and cannot replace it.

    Raises:
        PermissionError: They can replace it.
    """
    writable = status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX
    if status.st_uid not in (0, os.getuid()) or (exposed and writable):
        raise PermissionError("another user can replace what is in a folder above")
    return exposed and bool(status.st_mode & 0o011)


def _require_own(status: os.stat_result) -> None:
    if status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise PermissionError("another user can write to it")
