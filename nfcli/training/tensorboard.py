"""Training as TensorBoard events, beside metrics.jsonl; needs tensorboardX (the extra `tensorboard`)."""

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nfcli.errors import UsageError
from nfcli.training.reporter import Progress, Reporter

FOLDER = "tensorboard"
"""Of a run directory."""

SECONDS = 10.0
"""At most so often is the loss of a step written; rows of an epoch always are."""


class EventWriter(Reporter):
    """Passes everything on, and writes losses, validations and speed to `RUN/tensorboard`.

    Args:
        inner: Who is told too.

    Raises:
        UsageError: tensorboardX is not installed.
    """

    def __init__(self, inner: Reporter) -> None:
        if find_spec("tensorboardX") is None:
            raise UsageError("--tensorboard takes the package tensorboardX", hint="pip install 'nfcli[tensorboard]'")
        self.inner = inner
        self.message, self.warning, self.busy = inner.message, inner.warning, inner.busy  # type: ignore[method-assign]
        self._writer: Any = None

    def __enter__(self) -> "EventWriter":
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.close()

    def begin(self, run: Path, step: int) -> None:
        """Open a file of events; TensorBoard forgets what earlier files say of later steps."""
        self.inner.begin(run, step)
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(run / FOLDER), purge_step=step + 1 if step else None, flush_secs=SECONDS)
        self._written = 0.0

    def step(self, progress: Progress) -> None:
        """Write the batch's loss and the speed, now and then."""
        self.inner.step(progress)
        if time.monotonic() - self._written >= SECONDS:
            self._written = time.monotonic()
            self._writer.add_scalar("batch/bpd", progress.loss, progress.step)
            self._writer.add_scalar("batch/images_per_second", progress.images_per_second, progress.step)

    def row(self, row: dict[str, Any], progress: Progress) -> None:
        """Write what metrics.jsonl says."""
        self.inner.row(row, progress)
        for name in ("train_bpd", "val_bpd", "learning_rate", "skipped_steps"):
            if row.get(name) is not None:
                self._writer.add_scalar(f"epoch/{name}", row[name], row["step"])
