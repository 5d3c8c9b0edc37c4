"""`python tests/cli/small.py ...` is `nf ...` whose smoke runs have one coupling where a preset has a row of them.

The networks of these have one gated block, and an evaluation times two calls instead of eleven. `nfcli.pretrained` as
the first word makes it the maintainer's command instead of `nf`. All else is as users have it: more of the same says
nothing that one does not, and takes as many times as long to compile.
"""

from __future__ import annotations

import runpy
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.abc import MetaPathFinder
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from nfcli.presets import SMOKE_HIDDEN, Preset


def shorten(twin: Preset, most: int = 1, blocks: int = 1) -> Preset:
    """A smoke twin with so many couplings in each row, and gated blocks where it says how many."""

    def cut(spec: Any) -> Any:
        limits = {name: limit for name, limit in (("count", most), ("blocks", blocks)) if hasattr(spec, name)}
        return (
            replace(spec, **{name: min(getattr(spec, name), limit) for name, limit in limits.items()})
            if limits
            else spec
        )

    return replace(twin, layers=tuple(map(cut, twin.layers)), dequantization=cut(twin.dequantization))


def shallow(network: Callable[..., Any]) -> Callable[..., Any]:
    """`GatedConvNet` with one gated block where it is a smoke run's and nobody says how many."""

    def make(inputs: int, hidden: int, outputs: int, **options: Any) -> Any:
        return network(inputs, hidden, outputs, **({"blocks": 1} if hidden <= SMOKE_HIDDEN else {}) | options)

    return make


def small_smoke_runs() -> None:
    """From now on in this process."""
    narrow = Preset.smoke_twin
    Preset.smoke_twin = lambda preset: shorten(narrow(preset))  # type: ignore[method-assign]
    # Not imported here: commands that end early must do so without jax.
    _when_imported("nfcli.flows.coupling", lambda it: setattr(it, "GatedConvNet", shallow(it.GatedConvNet)))
    _when_imported("nfcli.evaluation.timing", lambda it: setattr(it, "REPETITIONS", 2))


def _when_imported(name: str, change: Callable[[ModuleType], None]) -> None:
    if name in sys.modules:
        change(sys.modules[name])
        return

    class Finder(MetaPathFinder):
        def find_spec(self, wanted: str, path: Any = None, target: Any = None) -> Any:
            spec = PathFinder.find_spec(wanted, path) if wanted == name else None
            if spec is not None and spec.loader is not None:
                execute = spec.loader.exec_module
                spec.loader.exec_module = lambda it: (execute(it), change(it))[0]  # type: ignore[method-assign]
            return spec

    sys.meta_path.insert(0, Finder())


if __name__ == "__main__":
    small_smoke_runs()
    own = sys.argv[1:2] == ["nfcli.pretrained"]
    runpy.run_module(sys.argv.pop(1) if own else "nfcli", run_name="__main__", alter_sys=True)
