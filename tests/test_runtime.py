"""What is set before jax is imported."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# Page faults of writing to 64 MiB again after they were freed.
FAULTS = """
import resource
import numpy as np
from nfcli import runtime

runtime.prepare()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(2**23)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**settings: str) -> int:
    around = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "NF_"))}
    result = subprocess.run(
        [sys.executable, "-c", FAULTS], env={**around, **settings}, capture_output=True, text=True, check=True
    )
    return int(result.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_memory_is_kept_unless_the_user_chose_otherwise():
    freed = faults(NF_KEEP_MEMORY="0")
    assert faults() < freed / 10
    assert faults(MALLOC_ARENA_MAX="2") > freed / 2
    assert faults(GLIBC_TUNABLES="glibc.malloc.arena_max=2") > freed / 2
