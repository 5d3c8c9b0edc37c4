"""oneDNN is not faster where it cannot be used, and asking cannot take the process down."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import chain, repeat
from pathlib import Path

import pytest

from nfcli.backend import probe
from nfcli.backend.programs import without_cache
from nfcli.flows.cpu import trial
from tests.conftest import skip_without_onednn


@pytest.fixture(autouse=True)
def _a_cache_of_its_own(tmp_path, monkeypatch):
    monkeypatch.setenv("NF_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NF_ONEDNN", "1")
    monkeypatch.setattr(probe, "_answers", {})


def forget(monkeypatch):
    """As in the next process."""
    monkeypatch.setattr(probe, "_answers", {})


def answers() -> list[str]:
    folder = Path(os.environ["NF_CACHE_DIR"])
    return [path.read_text() for path in folder.rglob("*.onednn")]


@pytest.mark.parametrize("switch", ["NF_ONEDNN", "NF_MATRIX_UNITS"])
def test_the_user_can_switch_it_off(monkeypatch, switch):
    monkeypatch.setenv(switch, "0")
    monkeypatch.setattr(probe, "_try_it", lambda dtype: pytest.fail("tried"))
    monkeypatch.setattr(probe, "_instructions", lambda: {"amx_bf16"})
    assert not probe.onednn_is_faster("bfloat16")
    assert not probe.onednn_is_right("bfloat16")


def test_beside_a_gpu_it_is_not_tried(monkeypatch):
    monkeypatch.setattr(probe, "_try_it", lambda dtype: pytest.fail("tried"))
    monkeypatch.setattr(probe, "_instructions", lambda: {"amx_bf16"})
    monkeypatch.setattr("jax.default_backend", lambda: "gpu")
    assert not probe.onednn_is_faster("bfloat16")


def test_a_processor_without_the_instructions_is_not_tried(monkeypatch):
    monkeypatch.setattr(probe, "_instructions", lambda: {"avx2", "fma"})
    monkeypatch.setattr(probe, "_try_it", lambda dtype: pytest.fail("tried"))
    assert not any(probe.onednn_is_faster(dtype) for dtype in ("bfloat16", "float32"))


@pytest.mark.parametrize("kept", probe.KEPT)
def test_the_answer_is_remembered_for_this_processor(monkeypatch, kept):
    tries, answer = [], probe.KEPT.index(kept)

    def ask(*dtypes):
        forget(monkeypatch)
        for dtype in dtypes:
            assert probe.onednn_is_faster(dtype) is (kept == "faster")
            assert probe.onednn_is_right(dtype) is (kept != "wrong")

    monkeypatch.setattr(probe, "_instructions", lambda: {"amx_bf16"})
    monkeypatch.setattr(probe, "_try_it", lambda dtype: tries.append(dtype) or answer)
    ask("bfloat16")
    ask("bfloat16")
    assert len(tries) == 1
    assert answers() == [kept]
    monkeypatch.setattr(probe, "_instructions", lambda: {"amx_bf16", "another"})
    ask("bfloat16")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    ask("bfloat16")
    assert len(tries) == 3
    monkeypatch.setattr(probe, "_instructions", lambda: {"amx_bf16", "avx512f"})
    ask("bfloat16", "float32")
    ask("bfloat16", "float32")
    assert len(tries) == 5


@pytest.mark.parametrize(
    ("program", "patience"), [("import os; os.kill(os.getpid(), 9)", 60), ("import time; time.sleep(60)", 0.5)]
)
def test_an_attempt_that_was_ended_says_nothing_of_the_next(monkeypatch, tmp_path, program, patience):
    monkeypatch.setattr(probe, "_instructions", lambda: {"amx_bf16"})
    monkeypatch.setattr(probe, "PATIENCE", patience)
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{program}'\n")
    python.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(python))
    assert not probe.onednn_is_faster("bfloat16")
    python.unlink()
    assert not probe.onednn_is_right("bfloat16")
    assert answers() == []


def test_old_answers_are_forgotten(monkeypatch):
    monkeypatch.setattr(probe, "_try_it", lambda dtype: probe.FASTER)
    for number in range(probe.MOST + 2):
        monkeypatch.setattr(probe, "_instructions", lambda number=number: {"amx_bf16", str(number)})
        assert probe.onednn_is_faster("bfloat16")
    assert len(answers()) == probe.MOST


@pytest.mark.parametrize("disturbed", [0, trial.TURNS - 3])
def test_what_was_disturbed_is_not_too_slow(disturbed):
    seconds = chain(repeat(0.02, disturbed), repeat(0.002))
    assert trial.is_faster(lambda: time.sleep(next(seconds)), lambda: time.sleep(0.01), worth=1.1)


@pytest.mark.parametrize(
    ("others", "expected", "answer"),
    [
        ((20, 20), False, True),
        ((20, 5), True, False),
        ((20, 10.5), False, False),
        ((20, 10.5), True, True),
        ((20, 9.5), True, True),
        ((20, 9.5), False, False),
        ((9,), True, False),
    ],
)
def test_where_it_is_about_as_fast_as_others_what_is_expected_decides(monkeypatch, others, expected, answer):
    monkeypatch.setattr(trial, "_ways", lambda shape, dtype: [(lambda each=each: each) for each in (10, *others)])
    monkeypatch.setattr(trial, "timeit", lambda run, number: run())
    assert trial.is_fast("bfloat16", expected=expected) is answer


@pytest.mark.parametrize(
    ("dtype", "instructions", "expected"),
    [
        ("bfloat16", {"amx_bf16", "avx512_bf16", "avx512f"}, True),
        ("bfloat16", {"avx512_bf16", "avx512f"}, False),
        ("float32", {"avx512f"}, True),
    ],
)
def test_what_is_expected_follows_from_the_processor(monkeypatch, dtype, instructions, expected):
    monkeypatch.setattr(probe, "_instructions", lambda: instructions)
    monkeypatch.setattr(trial, "is_right", lambda dtype: True)
    monkeypatch.setattr(trial, "is_fast", lambda dtype, *, expected: expected)
    monkeypatch.setattr(probe.runtime, "prepare", lambda devices: None)
    monkeypatch.setattr(probe.signal, "alarm", lambda seconds: None)
    monkeypatch.setenv("JAX_ENABLE_COMPILATION_CACHE", "0")
    assert probe.main(dtype) == (probe.FASTER if expected else probe.SLOWER)


def test_an_answer_that_cannot_be_kept_costs_nothing_else(monkeypatch):
    monkeypatch.setattr(probe, "_instructions", lambda: {"amx_bf16"})
    monkeypatch.setattr(probe, "_try_it", lambda dtype: probe.FASTER)
    assert probe.onednn_is_faster("bfloat16")
    (kept,) = Path(os.environ["NF_CACHE_DIR"]).rglob("*.onednn")
    kept.unlink()
    kept.mkdir()
    forget(monkeypatch)
    assert probe.onednn_is_faster("bfloat16")
    kept.rmdir()
    kept.write_text("perhaps")
    forget(monkeypatch)
    assert probe.onednn_is_faster("bfloat16")
    assert answers() == ["faster"]


def test_a_program_that_dies_is_a_no(monkeypatch):
    # oneDNN ends the process if it has no bfloat16 for a processor.
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    monkeypatch.setattr(probe, "_instructions", lambda: {"avx512_bf16"})
    assert not probe.onednn_is_right("bfloat16")
    assert answers() == ["wrong"]


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_what_computes_wrong_is_not_right(monkeypatch, dtype):
    skip_without_onednn(dtype)
    with without_cache():
        assert trial.is_right(dtype)
        monkeypatch.setattr(
            trial.onednn, "_sum_of_rows", lambda x: 1.1 * x.astype("float32").reshape(-1, x.shape[-1]).sum(0)
        )
        trial._block.clear_cache()
        assert not trial.is_right(dtype)
    trial._block.clear_cache()


def test_an_attempt_ends_with_nobody_to_end_it():
    code = (
        "import sys, time; from nfcli.backend import probe, runtime; runtime.prepare(1); probe.PATIENCE = 1; "
        "from nfcli.flows.cpu import trial; trial.is_right = lambda _: time.sleep(60); sys.exit(probe.main('float32'))"
    )
    assert subprocess.run([sys.executable, "-P", "-c", code], check=False, timeout=50).returncode == -signal.SIGALRM


def test_an_xla_that_does_not_know_the_calls_is_a_no():
    code = (
        "import sys; from nfcli.backend import probe, runtime; runtime.prepare(1); "
        "from nfcli.flows.cpu import onednn; onednn.CONVOLUTION = '__gone'; sys.exit(probe.main('float32'))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "__gone" in done.stderr


def test_where_it_can_be_used_it_is_right_in_a_directory_of_any_modules(tmp_path, monkeypatch):
    skip_without_onednn("float32")
    (tmp_path / "nfcli").mkdir()
    (tmp_path / "nfcli" / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    (tmp_path / "random.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert probe.onednn_is_right("float32")
    assert not (tmp_path / "ran").exists()
