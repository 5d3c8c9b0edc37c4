"""Options that several commands share, and those that are made from the declared settings of a training."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer

from nfcli.cli.complete import complete_one_of, complete_run
from nfcli.cli.console import Console
from nfcli.config import TrainConfig
from nfcli.limits import settings_of
from nfcli.process.cluster import cluster_of

SETTINGS = {name: declared for name, declared in settings_of(TrainConfig).items() if declared.help}
"""Of a training, those that are options."""

KINDS, DEFAULTS = get_type_hints(TrainConfig), TrainConfig("simple")


def option(name: str) -> Any:
    """The option of a setting of `TrainConfig`; one that is on or off has no `--no-...`."""
    declared = SETTINGS[name]
    names = (f"--{name.replace('_', '-')}", *declared.other_names)
    completion = complete_one_of(declared.choices) if declared.choices else None
    return typer.Option(*names, help=declared.help, autocompletion=completion, **declared.option)


Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="Name of the run, or pretrained:NAME; the one trained last by default.",
        autocompletion=complete_run,
    ),
]
RunsDir = Annotated[Path, option("runs_dir")]
Devices = Annotated[int | None, option("devices")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The PNG file; in the run's figures by default.")]

RUNS_DIR = Path("runs")

GROUPS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "console": (
        Console,
        {
            "as_json": Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")],
            "quiet": Annotated[bool, typer.Option("--quiet", "-q", help="Only warnings and errors on stderr.")],
            "verbose": Annotated[bool, typer.Option("--verbose", "-v", help="More details on stderr.")],
        },
    ),
    "cluster": (
        cluster_of,
        {
            "distributed": Annotated[
                bool,
                typer.Option(
                    "--distributed", help="Work with the other processes of a Slurm, MPI, Kubernetes or TPU job."
                ),
            ],
            "coordinator": Annotated[
                str | None,
                typer.Option(metavar="HOST:PORT", help="Work with others, started by hand: where process 0 listens."),
            ],
            "num_processes": Annotated[int | None, typer.Option(help="How many they are.")],
            "process_id": Annotated[int | None, typer.Option(help="Which of them this is, from 0.")],
        },
    ),
}
"""Parameters of commands for each of which there are several options, and what makes it of them."""


def with_options(command: Callable[..., None], **before: str) -> Callable[..., None]:
    """A command as Typer wants it, with an option for each setting of `TrainConfig` in place of its `**settings`.

    Args:
        command: May take parameters of `GROUPS`. Those that can only be given by name come after the settings.
        before: The setting before whose option one of them stands instead.
    """
    own = inspect.signature(command, eval_str=True).parameters
    made: dict[str, tuple[Any, Any]] = {}
    for parameter in own.values():
        if parameter.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD:
            made |= _options(parameter)
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in own.values()):
        for name in SETTINGS:
            for mine in [mine for mine, place in before.items() if place == name]:
                made |= _options(own[mine])
            made[name] = Annotated[KINDS[name], option(name)], getattr(DEFAULTS, name)
    for name, parameter in own.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name not in before:
            made |= _options(parameter)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, (make, options) in GROUPS.items():
            if name in own:
                given[name] = make(**{each: given.pop(each) for each in options})
        command(**given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, keyword, annotation=kind, default=of) for name, (kind, of) in made.items()]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {name: kind for name, (kind, _) in made.items()}
    return called


def _options(parameter: inspect.Parameter) -> dict[str, tuple[Any, Any]]:
    """Type and default of the options of a parameter of a command."""
    if parameter.name not in GROUPS:
        return {parameter.name: (parameter.annotation, parameter.default)}
    options = GROUPS[parameter.name][1]
    return {name: (kind, False if get_args(kind)[0] is bool else None) for name, kind in options.items()}
