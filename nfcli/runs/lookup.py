"""From the name of a run to its directory, and which runs there are: the user's, and those that ship with nf."""

import os
import re
from difflib import get_close_matches
from pathlib import Path

from nfcli.errors import RunError, UsageError
from nfcli.files import real_path
from nfcli.runs.directory import RunDir
from nfcli.runs.pretrained import PREFIX, find_pretrained, suggestion

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+=-]{0,99}")


def default_runs_dir() -> Path:
    """Where runs live unless somebody says otherwise."""
    return Path(os.environ.get("NF_RUNS_DIR") or "runs")


def run_named(name: str, runs_dir: Path) -> RunDir:
    """The user's run directory of a name, whether it exists or not.

    Args:
        name: A plain name, or the path of a folder directly inside `runs_dir` (as shells complete it).
        runs_dir: Where runs live.

    Raises:
        UsageError: The name is not plain, or the folder leaves `runs_dir`.
    """
    path = Path(name.rstrip("/"))
    if path.parent != Path() and real_path(path.parent) == real_path(runs_dir):
        name = path.name
    if name.startswith(PREFIX):
        raise UsageError(f"'{name}' is the name of a run that ships with nf", hint="give a run of yours another name")
    if not NAME.fullmatch(name):
        raise UsageError(
            f"'{name}' is no run name",
            hint=f"use letters, digits and . _ + = - (runs are folders of {runs_dir}; --runs-dir names another place)",
        )
    run = runs_dir / name
    if _leaves(run, runs_dir):
        raise UsageError(f"run '{name}' is a link that leaves {runs_dir}", hint="use --runs-dir with its real place")
    return RunDir(run)


def find_run(name: str | None, runs_dir: Path) -> RunDir:
    """An existing run: the one named, be it the user's or one that ships, or the user's that was trained last.

    Raises:
        RunError: There is none.
        UsageError: The name is not plain.
    """
    if name is None:
        runs = list_runs(runs_dir)
        if not runs:
            raise no_run(runs_dir)
        return max(runs, key=_last_trained)
    if name.startswith(PREFIX):
        return find_pretrained(name, runs_dir)
    run = run_named(name, runs_dir)
    if not run.exists():
        known = [other.name for other in list_runs(runs_dir)]
        meant = "".join(f"did you mean '{close}'? " for close in get_close_matches(name, known, 1))
        listed = f"{meant}runs there: {', '.join(known) or 'none yet'}{suggestion(runs_dir, name)}"
        raise RunError(f"there is no run '{name}' in {runs_dir}", hint=listed)
    return run


def no_run(runs_dir: Path) -> RunError:
    """The error for a place without runs."""
    if runs_dir.exists() and not runs_dir.is_dir():
        return RunError(f"{runs_dir} is no folder, so it holds no runs", hint="--runs-dir names the folder of runs")
    hint = f"train one first, for example: nf train simple --smoke{suggestion(runs_dir)}"
    return RunError(f"there is no run in {runs_dir}", hint=hint)


def natural(name: str) -> tuple[list[str | int], str]:
    """What to sort names of runs by, so that w2 comes before w10."""
    parts = re.split(r"(\d+)", name)  # texts and numbers in turn
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def list_runs(runs_dir: Path) -> list[RunDir]:
    """All runs, by name; links that leave the folder are passed over.

    Raises:
        RunError: The folder cannot be read.
    """
    try:
        if not runs_dir.is_dir():
            return []
        paths = [path for path in runs_dir.iterdir() if NAME.fullmatch(path.name) and not _leaves(path, runs_dir)]
        return sorted((run for run in map(RunDir, paths) if run.exists()), key=lambda run: natural(run.name))
    except OSError as error:
        raise RunError(f"{runs_dir} cannot be read: {error.strerror or error}") from error


def _leaves(path: Path, runs_dir: Path) -> bool:
    try:
        return path.is_symlink() and real_path(path).parent != real_path(runs_dir)
    except OSError:
        return False


def _last_trained(run: RunDir) -> tuple[int, str]:
    # Training writes these two and nothing else does, so an evaluation does not make a run the latest.
    written = [run.path / "metrics.jsonl", run.path / "config.json"]
    return max(path.stat().st_mtime_ns for path in written if path.exists()), run.name
