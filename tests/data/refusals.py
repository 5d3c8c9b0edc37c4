"""Asking for what must be refused."""

from __future__ import annotations

import warnings

import pytest

from nfcli.data import load_dataset
from nfcli.errors import DataError


def refused(spec, *, load=load_dataset, kind=DataError):
    """The message and the hint with which `spec` is refused, on one line; warnings count as failures."""
    with pytest.raises(kind) as caught:
        _without_warnings(load, str(spec))
    error = caught.value
    assert error.message.isprintable()
    assert not error.message.endswith(".")
    assert error.hint
    return f"{error.message} | {error.hint}"


def outcome(load, path):
    """ "read", or the message of the `DataError`; anything else is raised."""
    try:
        _without_warnings(load, str(path))
    except DataError as error:
        return error.message
    return "read"


def damaged_variants(data):
    """Truncations of `data`, and `data` with one byte changed."""
    yield from (data[:end] for end in range(0, len(data), 3))
    yield from (data[:at] + bytes([data[at] ^ 0x55]) + data[at + 1 :] for at in range(len(data)))


def _without_warnings(load, spec):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load(spec)
