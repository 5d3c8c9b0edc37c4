"""Labels as users say them: whole numbers from 0 on, or the words that a dataset has for them."""

from collections.abc import Collection, Sequence

from nfcli.data.reading import shown

DIGITS = 18
"""Longest label that is read as a number: it fits into 64 bits."""

LISTED = 12
"""So many labels are told one by one."""


def label_names(labels: Collection[str]) -> tuple[str, ...]:
    """Words for labels, in the order of their numbers from 0; empty where all are numbers, which mean themselves."""
    if all(map(_is_number, labels)) and len(set(map(int, labels))) == len(labels):
        return ()
    return tuple(sorted(labels))


def label_number(label: str, names: Sequence[str]) -> int | None:
    """The number of a label, given by one of its names or as a number; None where it is neither."""
    return names.index(label) if label in names else int(label) if _is_number(label) else None


def in_words(label: int, names: Sequence[str]) -> str:
    """A label by its name where it has one."""
    return shown(names[label]) if 0 <= label < len(names) else str(label)


def listed(labels: Sequence[int], names: Sequence[str]) -> str:
    """Labels in words: a range of numbers, or one by one as far as they are few."""
    if not names and len(labels) > 2 and list(labels) == [*range(labels[0], labels[-1] + 1)]:
        return f"{labels[0]} to {labels[-1]}"
    return ", ".join(in_words(label, names) for label in labels[:LISTED]) + " and so on" * (len(labels) > LISTED)


def _is_number(label: str) -> bool:
    return label.isascii() and label.isdecimal() and len(label) <= DIGITS
