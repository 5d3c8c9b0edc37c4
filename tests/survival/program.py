"""`python -m tests.survival.program ...` is `nf ...` that also knows preset `tiny`."""

import contextlib
import sys

from nfcli.__main__ import main
from nfcli.backend import runtime
from nfcli.presets import PRESETS

if __name__ == "__main__":
    with contextlib.ExitStack() as stack:
        if not set(PRESETS) & set(sys.argv):
            runtime.prepare()  # before the next line imports jax
            from tests.tiny import tiny_preset

            stack.enter_context(tiny_preset())
        main()
