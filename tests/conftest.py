"""Four CPU devices, nf's own XLA flags, one compilation cache for all tests and the programs that they start."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from importlib.metadata import version
from pathlib import Path

from nfcli.backend import runtime

# The processes that share the work of one session share its folder too: the first one makes and removes it.
_OURS = "NF_TEST_FOLDER" not in os.environ
_FOLDER = Path(tempfile.mkdtemp(prefix="nf-test-") if _OURS else os.environ["NF_TEST_FOLDER"])
os.environ["NF_TEST_FOLDER"] = str(_FOLDER)
# In the second of them TFDS leaves a folder for each dataset that it prepares.
for _variable, _place in (("NF_CACHE_DIR", _FOLDER / "cache"), ("TMPDIR", _FOLDER / "temporary")):
    _place.mkdir(0o700 if _variable == "NF_CACHE_DIR" else 0o755, exist_ok=True)
    os.environ[_variable] = str(_place)
_FOLDER.chmod(0o755)  # some tests go there as another user
for _name in ("NF_RUNS_DIR", "NF_DEBUG", "NO_COLOR", "FORCE_COLOR", "JAX_COMPILATION_CACHE_DIR"):
    os.environ.pop(_name, None)
# The same programs on every machine; tests of oneDNN switch it on.
os.environ["NF_ONEDNN"] = "0"
# `nf` would start itself again, with other arguments where it was forked; what is installed, in test_packages.py, does.
os.environ["NF_KEEP_MEMORY"] = "0"
# Programs for tiny models take longer to compile than to run: not optimized, in one piece and with XLA's older way to
# emit loops, which jaxlib 0.11 has no more, they take half the time. What is installed, in test_packages.py, has XLA as
# users have it.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
_QUICKLY = "--xla_cpu_parallel_codegen_split_count=1"
if version("jaxlib").startswith("0.10."):
    _QUICKLY += " --xla_cpu_use_fusion_emitters=false"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {_QUICKLY}"
# Most of them take less than what nf thinks worth keeping, and are needed again by the next test or program.
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.05"
runtime.prepare(devices=4)
# Of a job in the background, as on a build server, interrupts are ignored, and so they would be in its children.
signal.signal(signal.SIGINT, signal.default_int_handler)

import jax  # noqa: E402
import pytest  # noqa: E402

from nfcli.backend import probe  # noqa: E402
from tests.sharing import made_once  # noqa: E402
from tests.tiny import write_digits  # noqa: E402

# A (B,) met by a (B, 1) is always a mistake here.
jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def digits(tmp_path_factory):
    """160 images to train, 48 to validate, 48 to test."""
    folder, name = made_once(tmp_path_factory, "digits", lambda folder: write_digits(folder / "digits.npz").name)
    return folder / name


@pytest.fixture
def optimized():
    """Where computing takes longer than compiling."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(params=["bfloat16", "float32"])
def onednn_type(request, monkeypatch):
    """Train by oneDNN in one type, whether or not that is faster here; skip where this CPU does not compute in it."""
    skip_without_onednn(request.param)
    monkeypatch.setattr(probe, "_answer", lambda dtype: probe.FASTER if dtype == request.param else probe.WRONG)
    return request.param


def skip_without_onednn(dtype):
    """Of tests that call it."""
    if not probe.INSTRUCTIONS[dtype].keys() & probe._instructions():
        pytest.skip(f"for a CPU that oneDNN is fast on in {dtype}")


QUICK = ("data/", "drawing/", "runs/", "test_layout.py", "cli/test_readme.py", "flows/test_imports.py")
"""Where tests take no training and little compiling."""


SLOW = ("survival/", "process/", "test_packages.py", "training/", "cli/")
"""What begins first, so that no process is left alone with the longest file at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: not str(item.path.relative_to(Path(__file__).parent)).startswith(SLOW))
    for item in items:
        place = str(item.path.relative_to(Path(__file__).parent))
        if place.startswith(QUICK) and item.get_closest_marker("network") is None:
            item.add_marker(pytest.mark.quick)


def pytest_unconfigure() -> None:
    if _OURS:
        shutil.rmtree(_FOLDER, ignore_errors=True)
