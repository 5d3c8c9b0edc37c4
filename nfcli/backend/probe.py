"""Whether oneDNN, which XLA's runtime holds, computes networks faster on this CPU than XLA does.

What is tried, `nfcli.flows.cpu.onednn`, is internal to XLA and may end a process, so it is tried in one of its own,
`python -m nfcli.backend.probe TYPE`, and the answer is kept in the cache folder: for these sources, versions, settings
and processor, and not if oneDNN was only a little faster, as it may be for once beside other work.
"""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

from nfcli.backend import private, runtime

INSTRUCTIONS = {"bfloat16": {"amx_bf16", "avx512_bf16"}, "float32": {"avx512f"}}
"""Of x86 processors that are worth a try in a type, as Linux names them. With AVX2 alone, XLA is faster."""

SWITCHES = ("NF_ONEDNN", "NF_MATRIX_UNITS")
"""What users may set to 0; the second is the earlier name."""

PATIENCE = 120
"""Seconds: what takes longer is of no use."""

UNCLEAR = 2
"""Exit code of an attempt that says nothing of another day; after an error Python's own is 1."""

SUFFIX, KEPT = ".onednn", 8
"""Of answers, and how many are kept; the oldest go first."""


def onednn_is_faster(dtype: str) -> bool:
    """Whether to compute networks with it, on the devices of this process.

    Args:
        dtype: Of the networks, "bfloat16" or "float32"; XLA's is float32 in any case.

    Raises:
        UsageError: One of `SWITCHES` is neither 0 nor 1.
    """
    wanted = [runtime.switched_on(name) for name in SWITCHES]
    if not all(wanted) or not INSTRUCTIONS[dtype] & _instructions():
        return False
    import jax  # not above: `main` prepares before it is imported

    if jax.default_backend() != "cpu":
        return False
    kept = _kept(dtype)
    # Whatever is wrong with the cache folder, it can be tried again.
    with contextlib.suppress(OSError, UnicodeError, KeyError):
        if kept is not None:
            return {"yes": True, "no": False}[kept.read_text()]
    found = _try_it(dtype)
    if kept is not None and found is not None:
        with contextlib.suppress(OSError), private.opened(kept.parent) as folder:
            private.write(folder, kept.name, b"yes" if found else b"no")
            private.forget_oldest(folder, SUFFIX, KEPT)
    return bool(found)


def _instructions() -> set[str]:
    return set(runtime.processor_features().split())


def _kept(dtype: str) -> Path | None:
    """Where the answer for all that decides it is, oneDNN's own settings too; None without a private folder."""
    from nfcli.backend.programs import fingerprint

    settings = {name: value for name, value in os.environ.items() if name.startswith(("ONEDNN_", "DNNL_"))}
    decisive = {"type": dtype, "instructions": sorted(_instructions()), **settings}
    folder = runtime.compilation_cache()
    return None if folder is None else folder / f"{fingerprint(decisive)}{SUFFIX}"


def _try_it(dtype: str) -> bool | None:
    """Whether it is; None where that is not clear, or something else ended the attempt."""
    # -P: the working directory may hold modules of any name.
    command = [sys.executable, "-P", "-m", "nfcli.backend.probe", dtype]
    try:
        code = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return None
    # These a user, a system or its lack of memory sends.
    ended_by_others = -code in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL)
    return None if ended_by_others or code == UNCLEAR else code == 0


def main(dtype: str) -> int:
    """The attempt itself: 0 if oneDNN is right and faster, 1 if it is not, or `UNCLEAR`."""
    runtime.prepare(1)
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # jaxlib cannot write these programs
    from nfcli.flows.cpu import trial

    fast = trial.is_right(dtype) and trial.is_fast(dtype)
    return UNCLEAR if fast is None else int(not fast)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
