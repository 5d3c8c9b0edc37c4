"""Fixtures of the tests of flows."""

from __future__ import annotations

import functools

import pytest

from nfcli.flows import coupling
from nfcli.flows.networks import GatedConvNet


@pytest.fixture(scope="module")
def shallow_module():
    """Networks without gated blocks: whether a flow is right does not depend on them, how long it compiles does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(coupling, "GatedConvNet", functools.partial(GatedConvNet, blocks=0))
        yield


@pytest.fixture
def shallow(monkeypatch):
    """The same for one test."""
    monkeypatch.setattr(coupling, "GatedConvNet", functools.partial(GatedConvNet, blocks=0))


@pytest.fixture
def one_block(monkeypatch):
    """Networks with one gated block, where a formula is followed from end to end."""
    monkeypatch.setattr(coupling, "GatedConvNet", functools.partial(GatedConvNet, blocks=1))
