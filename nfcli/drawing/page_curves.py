"""The learning curves on the page: one plot for the runs of the same images."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np

from nfcli.drawing.curves import Curve, save_learning_curves
from nfcli.drawing.learning_curve import learning_curves
from nfcli.drawing.page_pictures import PHONE, Say, embedded
from nfcli.drawing.page_tables import section
from nfcli.errors import NFError
from nfcli.files import scratch_folder
from nfcli.runs import RunDir

WIDE, NARROW = (9.0, 4.2), (4.2, 3.6)
"""Inches of the learning curves on a screen, and on a phone."""

Curves = dict[str, Curve]


def curves_section(runs: dict[str, RunDir], warn: Say) -> str:
    """Bits per dimension while training: a plot for each data set, and for labels given and not, which do not compare.

    Args:
        runs: By name.
        warn: Called with a sentence for each run that cannot be shown.
    """
    groups: dict[tuple[str, bool], tuple[str, Curves, Curves]] = {}
    for name, run in runs.items():
        try:
            found, config = learning_curves(run), run.config()
        except NFError as error:
            warn(f"no learning curve of '{name}': {error.message}")
            continue
        same = (config["data"]["fingerprint"], bool(config["model"].get("classes", 0)))
        _, *curves = groups.setdefault(same, (_data_in_words(config), {}, {}))
        batch = config["settings"]["batch_size"]
        for (steps, values), of_group in zip(found, curves, strict=True):
            if np.isfinite(values).any():
                of_group[name] = (steps * batch / 1000, values)
    plots = [(words, _plot(*curves)) for words, *curves in groups.values() if any(curves)]
    if not plots:
        return section("Learning curves", '<p class="note">Nothing was trained for a whole epoch yet.</p>')
    parts = [f"<h3>{escape(words)}</h3>{plot}" if len(groups) > 1 else plot for words, plot in plots]
    caption = "Lines: mean of an epoch in training. Markers: validation, one noise draw."
    return section("Learning curves", *parts, f'<p class="note">{caption}</p>')


def _data_in_words(config: dict[str, Any]) -> str:
    data = config["data"]
    given = ", given labels" if config["model"].get("classes", 0) else ""
    return f"{data['name']} (fingerprint {data['fingerprint'][:12]}){given}"


def _plot(training: Curves, validation: Curves) -> str:
    with scratch_folder() as folder:
        pictures = []
        for number, size in enumerate((WIDE, NARROW)):
            path = folder / f"{number}.png"
            save_learning_curves(
                path, training, validation=validation, x_label="Training images seen (thousands)", size=size
            )
            pictures.append(embedded(path))
    alt = escape("Bits per dimension while training, of " + ", ".join(dict.fromkeys([*training, *validation])))
    return (
        f'<figure><picture><source media="{PHONE}" srcset="{pictures[1]}">'
        f'<img src="{pictures[0]}" alt="{alt}"></picture></figure>'
    )
