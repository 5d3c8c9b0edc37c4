"""Each image's numbers: kept with every measurement, and written for the user as .npz or .csv. Needs numpy alone."""

import csv
import io
import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from nfcli.errors import REINSTALL, RunError
from nfcli.files import write_bytes, write_text
from nfcli.runs.directory import RunDir
from nfcli.runs.results import Evaluation

Table = dict[str, np.ndarray]
"""Columns of one length: split, index (in the split), label (-1 where unknown), log_prob and elbo (natural logarithms,
of the K-draw and the one-draw bound), bpd (bits per dimension of the former), effective_sample_size."""


NPZ_ERRORS = (OSError, EOFError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, BadZipFile, zlib.error)
"""What numpy and zipfile raise where a file is damaged, and what its reader does where it holds something else."""


def save_table(path: Path, table: Table) -> None:
    """Write .npz or .csv, by the path's suffix; an unknown label is empty in .csv.

    Raises:
        WriteError: The file cannot be written.
    """
    if path.suffix == ".npz":
        write_bytes(path, npz_bytes(table))
        return
    cells: dict[str, list[Any]] = {column: values.tolist() for column, values in table.items()}
    if "label" in cells:
        cells["label"] = ["" if label == -1 else label for label in cells["label"]]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([cells, *zip(*cells.values(), strict=True)])
    write_text(path, text.getvalue())


def concatenate(tables: list[Table]) -> Table:
    """Tables with the same columns, one after the other."""
    return {column: np.concatenate([table[column] for table in tables]) for column in tables[0]}


def keep_per_image(run: RunDir, evaluation: Evaluation, table: Table) -> None:
    """Keep a measurement's images in the run directory, for paired comparisons.

    Raises:
        WriteError: The file cannot be written.
    """
    write_bytes(per_image_path(run, evaluation), npz_bytes(table))


def load_per_image(run: RunDir, evaluation: Evaluation) -> Table:
    """What `keep_per_image` kept.

    Raises:
        RunError: It is missing or damaged.
    """
    path = per_image_path(run, evaluation)
    try:
        # Opened here: numpy leaves its own handle open when the file is no zip.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as content:
            table = {name: content[name] for name in content.files}
        if evaluation.bpd is None:
            raise ValueError("some image has no finite bound")
        if len(table["bpd"]) != evaluation.images or abs(float(table["bpd"].mean()) - evaluation.bpd) > 1e-9:
            raise ValueError("its mean is not the one in results.json")
        return table
    except NPZ_ERRORS as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else f"is damaged: {error}"
        hint = REINSTALL if run.pretrained else f"nf eval {run.name} writes it again"
        raise RunError(f"per-image file {path} {what}", hint=hint) from error


def per_image_path(run: RunDir, evaluation: Evaluation) -> Path:
    """Where a measurement's images are kept."""
    name = (
        f"{evaluation.split}-step{evaluation.checkpoint_step}-k{evaluation.importance_samples}"
        f"-seed{evaluation.seed}-{evaluation.images}images-{evaluation.split_fingerprint[:8]}.npz"
    )
    return run.path / "per-image" / name


def npz_bytes(columns: dict[str, Any]) -> bytes:
    """Arrays, or what becomes arrays, as an npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **columns)
    return buffer.getvalue()
