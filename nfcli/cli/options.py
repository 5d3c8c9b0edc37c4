"""Options that several commands share, and options that are made from declared settings."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from nfcli.cli.complete import complete_one_of, complete_run
from nfcli.config import TrainConfig
from nfcli.limits import settings_of

RUNS_DIR = Path("runs")

Options = dict[str, tuple[Any, Any]]
"""Type and default, by name."""


def options_of(kind: Any) -> Options:
    """The options of the declared settings of a dataclass; one that is on or off has no `--no-...`."""
    hints, options = get_type_hints(kind), {}
    defaults = {each.name: each.default for each in dataclasses.fields(kind)}
    for name, declared in settings_of(kind).items():
        if declared.help:
            completion: Any = complete_one_of(declared.choices) if declared.choices else declared.completion
            if declared.metavar == "RUN":
                completion = complete_run
            names = declared.names or (f"--{name.replace('_', '-')}",)
            option = typer.Option(
                *names,
                help=declared.help,
                metavar=declared.metavar,
                envvar=declared.envvar,
                autocompletion=completion,
            )
            options[name] = Annotated[hints[name], option], defaults[name]
    return options


def with_options(command: Callable[..., None], **before: str) -> Callable[..., None]:
    """A command as Typer wants it: a parameter that is a dataclass of declared settings becomes an option for each.

    Args:
        command: May take the settings of `TrainConfig` as `**settings`; what can only be given by name comes later.
        before: Of such parameters, the setting before whose option it stands instead.
    """
    own = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: each.annotation for name, each in own.items() if dataclasses.is_dataclass(each.annotation)
    }

    def expanded(name: str) -> Options:
        return options_of(groups[name]) if name in groups else {name: (own[name].annotation, own[name].default)}

    made: Options = {}
    for name, parameter in sorted(own.items(), key=lambda each: each[1].kind == inspect.Parameter.KEYWORD_ONLY):
        if parameter.kind is parameter.VAR_KEYWORD:
            for setting, option in options_of(TrainConfig).items():
                for mine in [mine for mine, place in before.items() if place == setting]:
                    made |= expanded(mine)
                made[setting] = option
        elif name not in before:
            made |= expanded(name)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{option: given.pop(option) for option in options_of(kind)})
        command(**given)

    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter(name, keyword, annotation=kind, default=of) for name, (kind, of) in made.items()]
    called.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    called.__annotations__ = {name: kind for name, (kind, _) in made.items()}
    return called


_TRAINING = options_of(TrainConfig)

Run = Annotated[
    str | None,
    typer.Argument(
        metavar="RUN",
        help="Name of the run, or pretrained:NAME; the one trained last by default.",
        autocompletion=complete_run,
    ),
]
RunsDir = _TRAINING["runs_dir"][0]
Devices = _TRAINING["devices"][0]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="A .png, .pdf or .svg file; a PNG in the run's figures by default."),
]
Dpi = Annotated[
    int | None, typer.Option("--dpi", help="Pixels an inch of the picture; 200 by default.", show_default=False)
]
