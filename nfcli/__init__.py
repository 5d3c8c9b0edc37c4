"""`nf`: normalizing flows on images, from a shell; and from Python, `nfcli.load`. CONTRIBUTING.md draws the rooms."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nfcli.api import TrainedFlow

__version__ = "0.1.0"


def load(run: str | None = None, runs_dir: Path | str | None = None) -> "TrainedFlow":
    """A trained run as functions of numpy arrays: log_prob, bpd, sample, encode, decode.

    Best called before jax is imported, because the flags that make a CPU fast are set here.

    Args:
        run: Name of the run, or `pretrained:NAME`; None for the one trained last.
        runs_dir: Where runs live; None for `NF_RUNS_DIR`, or else `runs`.

    Raises:
        nfcli.errors.UsageError: The name cannot be that of a run.
        nfcli.errors.InputError: There is no such run, or it is damaged.
        nfcli.errors.NumericsError: The installed jaxlib computes wrong here.
    """
    from nfcli.backend import runtime

    runtime.prepare()
    from nfcli.api import TrainedFlow
    from nfcli.evaluation.numerics import check_numerics
    from nfcli.runs import default_runs_dir, find_run
    from nfcli.runs.restore import restore

    check_numerics()
    return TrainedFlow(restore(find_run(run, Path(runs_dir or default_runs_dir()))))
