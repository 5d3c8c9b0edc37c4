"""Checks of what JSON files hold, so that a file edited by hand is refused where it is read and not where it hurts.

A type such as `Count` is `int` to Python and says besides what a value read from a file must be. Fields of dataclasses
have these types, and `parse` makes the dataclass of a JSON object; `X | None` takes null too.
"""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, TypeVar, get_args, get_type_hints

from nfcli.limits import quoted

T = TypeVar("T")

LARGEST = 2**53
"""Whole numbers above are none that nf counts, and would not survive other JSON readers."""

LARGEST_NUMBER = 1e39
"""What is made of numbers of float32 is no larger; 1e308 would overflow wherever something is done with it."""

LARGEST_IMAGE = 2**26
"""Numbers in an image: more than any that a flow can be trained on."""


class Check(NamedTuple):
    """What a value must be, in words, and the test of it."""

    words: str
    holds: Callable[[Any], bool]


def is_whole(value: Any, least: int = -LARGEST) -> bool:
    """Whether a value is a whole number, not below the least one."""
    return type(value) is int and least <= value <= LARGEST


def _is_number(value: Any) -> bool:
    return (type(value) is float and abs(value) <= LARGEST_NUMBER) or is_whole(value)


def _is_shape(value: Any) -> bool:
    sizes = isinstance(value, list) and len(value) == 3 and all(is_whole(size, 1) for size in value)
    return sizes and math.prod(value) <= LARGEST_IMAGE


Text = Annotated[str, Check("text", lambda value: isinstance(value, str))]
Flag = Annotated[bool, Check("true or false", lambda value: isinstance(value, bool))]
Object = Annotated[dict[str, Any], Check("an object", lambda value: isinstance(value, dict))]
List = Annotated[list[Any], Check("a list", lambda value: isinstance(value, list))]
Count = Annotated[int, Check("a whole number of 1 or more", lambda value: is_whole(value, 1))]
Index = Annotated[int, Check("a whole number of 0 or more", lambda value: is_whole(value, 0))]
Number = Annotated[float, Check(f"a number up to {LARGEST_NUMBER:g}", _is_number)]
Positive = Annotated[
    float, Check(f"a number from 0 to {LARGEST_NUMBER:g}", lambda value: _is_number(value) and value >= 0)
]
Fraction = Annotated[float, Check("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)]
Shape = Annotated[list[int], Check("height, width and channels of an image", _is_shape)]


def parse(kind: type[T], content: Mapping[str, Any]) -> T:
    """A dataclass of a JSON object; what else the object holds is passed over.

    Raises:
        ValueError: The first field that is missing or not what its type says, in words.
    """
    wanted = get_type_hints(kind, include_extras=True)
    check_fields(content, wanted)
    return kind(**{name: content[name] for name in wanted})


def check_fields(content: Any, wanted: Mapping[str, Any]) -> None:
    """Check fields of a JSON object; `a.b` is field b of the object in field a.

    Args:
        content: What was read.
        wanted: Paths of fields, each with a type of this file.

    Raises:
        ValueError: The first field that is missing or not what it must be, in words.
    """
    for path, kind in wanted.items():
        place = content
        for name in path.split("."):
            if not isinstance(place, dict) or name not in place:
                raise ValueError(f"{path} is missing")
            place = place[name]
        optional = type(None) in get_args(kind)
        check = (get_args(kind)[0] if optional else kind).__metadata__[0]
        if not ((optional and place is None) or check.holds(place)):
            raise ValueError(f"{path} is {quoted(place)}, not {check.words}{' or null' * optional}")
