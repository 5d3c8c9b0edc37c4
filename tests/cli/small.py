"""`python tests/cli/small.py ...` is `nf ...` whose smoke runs have one coupling where a preset has a row of them.

`nfcli.pretrained` as the first word makes it the maintainer's command instead of `nf`.

All else is as users have it. Eight couplings say nothing that one does not, and take eight times as long to compile.
"""

from __future__ import annotations

import runpy
import sys
from dataclasses import replace
from typing import Any

from nfcli.presets import Preset


def shorten(twin: Preset, most: int = 1) -> Preset:
    """A smoke twin with so many couplings in each row."""

    def cut(spec: Any) -> Any:
        return replace(spec, count=min(spec.count, most)) if hasattr(spec, "count") else spec

    return replace(twin, layers=tuple(map(cut, twin.layers)), dequantization=cut(twin.dequantization))


def small_smoke_runs() -> None:
    """From now on in this process."""
    narrow = Preset.smoke_twin
    Preset.smoke_twin = lambda preset: shorten(narrow(preset))  # type: ignore[method-assign]


if __name__ == "__main__":
    small_smoke_runs()
    own = sys.argv[1:2] == ["nfcli.pretrained"]
    runpy.run_module(sys.argv.pop(1) if own else "nfcli", run_name="__main__", alter_sys=True)
