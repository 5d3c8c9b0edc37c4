"""What is wrong with a value or a key of a preset file, said in one line with a hint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Any

from nfcli.errors import UsageError
from nfcli.limits import Setting, fits

WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "str": "a text",
    "dict": "a table",
    "list": "a list of tables",
}


def check_value(where: str, name: str, value: Any, kind: str, declared: Setting | None = None) -> None:
    """Raise `UsageError` for a value that is not of its kind, or not what is `declared` of it; no name, no mention."""
    declared, kind = declared or Setting(), kind.removesuffix(" | None")
    wanted = WORDS[kind] if kind in WORDS and not fits(value, kind) else declared.check(value)
    if wanted is not None:
        place = f"{where}: {name} = {shown(value)}" if name else where
        raise UsageError(f"{place} is not possible", hint=f"it must be {wanted}")


def check_keys(where: str, table: Mapping[str, Any], keys: Iterable[str]) -> None:
    """Raise `UsageError` for a key that is none of `keys`."""
    for key in table:
        if key not in keys:
            raise UsageError(f"{where} has the unknown key {shown(key)}", hint=known(key, keys, "keys"))


def shown(value: object) -> str:
    """A value as Python writes it, without the control characters that it may have, and not all of a long one."""
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:40]}..."


def known(word: object, words: Iterable[str], what: str) -> str:
    """A hint: the word that was meant, perhaps, and all that there are."""
    close = get_close_matches(str(word), words, n=1)
    listed = f"{what}: {', '.join(words) or 'none'}"
    return f"did you mean '{close[0]}'? {listed}" if close else listed
