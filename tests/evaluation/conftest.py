"""Fixtures of the tests of evaluation."""

from __future__ import annotations

from tests.flows.conftest import shallow, shallow_module

__all__ = ["shallow", "shallow_module"]
