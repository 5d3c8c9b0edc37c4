"""Compiled programs, kept from one start to the next.

jax's own cache knows a program by its text, so that each start has to trace and lower it again, which takes longer than
to load what was compiled. Here a program is known by all that decides its text, the sources of this package among it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import pickle
import platform
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh
from jax.stages import Compiled

from nfcli import runtime
from nfcli.errors import WriteError
from nfcli.runs.files import write_bytes
from nfcli.runs.versions import versions

KEPT = 24
"""So many programs are kept, of some 10 MB each; those that were not used for longest go first."""

SUFFIX = ".program"


class KeptProgram:
    """One program for the CPUs of this process, loaded if it was compiled before, else compiled and kept.

    On accelerators, of several processes, and where jax's cache is switched off, nothing is kept.

    Args:
        decides: All that decides what the program does, apart from what `surroundings` knows; JSON values.
        mesh: The devices that it runs on.
        keep: Whether it can be kept.
    """

    def __init__(self, decides: Mapping[str, Any], mesh: Mesh, *, keep: bool = True) -> None:
        self._devices = list(mesh.devices.flat)
        self._found: Compiled | None = None
        self._thread: threading.Thread | None = None
        self._reserving: threading.Thread | None = None
        folder = _folder() if self._devices[0].platform == "cpu" and jax.process_count() == 1 else None
        name = fingerprint({**decides, "devices": [device.id for device in self._devices]})
        self._path = None if folder is None or not keep else folder / (name + SUFFIX)
        self._keep = keep

    def fetch(self) -> None:
        """Begin to load it, if it is there, while other things are done."""
        if self._path is not None and self._path.exists():
            self._thread = threading.Thread(target=self._load, name="loading a program")
            self._thread.start()

    def get(self, compile_it: Callable[[], Compiled]) -> Compiled:
        """The program; `compile_it` is called if it is not there."""
        if self._thread is not None:
            self._thread.join()
        if self._found is None:
            self._load()
        if self._found is None:
            self._found = self._compile(compile_it)
        if self._reserving is not None:
            # The program would take the same amount once more.
            self._reserving.join()
        return self._found

    def _load(self) -> None:
        # Whatever is wrong with a kept program, it can be compiled again.
        with contextlib.suppress(Exception):
            if self._path is not None and (content := _read(self._path)) is not None:
                # The folder is the user's own, and nobody else can write there: see `_folder`.
                payload, arguments, results, memory = pickle.loads(content)
                self._reserve(memory)
                self._found = serialize_executable.deserialize_and_load(
                    payload, arguments, results, execution_devices=self._devices
                )
                os.utime(self._path)

    def _reserve(self, memory: int) -> None:
        """Begin to take the memory that the program writes to while it runs, on each device."""
        arguments = memory, len(self._devices)
        self._reserving = threading.Thread(target=runtime.reserve, args=arguments, name="taking memory")
        self._reserving.start()

    def _compile(self, compile_it: Callable[[], Compiled]) -> Compiled:
        if self._path is None and self._keep:
            return compile_it()
        with without_cache():
            compiled = compile_it()
        analysis = compiled.memory_analysis()
        memory = 0 if analysis is None else analysis.temp_size_in_bytes
        self._reserve(memory)
        if self._path is None:
            return compiled
        # It may be that there is no place, or that jax cannot write this program: then it is compiled each time.
        with contextlib.suppress(WriteError, ValueError, NotImplementedError):
            content = pickle.dumps((*serialize_executable.serialize(compiled), memory))
            write_bytes(self._path, hashlib.sha256(content).digest() + content)
            _forget_oldest(self._path.parent)
        return compiled


def fingerprint(decides: Mapping[str, Any]) -> str:
    """Short name of all that decides what is compiled."""
    text = json.dumps({**decides, "surroundings": surroundings()}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def surroundings() -> dict[str, Any]:
    """What decides every program: sources, versions, settings of jax and XLA, and the processor."""
    irrelevant = {
        "jax_compilation_cache_dir",
        "jax_persistent_cache_min_compile_time_secs",
        "jax_num_cpu_devices",
        "jax_numpy_rank_promotion",
    }
    return {
        "sources": _sources(),
        "versions": versions(),
        "flags": os.environ.get("XLA_FLAGS"),
        "settings": {name: str(value) for name, value in jax.config.values.items() if name not in irrelevant},
        "processor": [platform.machine(), _processor_features()],
    }


@functools.cache
def _sources() -> str:
    package, digest = Path(__file__).parent, hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def _processor_features() -> str:
    """A home may be shared by machines whose processors differ."""
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
        return "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    return platform.processor()


def _folder() -> Path | None:
    enabled = jax.config.values["jax_enable_compilation_cache"] and jax.config.values["jax_compilation_cache_dir"]
    # Not the one that jax uses, which a user may have put where others write: a program is code.
    return runtime.compilation_cache() if enabled else None


def _read(path: Path) -> bytes | None:
    """What was written, None unless it is whole: damaged machine code must not be run."""
    content = path.read_bytes()
    return content[32:] if hashlib.sha256(content[32:]).digest() == content[:32] else None


@contextlib.contextmanager
def without_cache() -> Iterator[None]:
    """Compile anew: what came out of jax's cache cannot be written again (functions are missing in jaxlib 0.10.2)."""
    enabled = jax.config.values["jax_enable_compilation_cache"]
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", enabled)
        compilation_cache.reset_cache()


def _forget_oldest(folder: Path) -> None:
    with contextlib.suppress(OSError):
        paths = sorted(folder.glob("*" + SUFFIX), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in paths[KEPT:]:
            path.unlink(missing_ok=True)
