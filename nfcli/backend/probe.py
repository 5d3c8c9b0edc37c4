"""Whether oneDNN, which XLA's runtime holds, computes networks right on this CPU, and faster than XLA does.

What is tried, `nfcli.flows.cpu.onednn`, is internal to XLA and may end a process, so it is tried in one of its own,
`python -m nfcli.backend.probe TYPE`, and the answer is kept in the cache folder, for these sources, versions, settings
and processor: a run of the same seed must be the same on another day. Other work blurs the times, so where they are
close, what such processors are known for decides.
"""

import contextlib
import os
import signal
import subprocess
import sys

from nfcli.backend import private, runtime

INSTRUCTIONS = {"bfloat16": {"amx_bf16": True, "avx512_bf16": False}, "float32": {"avx512f": True}}
"""Of x86 processors that are worth a try in a type, as Linux names them, and whether oneDNN is known to be faster on
them: with avx512_bf16 alone it depends. With AVX2 alone, XLA is faster."""

SWITCHES = ("NF_ONEDNN", "NF_MATRIX_UNITS")
"""What users may set to 0; the second is the earlier name."""

PATIENCE = 120
"""Seconds: what takes longer is of no use."""

FASTER, WRONG, SLOWER, ENDED = range(4)
"""How an attempt ends, and its exit codes: with 1, Python's own after an error, nothing is right. The last is not kept:
somebody else ended it."""

KEPT = ("faster", "wrong", "slower")

SUFFIX, MOST = ".onednn", 8
"""Of answers, and how many are kept; the oldest go first."""

_answers: dict[str, int] = {}
"""Of this process, by what decides them: what is asked twice has one answer."""


def onednn_is_faster(dtype: str) -> bool:
    """Whether networks are computed fastest by oneDNN in this type, on the devices of this process.

    Args:
        dtype: "bfloat16" or "float32".

    Raises:
        UsageError: One of `SWITCHES` is neither 0 nor 1.
    """
    return _answer(dtype) == FASTER


def onednn_is_right(dtype: str) -> bool:
    """Whether it can be used at all; arguments and errors as of `onednn_is_faster`."""
    return _answer(dtype) in (FASTER, SLOWER)


def _answer(dtype: str) -> int:
    wanted = [runtime.switched_on(name) for name in SWITCHES]
    if not all(wanted) or not INSTRUCTIONS[dtype].keys() & _instructions():
        return WRONG
    # Not above: `main` prepares before jax is imported.
    import jax

    from nfcli.backend.programs import fingerprint

    if jax.default_backend() != "cpu":
        return WRONG
    # All that decides it, oneDNN's own settings too.
    settings = {name: value for name, value in os.environ.items() if name.startswith(("ONEDNN_", "DNNL_"))}
    name = fingerprint({"type": dtype, "instructions": sorted(_instructions()), **settings}) + SUFFIX
    if name not in _answers:
        _answers[name] = _kept_or_tried(name, dtype)
    return _answers[name]


def _instructions() -> set[str]:
    return set(runtime.processor_features().split())


def _kept_or_tried(name: str, dtype: str) -> int:
    folder = runtime.compilation_cache()
    # Whatever is wrong with the cache folder, it can be tried again.
    with contextlib.suppress(OSError, ValueError):
        if folder is not None:
            return KEPT.index((folder / name).read_text())
    answer = _try_it(dtype)
    if folder is not None and answer < len(KEPT):
        with contextlib.suppress(OSError), private.opened(folder) as opened:
            private.write(opened, name, KEPT[answer].encode())
            private.forget_oldest(opened, SUFFIX, MOST)
    return answer


def _try_it(dtype: str) -> int:
    # -P: the working directory may hold modules of any name.
    command = [sys.executable, "-P", "-m", "nfcli.backend.probe", dtype]
    try:
        code = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=False).returncode
    except (OSError, subprocess.TimeoutExpired):
        return ENDED
    # These a user, a system or its lack of memory sends; other signals are of what was tried.
    if -code in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGKILL, signal.SIGALRM):
        return ENDED
    return code if code in (FASTER, SLOWER) else WRONG


def main(dtype: str) -> int:
    """The attempt itself."""
    signal.alarm(PATIENCE)  # whoever waits for this may be killed
    runtime.prepare(1)
    os.environ["JAX_ENABLE_COMPILATION_CACHE"] = "0"  # jaxlib cannot write these programs
    from nfcli.flows.cpu import trial

    if not trial.is_right(dtype):
        return WRONG
    expected = any(INSTRUCTIONS[dtype][name] for name in INSTRUCTIONS[dtype].keys() & _instructions())
    return FASTER if trial.is_fast(dtype, expected=expected) else SLOWER


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
