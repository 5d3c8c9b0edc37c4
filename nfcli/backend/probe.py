"""Whether this machine has matrix units that `nfcli.flows.cpu.matrix_units` can use.

What is tried is internal to XLA and may end a process, so it is tried in one of its own, `python -m
nfcli.backend.probe`, and the answer is kept in the cache folder: for these sources, versions, settings and processor,
and not if the units were only too slow, as they may be for once beside other work.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from nfcli.backend import private, runtime

INSTRUCTIONS = {"amx_bf16", "avx512_bf16"}
"""Of x86 processors that multiply bfloat16, as Linux names them."""

PATIENCE = 120
"""Seconds: what takes longer is of no use."""

TOO_SLOW = 2
"""Exit code of the attempt; after an error Python's own is 1."""

SUFFIX, KEPT = ".matrix-units", 8
"""Of answers, and how many are kept; the oldest go first."""


def matrix_units_found() -> bool:
    """Whether training can use them; `NF_MATRIX_UNITS=0` says no."""
    if not runtime.switched_on("NF_MATRIX_UNITS") or not INSTRUCTIONS & _instructions():
        return False
    kept = _kept()
    # Whatever is wrong with the cache folder, they can be tried again.
    with contextlib.suppress(OSError, UnicodeError, KeyError):
        if kept is not None:
            return {"yes": True, "no": False}[kept.read_text()]
    found = _try_them()
    if kept is not None and found is not None:
        with contextlib.suppress(OSError), private.opened(kept.parent) as folder:
            private.write(folder, kept.name, b"yes" if found else b"no")
            private.forget_oldest(folder, SUFFIX, KEPT)
    return bool(found)


def _instructions() -> set[str]:
    return set(runtime.processor_features().split())


def _kept() -> Path | None:
    """Where the answer for all that decides it is, oneDNN's own settings too; None without a private folder."""
    from nfcli.backend.programs import fingerprint  # not above: `main` prepares before jax is imported

    settings = {name: value for name, value in os.environ.items() if name.startswith(("ONEDNN_", "DNNL_"))}
    folder, name = runtime.compilation_cache(), fingerprint({"instructions": sorted(_instructions()), **settings})
    return None if folder is None else folder / f"{name}{SUFFIX}"


def _try_them() -> bool | None:
    """Whether they do; None where they were too slow or something else ended it: that says nothing of another day."""
    # -P: the working directory may hold modules of any name.
    command = [sys.executable, "-P", "-m", "nfcli.backend.probe"]
    try:
        code = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
    # These a user, a system or its lack of memory sends.
    ended_by_others = -code in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
    return None if ended_by_others or code == TOO_SLOW else code == 0


def main() -> int:
    """The attempt itself: 0 if all is well, 1 if something is wrong, or `TOO_SLOW`."""
    runtime.prepare(1)
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # jaxlib cannot write these programs
    from nfcli.flows.cpu import trial

    if not trial.are_right():
        return 1
    return 0 if trial.are_fast() else TOO_SLOW


if __name__ == "__main__":
    sys.exit(main())
