"""What the room imports, and what it never replaces."""

from __future__ import annotations

import subprocess
import sys


def test_import_loads_neither_matplotlib_nor_pillow_nor_jax() -> None:
    code = "import sys, nfcli.drawing; print(sorted({'matplotlib', 'PIL', 'jax'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
