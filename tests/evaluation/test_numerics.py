"""The check that jaxlib computes right notices when it does not."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from nfcli.errors import NumericsError
from nfcli.evaluation import numerics

PROGRAM = """
from nfcli.errors import NumericsError
from nfcli.evaluation.numerics import check_numerics
try:
    print("right", check_numerics())
except NumericsError as error:
    print("wrong", error.message, "|", error.hint)
"""


def outcome(flags):
    """What the check says in a program of its own, with these XLA_FLAGS."""
    environment = {**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, env=environment)
    return done.stdout


def test_passes_here_and_is_quick():
    times = []
    for _ in range(2):
        start = time.perf_counter()
        assert 0 <= numerics.check_numerics.__wrapped__() < numerics.TOLERANCE
        times.append(time.perf_counter() - start)
    assert min(times) < 1


def test_finds_ynnpack_fusions():
    """Without nf's flag, jaxlib is off by 0.8 % (on x86, jaxlib 0.10.1 and 0.10.2)."""
    said = outcome("")
    if said.startswith("right"):
        pytest.skip("this jaxlib computes right without nf's flag")
    assert "off by" in said
    assert "--xla_cpu_experimental_ynn_fusion_type=" in said


def test_passes_with_the_flag_of_its_hint():
    assert outcome("--xla_cpu_experimental_ynn_fusion_type=").startswith("right")


@pytest.mark.parametrize("factor", [1.001, 0.0, float("nan")])
def test_fails_on_wrong_results(factor, monkeypatch):
    square = numerics.jnp.square
    monkeypatch.setattr(numerics.jnp, "square", lambda values: factor * square(values))
    with pytest.raises(NumericsError, match="computes wrong"):
        numerics.check_numerics.__wrapped__()
