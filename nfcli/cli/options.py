"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nfcli.cli.complete import complete_run

Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="Name of the run, or pretrained:NAME; the one trained last by default.",
        autocompletion=complete_run,
    ),
]
RunsDir = Annotated[Path, typer.Option("--runs-dir", envvar="NF_RUNS_DIR", help="Where run directories live.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="More details on stderr.")]
Devices = Annotated[
    int | None,
    typer.Option("--devices", envvar="NF_DEVICES", help="How many devices share a batch; automatic by default."),
]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The PNG file; in the run's figures by default.")]

RUNS_DIR = Path("runs")
