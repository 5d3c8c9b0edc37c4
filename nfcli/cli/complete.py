"""Completion of names in the shell: no import of jax, and silence when something is wrong."""

from __future__ import annotations

import os
from pathlib import Path


def complete_run(incomplete: str) -> list[str]:
    """Names of runs that begin with `incomplete`."""
    from nfcli.runs.directory import list_runs

    try:
        names = [run.name for run in list_runs(Path(os.environ.get("NF_RUNS_DIR", "runs")))]
    except OSError:
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[tuple[str, str]]:
    """Names of presets that begin with `incomplete`, with what they are."""
    from nfcli.presets import PRESETS

    return [(name, preset.summary) for name, preset in PRESETS.items() if name.startswith(incomplete)]
