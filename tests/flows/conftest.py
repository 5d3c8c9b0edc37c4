"""Fixtures of the tests of flows."""

from __future__ import annotations

import functools

import pytest

from nfcli.flows import coupling
from nfcli.flows.networks import GatedConvNet


@pytest.fixture
def shallow(monkeypatch):
    """Networks without gated blocks: whether a flow is right does not depend on them, how long it compiles does."""
    monkeypatch.setattr(coupling, "GatedConvNet", functools.partial(GatedConvNet, blocks=0))
