"""`draw_learning_curve(run)`: what metrics.jsonl says, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nfcli.drawing.curves import save_learning_curves
from nfcli.runs import RunDir
from nfcli.runs.directory import CURVES


def draw_learning_curve(run: RunDir) -> Path | None:
    """Draw training and validation bits per dimension over steps into the run's figures.

    Returns:
        The PNG, or None where there are fewer than two epochs to connect.

    Raises:
        RunError: metrics.jsonl is damaged.
        WriteError: The PNG cannot be written.
    """
    training, validation = learning_curves(run)
    if np.isfinite(training[1]).sum() < 2:
        return None
    path = run.figures / "learning-curve.png"
    save_learning_curves(
        path,
        {run.name: training},
        validation={run.name: validation} if np.isfinite(validation[1]).any() else None,
    )
    return path


def learning_curves(run: RunDir) -> list[tuple[np.ndarray, np.ndarray]]:
    """Steps, and bits per dimension in training; the same of validation. NaN where none were finite.

    Raises:
        RunError: metrics.jsonl is damaged.
    """
    rows, curves = run.metrics(CURVES), []
    for column in CURVES:
        known = [row for row in rows if column in row]
        curves.append((np.array([row["step"] for row in known]), np.array([row[column] for row in known], float)))
    return curves
