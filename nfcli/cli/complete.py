"""Completion of names in the shell: no import of jax, and silence when something is wrong."""

from __future__ import annotations

import typer

from nfcli.errors import NFError


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs in the `--runs-dir` of the command line that begin with `incomplete`."""
    from nfcli.runs.lookup import list_runs

    try:
        names = [run.name for run in list_runs(ctx.params["runs_dir"])]
    except (NFError, OSError):
        return []
    return [name for name in names if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[tuple[str, str]]:
    """Names of presets that begin with `incomplete`, with what they are."""
    from nfcli.presets import PRESETS

    return [(name, preset.summary) for name, preset in PRESETS.items() if name.startswith(incomplete)]
