"""The run directory and its files. Nothing heavy is imported before arrays are saved or loaded."""

from nfcli.runs.checkpoints import CheckpointMeta, Checkpoints
from nfcli.runs.directory import RunDir
from nfcli.runs.lookup import find_run, list_runs, run_named

__all__ = ["CheckpointMeta", "Checkpoints", "RunDir", "find_run", "list_runs", "run_named"]
