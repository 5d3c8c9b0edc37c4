"""Whether this machine has matrix units that `nfcli.flows.matrix_units` can use.

What is tried is internal to XLA and may end a process, so it is tried in one of its own, `python -m
nfcli.backend.probe`, once for each jaxlib and processor; the answer is kept in the cache folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nfcli import __version__
from nfcli.backend import runtime
from nfcli.errors import WriteError
from nfcli.files import write_text

INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}
"""Of x86 processors that multiply bfloat16, as Linux names them."""

PATIENCE = 120
"""Seconds: what takes longer is of no use."""

TOLERANCE = 0.03
"""Of a result, relative to the largest one: bfloat16 has 8 bits."""

ANSWERS = {"yes": True, "no": False}

ENDED_BY_OTHERS = {signal.SIGINT, signal.SIGTERM, signal.SIGKILL}
"""Signals that a user, a system or its lack of memory sends."""

WORTH = 1.2
"""The units must be so many times as fast as XLA's own convolution in float32."""


def matrix_units_found() -> bool:
    """Whether training can use them; `NF_MATRIX_UNITS=0` says no."""
    if os.environ.get("NF_MATRIX_UNITS", "1") == "0" or not INSTRUCTIONS & _instructions():
        return False
    kept = _kept()
    if kept is None:
        return bool(_try_them())
    # Whatever is wrong with the cache folder, they can be tried again.
    with contextlib.suppress(OSError, UnicodeError, KeyError):
        return ANSWERS[kept.read_text()]
    found = _try_them()
    if found is not None:
        with contextlib.suppress(WriteError):
            write_text(kept, "yes" if found else "no")
    return bool(found)


def _instructions() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return set()
    return {name for line in lines if line.startswith("flags") for name in line.partition(":")[2].split()}


def _kept() -> Path | None:
    """Where the answer for this jaxlib, processor and oneDNN's own settings is; None without a private folder."""
    folder = runtime.compilation_cache()
    if folder is None:
        return None
    settings = sorted(f"{name}={value}" for name, value in os.environ.items() if name.startswith(("ONEDNN_", "DNNL_")))
    cache_key = [
        __version__,
        version("jaxlib"),
        platform.machine(),
        sorted(_instructions()),
        settings,
        os.environ.get("XLA_FLAGS"),
    ]
    name = hashlib.sha256(json.dumps(cache_key).encode()).hexdigest()[:32]
    return folder / f"{name}.matrix-units"


def _try_them() -> bool | None:
    """Whether they do; None where something else ended the attempt, which says nothing of another day."""
    # -P: the working directory may hold modules of any name.
    command = [sys.executable, "-P", "-m", "nfcli.backend.probe"]
    try:
        code = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
    return None if -code in ENDED_BY_OTHERS else code == 0


def main() -> int:
    """Try every operation and its gradients against plain ones, and time a convolution: 0 if all is well."""
    runtime.prepare(1)
    import jax
    import jax.numpy as jnp
    import numpy as np

    from nfcli.flows import matrix_units, operations

    # jaxlib cannot write these programs.
    jax.config.update("jax_enable_compilation_cache", False)
    generator = np.random.default_rng(0)

    def draw(*shape: int, dtype: Any = jnp.bfloat16) -> Any:
        return jnp.asarray(generator.normal(size=shape), dtype)

    def network(compute: Any, x: Any, conv: Any, gate: Any, scale: Any, bias: Any) -> Any:
        hidden = compute.convolve(compute.concat_elu(x), conv, bias)
        return compute.layer_norm(compute.add_gated(x, hidden, gate, jnp.tile(bias, 2)), scale, bias)

    for channels, width in ((4, 7), (16, 8)):
        x = draw(8, 6, width, channels)
        kernels = [0.2 * draw(*shape, dtype=jnp.float32) for shape in _kernels(channels)]
        rest = [1 + 0.1 * draw(channels, dtype=jnp.float32), draw(channels, dtype=jnp.float32)]
        weights = draw(*x.shape, dtype=jnp.float32)

        def loss(compute: Any, x: Any, parameters: Any, weights: Any = weights) -> Any:
            return jnp.sum(network(compute, x, *parameters).astype(jnp.float32) * weights)

        found, wanted = (
            jax.jit(jax.value_and_grad(loss, (1, 2)), static_argnums=0)(compute, x.astype(dtype), [*kernels, *rest])
            for compute, dtype in ((matrix_units, jnp.bfloat16), (operations, jnp.float32))
        )
        for got, want in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            difference = np.abs(np.asarray(got, np.float32) - np.asarray(want, np.float32))
            if not np.all(difference <= TOLERANCE * np.abs(want).max()):
                return 1
    x, kernel, bias = draw(32, 28, 28, 64, dtype=jnp.float32), draw(3, 3, 64, 32, dtype=jnp.float32), jnp.zeros(32)
    units = _seconds(jax.jit(matrix_units.convolve), x.astype(jnp.bfloat16), kernel, bias)
    return 0 if _seconds(jax.jit(operations.convolve), x, kernel, bias) >= WORTH * units else 1


def _kernels(channels: int) -> list[tuple[int, ...]]:
    return [(3, 3, 2 * channels, channels), (1, 1, 2 * channels, 2 * channels)]


def _seconds(run: Callable[..., Any], *arguments: Any) -> float:
    run(*arguments).block_until_ready()
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        run(*arguments).block_until_ready()
        times.append(time.perf_counter() - begin)
    return min(times)


if __name__ == "__main__":
    sys.exit(main())
