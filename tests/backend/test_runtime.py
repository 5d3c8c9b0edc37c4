"""What is set before jax is imported."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from nfcli.backend import runtime

# Whether it is the same process with the same arguments; MiB in large pages, of 64 MiB; and tunables.
AGAIN = """
import os
import re
import sys
from pathlib import Path
from nfcli.backend.runtime import with_large_pages

before = os.environ.setdefault("STARTED_AS", f"{os.getpid()} {sys.argv}")
with_large_pages()
array = bytearray(b"1") * 2**26
large = re.search(r"AnonHugePages: +(\\d+) kB", Path("/proc/self/smaps_rollup").read_text())[1]
print(before == f"{os.getpid()} {sys.argv}", int(large) // 1024, os.environ.get("GLIBC_TUNABLES"), sep="\\n")
"""

LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
GLIBC = [int(number) for number in platform.libc_ver()[1].split(".") if number.isdecimal()]


def started_again(**settings: str) -> list[str]:
    around = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "NF_"))}
    command = [sys.executable, "-c", AGAIN, "an argument"]
    result = subprocess.run(command, env={**around, **settings}, capture_output=True, text=True, check=True)
    return result.stdout.splitlines()


@pytest.mark.skipif(
    not LARGE_PAGES.is_file() or "[never]" in LARGE_PAGES.read_text() or GLIBC < [2, 35], reason="no large pages"
)
def test_memory_comes_in_large_pages_to_the_same_process_with_the_same_arguments() -> None:
    same, large, tunables = started_again()
    assert same == "True"
    assert int(large) >= 60
    assert tunables == runtime.MALLOC


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
@pytest.mark.parametrize(
    "settings", [{"NF_KEEP_MEMORY": "0"}, {"MALLOC_ARENA_MAX": "2"}, {"GLIBC_TUNABLES": "glibc.malloc.arena_max=2"}]
)
def test_a_user_who_tells_malloc_something_is_heard(settings: dict[str, str]) -> None:
    assert started_again(**settings)[2] == settings.get("GLIBC_TUNABLES", "None")


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
