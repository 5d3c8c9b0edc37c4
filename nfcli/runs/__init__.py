"""The run directory and its files. Nothing heavy is imported before arrays are saved or loaded."""

from nfcli.runs.checkpoints import CheckpointMeta, Checkpoints
from nfcli.runs.directory import RunDir
from nfcli.runs.lookup import default_runs_dir, find_run, list_runs, run_named

__all__ = ["CheckpointMeta", "Checkpoints", "RunDir", "default_runs_dir", "find_run", "list_runs", "run_named"]
