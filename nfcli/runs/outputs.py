"""Where what the user names for output may go: not among the files of a run, nor in place of what nf did not write."""

import zipfile
from collections.abc import Iterable
from pathlib import Path

from nfcli.errors import UsageError
from nfcli.files import MAX_BYTES, real_path
from nfcli.runs.directory import RunDir
from nfcli.runs.pretrained import is_inside

SIGNATURE = "nf: normalizing flows on images"
"""Stands in every picture and page, so that nf knows them again."""

COLUMNS = b"split,index,label,log_prob"
"""Of every .csv, where its first line begins or after a name."""

ARRAYS = ({"about.npy", "level0.npy"}, {"images.npy", "run_id.npy"}, {"split.npy", "index.npy", "log_prob.npy"})
"""Of latents, samples and numbers of images, in every .npz."""


def check_output(option: str, path: Path, inputs: Iterable[str | Path] = ()) -> None:
    """Find out before the work whether its result may be written here.

    Args:
        option: That names the file.
        path: What the user named.
        inputs: What is read, and must not be replaced.

    Raises:
        UsageError: It would replace an input, a file of a run, or one that nf did not write.
    """
    if any(real_path(path) == real_path(source) for source in inputs):
        raise UsageError(f"{option} {path} would replace the images", hint="name another file")
    refuse_inside_run(path, option)
    if (path.exists() or path.is_symlink()) and not path.is_dir() and not _is_ours(path):
        raise UsageError(
            f"{option} {path} is there already, and does not say that nf wrote it",
            hint="give another name, or delete it first",
        )


def refuse_inside_run(path: Path, option: str) -> None:
    """Keep what the user names for output away from the files that make a run.

    Raises:
        UsageError: The path is in a run directory, and not in its `figures/`, or in one that ships.
    """
    place = real_path(path.absolute().parent)
    if is_inside(place):
        raise UsageError(f"{option} {path} would be among the files of nf itself", hint="write it elsewhere")
    around = (place, *place.parents)
    runs = (folder for folder in around if RunDir(folder).exists() and (folder / "checkpoints").is_dir())
    run = next(runs, None)
    if run is not None and run / "figures" not in around:
        raise UsageError(
            f"{option} {path} would be among the files of run '{run.name}'",
            hint=f"write it elsewhere, or into {run.name}/figures/",
        )


def _is_ours(path: Path) -> bool:
    """Whether nf wrote a file, by what is in it."""
    try:
        if not path.is_file():
            return False
        if path.suffix.lower() == ".npz":
            with zipfile.ZipFile(path) as archive:
                return any(arrays <= set(archive.namelist()) for arrays in ARRAYS)
        with path.open("rb") as file:
            if path.suffix == ".csv":
                return COLUMNS in file.readline(1000)
            return SIGNATURE.encode() in file.read(MAX_BYTES)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False
