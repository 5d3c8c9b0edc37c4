"""Fixtures of the tests of evaluation."""

from __future__ import annotations

from tests.flows.conftest import shallow

__all__ = ["shallow"]
