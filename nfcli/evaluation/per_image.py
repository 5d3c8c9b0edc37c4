"""Each image's numbers in one file."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import numpy as np

from nfcli.evaluation.bound import PerImageBound
from nfcli.runs.files import write_bytes, write_text

COLUMNS = ("split", "index", "label", "log_prob", "elbo", "bpd", "effective_sample_size")


def save_per_image(path: Path, bounds: dict[str, PerImageBound], labels: dict[str, np.ndarray | None]) -> None:
    """Write .npz or .csv, by the path's suffix.

    Args:
        path: Where to.
        bounds: Of each split.
        labels: (N,) of each split, or None where unknown; then the label is -1 (npz) or empty (csv).

    The columns are split, index (in the split), label, log_prob and elbo (natural logarithms, of the K-draw and of the
    one-draw bound), bpd (bits per dimension of the former) and effective_sample_size.

    Raises:
        WriteError: The file cannot be written.
    """
    parts = [_columns(name, bound, labels.get(name)) for name, bound in bounds.items()]
    table: dict[str, Any] = {column: np.concatenate([part[column] for part in parts]) for column in COLUMNS}
    if path.suffix == ".npz":
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **table)
        write_bytes(path, buffer.getvalue())
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    cells = {column: table[column].tolist() for column in COLUMNS}
    cells["label"] = ["" if label == -1 else label for label in cells["label"]]
    writer.writerows(zip(*cells.values(), strict=True))
    write_text(path, text.getvalue())


def _columns(name: str, bound: PerImageBound, labels: np.ndarray | None) -> dict[str, np.ndarray]:
    count = len(bound.index)
    return {
        "split": np.full(count, name),
        "index": bound.index,
        "label": np.full(count, -1) if labels is None else labels[bound.index],
        "log_prob": bound.log_prob,
        "elbo": bound.elbo,
        "bpd": bound.bpd,
        "effective_sample_size": bound.effective_sample_size,
    }
