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
from nfcli.backend import runtime

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


def test_flags_of_xla_are_added_to_those_of_the_user():
    chosen = "--xla_cpu_collective_call_warn_stuck_timeout_seconds=7"
    code = "from nfcli.backend import runtime; runtime.prepare(1); import jax, os; jax.numpy.ones(1) + 1; "
    code += "print(os.environ['XLA_FLAGS'])"
    around = {**os.environ, "XLA_FLAGS": chosen}
    done = subprocess.run([sys.executable, "-c", code], env=around, capture_output=True, text=True, check=True)
    flags = done.stdout.split()
    assert flags[0] == chosen
    names = [flag.partition("=")[0] for flag in flags]
    assert len(set(names)) == len(names)
    # Devices that wait for each other on a busy machine must not end the process.
    assert "--xla_cpu_collective_call_terminate_timeout_seconds=86400" in flags
    assert "--xla_cpu_experimental_ynn_fusion_type=" in flags


# By how many MiB a process grows that has two large arrays with small ones in between, again and again.
RESERVED = """
import re
import sys
from pathlib import Path
import numpy as np
from nfcli.backend import runtime


def peak():
    # Not ru_maxrss, in which the process counts that started this one.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024


runtime.prepare()
print(int(runtime.reserve(2**28, 2)) if sys.argv[1] == "reserved" else 0)
before, kept = peak(), []
for _ in range(3):
    first = np.ones(2**25 - 8)
    kept += [np.ones(size) for size in (10, 5_000, 30_000)]
    second = np.ones(2**25 - 8)
    kept += [np.ones(size) for size in (10, 5_000, 30_000)]
    del first, second
print(peak() - before)
"""


def growth(how: str, **settings: str) -> tuple[int, int]:
    around = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "NF_"))}
    command = [sys.executable, "-c", RESERVED, how]
    result = subprocess.run(command, env={**around, **settings}, capture_output=True, text=True, check=True)
    done, mebibytes = map(int, result.stdout.split())
    return done, mebibytes


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_reserved_memory_is_there_for_large_arrays() -> None:
    done, mebibytes = growth("reserved")
    assert done
    assert mebibytes < 16
    assert growth("not")[1] > 300


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_nothing_is_reserved_where_freed_memory_is_not_kept() -> None:
    done, mebibytes = growth("reserved", NF_KEEP_MEMORY="0")
    assert not done
    assert mebibytes > 300


def test_nothing_is_reserved_in_a_process_that_was_not_prepared() -> None:
    code = "from nfcli.backend import runtime; print(runtime.reserve(2**27, 1))"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
