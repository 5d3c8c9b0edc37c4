"""`draw_learning_curve(run)`: what metrics.jsonl says, as a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nfcli.figures import save_learning_curves
from nfcli.runs import RunDir


def draw_learning_curve(run: RunDir) -> Path | None:
    """Draw training and validation bits per dimension over steps into the run's figures.

    Returns:
        The PNG, or None where there are fewer than two epochs to connect.

    Raises:
        RunError: metrics.jsonl is damaged.
        WriteError: The PNG cannot be written.
    """
    rows = run.metrics()
    if len([row for row in rows if row.get("train_bpd") is not None]) < 2:
        return None
    path = run.figures / "learning-curve.png"
    validated = [row for row in rows if row.get("val_bpd") is not None]
    save_learning_curves(
        path,
        {run.name: _curve(rows, "train_bpd")},
        validation={run.name: _curve(validated, "val_bpd")} if validated else None,
    )
    return path


def _curve(rows: list[dict[str, float]], column: str) -> tuple[np.ndarray, np.ndarray]:
    return np.array([row["step"] for row in rows]), np.array([row[column] for row in rows], float)
