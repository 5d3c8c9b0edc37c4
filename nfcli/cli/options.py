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
Distributed = Annotated[
    bool, typer.Option("--distributed", help="Work with the other processes of a Slurm, MPI, Kubernetes or TPU job.")
]
Coordinator = Annotated[
    str | None,
    typer.Option(metavar="HOST:PORT", help="Work with others, started by hand: where process 0 listens."),
]
NumProcesses = Annotated[int | None, typer.Option(help="How many they are.")]
ProcessId = Annotated[int | None, typer.Option(help="Which of them this is, from 0.")]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="A .png, .pdf or .svg file; a PNG in the run's figures by default."),
]
Dpi = Annotated[
    int | None, typer.Option("--dpi", help="Pixels an inch of the picture; 200 by default.", show_default=False)
]
Scale = Annotated[
    int | None,
    typer.Option("--scale", help="Pixels along each side that one pixel becomes; by default as fits a screen."),
]

RUNS_DIR = Path("runs")
