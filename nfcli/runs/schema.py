"""Checks of what JSON files hold, so that a file edited by hand is refused where it is read and not where it hurts."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = tuple[str, Callable[[Any], bool]]
"""What a value must be, in words, and the test of it."""

LARGEST = 2**53
"""Whole numbers above are none that nf counts, and would not survive other JSON readers."""

LARGEST_NUMBER = 1e39
"""What is made of numbers of float32 is no larger; 1e308 would overflow wherever something is done with it."""

LARGEST_IMAGE = 2**26
"""Numbers in an image: more than any that a flow can be trained on."""


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) <= LARGEST


def _is_number(value: Any) -> bool:
    return (type(value) is float and abs(value) <= LARGEST_NUMBER) or _is_int(value)


TEXT: Check = ("text", lambda value: isinstance(value, str))
FLAG: Check = ("true or false", lambda value: isinstance(value, bool))
OBJECT: Check = ("an object", lambda value: isinstance(value, dict))
LIST: Check = ("a list", lambda value: isinstance(value, list))
COUNT: Check = ("a whole number of 1 or more", lambda value: _is_int(value) and value >= 1)
INDEX: Check = ("a whole number of 0 or more", lambda value: _is_int(value) and value >= 0)
NUMBER: Check = (f"a number up to {LARGEST_NUMBER:g}", _is_number)
POSITIVE: Check = (f"a number from 0 to {LARGEST_NUMBER:g}", lambda value: _is_number(value) and value >= 0)
FRACTION: Check = ("a number between 0 and 1", lambda value: _is_number(value) and 0 < value < 1)
SHAPE: Check = ("height, width and channels of an image", lambda value: _is_shape(value))


def _is_shape(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 3 or not all(_is_int(size) and size >= 1 for size in value):
        return False
    return math.prod(value) <= LARGEST_IMAGE


def optional(check: Check) -> Check:
    """The same, or null."""
    wanted, holds = check
    return f"{wanted} or null", lambda value: value is None or holds(value)


def check_fields(content: Mapping[str, Any], wanted: Mapping[str, Check]) -> None:
    """Check fields of a JSON object; `a.b` is field b of the object in field a.

    Raises:
        ValueError: The first field that is missing or not what it must be, in words.
    """
    for path, (words, holds) in wanted.items():
        place: Any = content
        for name in path.split("."):
            if not isinstance(place, dict) or name not in place:
                raise ValueError(f"{path} is missing")
            place = place[name]
        if not holds(place):
            shown = repr(place)
            raise ValueError(f"{path} is {shown if len(shown) <= 40 else shown[:40] + '...'}, not {words}")
