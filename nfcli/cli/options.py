"""Options that several commands share, and options that are made from declared settings."""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from inspect import Parameter, get_annotations
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from nfcli.cli.complete import complete_one_of, complete_run
from nfcli.config import TrainConfig
from nfcli.limits import settings_of

RUNS_DIR = Path("runs")


@functools.cache  # several commands have the same
def options_of(kind: Any) -> list[Parameter]:
    """The options of the declared settings of a dataclass; one that is on or off has no `--no-...`."""
    hints, settings, options = get_type_hints(kind), settings_of(kind), []
    # What a base class declares, for several commands, comes after what is a command's own.
    depth = {name: level for level, base in enumerate(kind.__mro__) for name in get_annotations(base)}
    for each in sorted(dataclasses.fields(kind), key=lambda each: depth[each.name]):
        declared = settings[each.name]
        if declared.help:
            completion: Any = complete_one_of(declared.choices) if declared.choices else declared.completion
            completion = complete_run if declared.metavar == "RUN" else completion
            names = declared.names or (f"--{each.name.replace('_', '-')}",)
            option = typer.Option(
                *names, help=declared.help, metavar=declared.metavar, envvar=declared.envvar, autocompletion=completion
            )
            made = Parameter(each.name, Parameter.KEYWORD_ONLY, default=each.default)
            options.append(made.replace(annotation=Annotated[hints[each.name], option]))
    return options


def with_options(command: Callable[..., None], **before: str) -> Callable[..., None]:
    """A command as Typer wants it: a parameter that is a dataclass of declared settings becomes an option for each.

    Args:
        command: May take the settings of `TrainConfig` as `**settings`; what can only be given by name comes later.
        before: Of such options, the one before which each stands instead.
    """
    own = inspect.signature(command, eval_str=True).parameters
    groups: dict[str, Any] = {
        name: it.annotation for name, it in own.items() if dataclasses.is_dataclass(it.annotation)
    }
    made: list[Parameter] = []
    for name, each in sorted(own.items(), key=lambda item: item[1].kind is Parameter.KEYWORD_ONLY):
        kind = TrainConfig if each.kind is Parameter.VAR_KEYWORD else groups.get(name)
        for option in [each.replace(kind=Parameter.KEYWORD_ONLY)] if kind is None else options_of(kind):
            place = [other.name for other in made].index(before[option.name]) if option.name in before else len(made)
            made.insert(place, option)

    @functools.wraps(command)
    def called(**given: Any) -> None:
        for name, kind in groups.items():
            given[name] = kind(**{each.name: given.pop(each.name) for each in options_of(kind)})
        command(**given)

    called.__signature__ = inspect.Signature(made)  # type: ignore[attr-defined]
    called.__annotations__ = {each.name: each.annotation for each in made}
    return called


def argument(metavar: str, help: str, completion: Callable[..., Any]) -> Any:
    """What Typer is told of an argument of a command."""
    return typer.Argument(metavar=metavar, help=help, autocompletion=completion)


_TRAINING = {each.name: each.annotation for each in options_of(TrainConfig)}

Run = Annotated[
    str | None, argument("RUN", "Name of the run, or pretrained:NAME; the one trained last by default.", complete_run)
]
RunsDir, Devices = _TRAINING["runs_dir"], _TRAINING["devices"]
