"""A folder of programs that another user could write to, rename or replace is not used."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfcli.backend import private, programs, runtime


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that others can look into; they cannot into those that pytest makes."""
    folder = Path(tempfile.mkdtemp(prefix="nf-test-private-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def made(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o757])
def test_nothing_is_kept_below_a_folder_that_others_write_to(shared, monkeypatch, mode) -> None:
    """Neither what nf keeps itself nor what it would have jax keep; and what lies there is not looked at."""
    above = made(shared / "above", mode)
    monkeypatch.setenv("NF_CACHE_DIR", str(above / "mine"))
    assert runtime.compilation_cache() is None
    assert programs._folder() is None
    assert not list(above.iterdir())


@pytest.mark.skipif(os.getuid() != 0, reason="root gives files away")
@pytest.mark.parametrize("given", ["above", "above/mine"])
def test_nothing_is_kept_in_or_below_a_folder_of_another_user(shared, given) -> None:
    mine = shared / "above" / "mine"
    mine.mkdir(parents=True)
    os.chown(shared / given, 65534, 65534)
    with pytest.raises(PermissionError), private.opened(mine):
        pass


def test_others_may_write_beside_it_where_they_cannot_rename_or_cannot_come(shared) -> None:
    sticky, closed = made(shared / "sticky", 0o1777), made(shared / "closed", 0o700)
    for path in sticky / "mine", made(closed / "open", 0o777) / "mine":
        with private.opened(path):
            assert path.stat().st_mode & 0o777 == 0o700


def test_a_folder_itself_must_be_closed_to_others(tmp_path) -> None:
    with pytest.raises(PermissionError), private.opened(made(tmp_path / "mine", 0o770)):
        pass


def test_links_are_followed_before_and_never_after(tmp_path, monkeypatch) -> None:
    target, link = made(tmp_path / "target", 0o700), tmp_path / "link"
    link.symlink_to(target)
    with pytest.raises(OSError, match=r"link|directory"), private.opened(link / "mine"):
        pass
    monkeypatch.setenv("NF_CACHE_DIR", str(link))
    folder = runtime.compilation_cache()
    assert folder is not None
    assert folder.parent == target


def test_what_is_read_is_what_was_written_whatever_becomes_of_the_name(tmp_path) -> None:
    with private.opened(tmp_path / "mine") as folder:
        (tmp_path / "mine").rename(tmp_path / "moved")
        made(tmp_path / "mine", 0o700).joinpath("a.program").write_bytes(b"hostile")
        private.write(folder, "a.program", b"mine")
        assert private.read(folder, "a.program") == b"mine"
        private.write(folder, "a.program", b"mine again")
        assert private.read(folder, "a.program") == b"mine again"


@pytest.mark.parametrize("how", ["written by others", "a link"])
def test_a_file_that_others_may_have_made_is_not_read(tmp_path, how) -> None:
    (tmp_path / "elsewhere").write_bytes(b"hostile")
    with private.opened(tmp_path / "mine") as folder:
        path = tmp_path / "mine" / "a.program"
        if how == "a link":
            path.symlink_to(tmp_path / "elsewhere")
        else:
            path.touch()
            path.chmod(0o666)
        with pytest.raises(OSError, match=r"another user|symbolic link"):
            private.read(folder, "a.program")
        private.write(folder, "a.program", b"mine")
        assert private.read(folder, "a.program") == b"mine"
    assert (tmp_path / "elsewhere").read_bytes() == b"hostile"
