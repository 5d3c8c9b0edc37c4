"""What users may choose: each value is declared once, with its default, its bounds and its words. No jax here."""

import dataclasses
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from nfcli.errors import UsageError

SPLITS = ("train", "val", "test")
"""What the images of a dataset are divided into."""

LARGEST = 2**31 - 1
"""What counts steps, images and draws in compiled programs has 32 bits."""

LARGEST_SEED = 2**32 - 1

LARGEST_FLOAT = 1e38
"""Of float32, about."""

Check = Callable[[Any], str | None]
"""Gives None for a value that is possible, and what it must be for another."""


def anything(_: object) -> None:
    """Whatever it is; the check of what is not checked."""


def whole(least: int = 1, most: int = LARGEST) -> Check:
    """A whole number within bounds; None stands for one that was left out."""

    def check(value: Any) -> str | None:
        try:
            if value is None or least <= operator.index(value) <= most:
                return None
        except TypeError:
            return "a whole number"
        return f"at least {least}" if value < least and most == LARGEST else f"between {least} and {most}"

    return check


def number(words: str, holds: Callable[[float], bool]) -> Check:
    """A number for which something holds, which the words say; None stands for one that was left out."""
    return lambda value: None if value is None or holds(value) else words


def one_of(choices: Sequence[str]) -> Check:
    """One of these words."""
    *others, last = choices
    return lambda value: None if value in choices else f"{', '.join(others)} or {last}" if others else last


POSITIVE = number(f"more than 0, and at most {LARGEST_FLOAT:g}", lambda value: 0 < value <= LARGEST_FLOAT)
SHARE = number("in (0, 1]", lambda value: 0 < value <= 1)
BELOW_ONE = number("0 or more, and less than 1", lambda value: 0 <= value < 1)
SEED = whole(0, LARGEST_SEED)  # every stream of random numbers takes these
TEMPERATURE = number("from 0 to 1,000", lambda value: 0 <= value <= 1000)  # larger latents only overflow


@dataclass(frozen=True)
class Setting:
    """What there is to say of a field of a dataclass besides its type and its default.

    Attributes:
        help: In words, as the command line says it; empty for what is no option there.
        check: Of its value.
        choices: All that it can be, where that is a few words.
        operational: It may change when a run is continued, and is not written down.
        decides_program: The compiled training step depends on it.
        local: The processes of one run need not agree on it.
        names: Of the option, where they are not just that of the field.
        metavar: What stands for the value in its help.
        envvar: The environment variable that may give it.
        completion: Completes it in a shell, where `choices` are not all to be said.
    """

    help: str = ""
    check: Check = anything
    choices: tuple[str, ...] = ()
    operational: bool = False
    decides_program: bool = True
    local: bool = False
    names: tuple[str, ...] = ()
    metavar: str | None = None
    envvar: str | None = None
    completion: Callable[[str], Any] | None = None


def setting(default: Any = dataclasses.MISSING, help: str = "", check: Check | None = None, **more: Any) -> Any:
    """A field of a dataclass with its `Setting`; where there are `choices`, it must be one of them."""
    check = check or (one_of(more["choices"]) if "choices" in more else anything)
    return field(default=default, metadata={"setting": Setting(help, check, **more)})


def settings_of(kind: Any) -> dict[str, Setting]:
    """What was declared of the fields of a dataclass, in their order."""
    return {each.name: each.metadata.get("setting", Setting()) for each in dataclasses.fields(kind)}


def check_settings(config: Any) -> None:
    """Check every field of a dataclass.

    Raises:
        UsageError: One of them is not possible.
    """
    for name, declared in settings_of(config).items():
        require(name, getattr(config, name), declared.check)


def require(name: str, value: object, check: Check) -> None:
    """Refuse a value of an option that cannot be, before anything is read, written or deleted for it.

    Raises:
        UsageError: It cannot.
    """
    wanted = check(value)
    if wanted is not None:
        raise UsageError(f"--{name.replace('_', '-')} {value} is not possible", hint=f"it must be {wanted}")


def refuse_together(config: Any, name: str, *others: str) -> None:
    """What says nothing where the field `name` is given may not be given either.

    Raises:
        UsageError: It is.
    """
    if not getattr(config, name):
        return
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    words = {"latents": "from-latents", "labels": "label"}
    for other in others:
        if getattr(config, other) != defaults[other]:
            first, second = ("--" + words.get(each, each).replace("_", "-") for each in (name, other))
            raise UsageError(f"{first} and {second} exclude each other", hint="give one of them")


def fits(value: Any, kind: Any) -> bool:
    """Whether a value of a JSON or TOML file is of a type as a dataclass has it, such as `int` or `float | None`."""
    kinds = get_args(kind) or (kind,)
    return type(value) in kinds or (type(value) is int and float in kinds)


def quoted(value: object) -> str:
    """A value as Python writes it, without the control characters that it may have, and not all of a long one."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
