"""What is set before jax is imported."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

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
    not LARGE_PAGES.is_file() or "[never]" in LARGE_PAGES.read_text() or GLIBC < [2, 35] or runtime.GPU.exists(),
    reason="no large pages",
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


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
@pytest.mark.parametrize("begun_as", ["program", "notebook", "embedded"])
@pytest.mark.parametrize("gpu", [False, True])
def test_beside_a_gpu_in_a_notebook_and_embedded_malloc_stays_as_it_is(
    gpu: bool, begun_as: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = ModuleType("__main__")
    if begun_as != "notebook":
        program.__file__ = __file__ if begun_as == "program" else None
    monkeypatch.setitem(sys.modules, "__main__", program)
    monkeypatch.setattr(sys, "argv", [] if begun_as == "embedded" else ["program.py"])
    around = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "NF_"))}
    monkeypatch.setattr(os, "environ", around)
    begun = []
    monkeypatch.setattr(os, "execve", lambda program, words, around: begun.append((words, around["GLIBC_TUNABLES"])))
    monkeypatch.setattr(runtime, "GPU", tmp_path if gpu else tmp_path / "none")
    runtime.with_large_pages()
    assert begun == ([] if gpu or begun_as != "program" else [([sys.executable, *sys.orig_argv[1:]], runtime.MALLOC)])
    assert "GLIBC_TUNABLES" not in around


MAIN = "from nfcli.__main__ import main; main()"

SWEEP = """
import multiprocessing
import sys
from nfcli.__main__ import main


def job(run):
    sys.argv = ["nf", "eval", run, "--runs-dir", sys.argv[1]]
    main()


if __name__ == "__main__":
    context = multiprocessing.get_context(sys.argv[2])
    jobs = [context.Process(target=job, args=(name,)) for name in ("one", "two")]
    for each in jobs:
        each.start()
    for each in jobs:
        each.join()
    print([each.exitcode for each in jobs])
"""


def begin(*words: str, **settings: Any) -> subprocess.CompletedProcess[str]:
    around = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "GLIBC_", "NF_"))}
    around["PYTHONPATH"] = os.pathsep.join(sys.path)  # a Python of another name does not find its environment
    return subprocess.run(words, env=around, capture_output=True, text=True, timeout=60, **settings)


def test_a_program_from_stdin_runs_to_its_end(tmp_path: Path) -> None:
    done = begin(sys.executable, "-", "eval", "none", "--runs-dir", str(tmp_path), input=MAIN)
    assert done.returncode == 3
    assert "there is no run 'none'" in done.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_do_what_their_parent_says(method: str, tmp_path: Path) -> None:
    script = tmp_path / "sweep.py"
    script.write_text(SWEEP)
    done = begin(sys.executable, str(script), str(tmp_path), method)
    assert (done.returncode, done.stdout) == (0, "[3, 3]\n")
    assert [done.stderr.count(f"there is no run '{name}'") for name in ("one", "two")] == [1, 1]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_a_python_that_does_not_know_itself_goes_on(tmp_path: Path) -> None:
    command = f'exec -a -python "{sys.executable}" -c "{MAIN}" eval none --runs-dir "{tmp_path}"'
    done = begin("bash", "-c", command)
    assert done.returncode == 3
    assert "there is no run 'none'" in done.stderr


@pytest.mark.skipif(not sys.platform.startswith("linux") or runtime.GPU.exists(), reason="it does not start again")
def test_where_the_environment_is_cleaned_it_starts_again_once(tmp_path: Path) -> None:
    """As the dynamic linker does for programs with capabilities."""
    python, starts = tmp_path / "python", tmp_path / "starts"
    python.write_text(f'#!/bin/bash\necho >> "{starts}"\nunset GLIBC_TUNABLES\nexec -a "$0" "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    done = begin(str(python), "-c", MAIN, "eval", "none", "--runs-dir", str(tmp_path))
    assert done.returncode == 3
    assert starts.read_text() == "\n\n"


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
    done, mebibytes = growth("reserved", GLIBC_TUNABLES=runtime.MALLOC)
    assert done
    assert mebibytes < 16
    assert growth("not", GLIBC_TUNABLES=runtime.MALLOC)[1] > 300


# How many MiB of small pieces that are free go back to the system, whether an array still lies among them, and whether
# one lies in a large piece that was free.
RETIRED = """
import re
import sys
from pathlib import Path
import numpy as np
from nfcli.backend import runtime


def resident():
    return int(re.search(r"VmRSS:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) // 1024


def place(count):
    return np.ones(count, np.uint8).ctypes.data


pieces = [np.ones(200_000, np.uint8) for _ in range(1000)]
first, last = pieces[0].ctypes.data, pieces[-1].ctypes.data
large, fence = np.ones(2**24, np.uint8), np.ones(200_000, np.uint8)
start = large.ctypes.data
del pieces[::2], large
before = resident()
assert first <= place(150_000) < last
runtime.reserve(2**25, 1)
small = first <= place(150_000) < last
print(before - resident() + 32, int(small), int(start <= place(2**23) < start + 2**24))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_small_pieces_go_out_of_use() -> None:
    around = {**os.environ, "GLIBC_TUNABLES": runtime.MALLOC}
    result = subprocess.run([sys.executable, "-c", RETIRED], env=around, capture_output=True, text=True, check=True)
    mebibytes, small, large = map(int, result.stdout.split())
    assert mebibytes > 50
    assert (small, large) == (0, 1)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_nothing_is_reserved_where_freed_memory_is_not_kept() -> None:
    done, mebibytes = growth("reserved")
    assert not done
    assert mebibytes > 300
