"""Compiled programs, kept from one start to the next.

jax's own cache knows a program by its text, so that each start has to trace and lower it again, which takes longer than
to load what was compiled. Here a program is known by all that decides its text, the sources of this package among it.
"""

import contextlib
import functools
import hashlib
import json
import os
import pickle
import platform
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
from jax.experimental import serialize_executable
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import Mesh
from jax.stages import Compiled

from nfcli.backend import private, runtime
from nfcli.versions import versions

KEPT = 24
"""So many programs are kept, of some 10 MB each; those that were not used for longest go first."""

SUFFIX = ".program"

_latest: dict[str, Compiled] = {}
"""The latest program that cannot be written, by its name: the next seed needs the same one."""


class KeptProgram:
    """One program for the CPUs of this process, loaded if it was compiled before, else compiled and kept.

    On accelerators, of several processes, and where jax's cache is switched off, nothing is kept. What cannot be
    written lasts as long as the process.

    Args:
        cache_key: All that decides what the program does, apart from what `fingerprint` knows; JSON values.
        mesh: The devices that it runs on.
        keep: Whether it can be kept.
    """

    def __init__(self, cache_key: Mapping[str, Any], mesh: Mesh, *, keep: bool = True) -> None:
        self._devices = list(mesh.devices.flat)
        self._threads = ThreadPoolExecutor(2)
        self._loading: Future[Compiled | None] | None = None
        alone = self._devices[0].platform == "cpu" and jax.process_count() == 1
        self._folder = _folder() if alone and keep else None
        self._name = fingerprint({**cache_key, "devices": [device.id for device in self._devices]}) + SUFFIX
        self._keep = keep

    def fetch(self) -> None:
        """Begin to load it, if it is there, while other things are done."""
        self._loading = self._threads.submit(self._load)

    def get(self, compile_it: Callable[[], Compiled]) -> Compiled:
        """The program.

        Args:
            compile_it: Is called if it is not there.
        """
        program = self._load() if self._loading is None else self._loading.result()
        program = program or _latest.get(self._name) or self._compile(compile_it)
        # The program would take the memory that is being reserved once more.
        self._threads.shutdown()
        return program

    def _load(self) -> Compiled | None:
        if self._folder is None:
            return None
        # Whatever is wrong with a kept program, it can be compiled again.
        with contextlib.suppress(Exception), private.opened(self._folder) as folder:
            content = private.read(folder, self._name)
            # Machine code and a pickle, either of which runs what it says: from a folder that this user alone writes to
            # (`private`), and not if it is damaged.
            if hashlib.sha256(content[32:]).digest() == content[:32]:
                memory, code, takes, gives = pickle.loads(content[32:])
                self._reserve(memory)
                return serialize_executable.deserialize_and_load(code, takes, gives, execution_devices=self._devices)
        return None

    def _reserve(self, memory: int) -> None:
        """Begin to take the memory that the program writes to while it runs, on each device."""
        self._threads.submit(runtime.reserve, memory, len(self._devices))

    def _compile(self, compile_it: Callable[[], Compiled]) -> Compiled:
        if self._folder is None and self._keep:
            return compile_it()
        _latest.clear()
        with without_cache():
            compiled = compile_it()
        memory = getattr(compiled.memory_analysis(), "temp_size_in_bytes", 0)
        self._reserve(memory)
        if self._folder is None:
            _latest[self._name] = compiled
            return compiled
        # It may be that there is no place, or that jax cannot write this program: then it is compiled each time.
        with contextlib.suppress(OSError, ValueError, NotImplementedError), private.opened(self._folder) as folder:
            content = pickle.dumps((memory, *serialize_executable.serialize(compiled)))
            private.write(folder, self._name, hashlib.sha256(content).digest() + content)
            private.forget_oldest(folder, SUFFIX, KEPT)
        return compiled


def fingerprint(cache_key: Mapping[str, Any]) -> str:
    """Short name of all that decides what is compiled: this, sources, versions, settings of jax and XLA, processor."""
    irrelevant = {"jax_compilation_cache_dir", "jax_persistent_cache_min_compile_time_secs"}
    irrelevant |= {"jax_num_cpu_devices", "jax_numpy_rank_promotion"}
    surroundings = {
        "sources": _sources(),
        "versions": versions(),
        "flags": os.environ.get("XLA_FLAGS"),
        "settings": {name: str(value) for name, value in jax.config.values.items() if name not in irrelevant},
        # A home may be shared by machines whose processors differ.
        "processor": [platform.machine(), runtime.processor_features() or platform.processor()],
    }
    text = json.dumps({**cache_key, "surroundings": surroundings}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@functools.cache
def _sources() -> str:
    package, digest = Path(__file__).parents[1], hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(f"{path.relative_to(package)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _folder() -> Path | None:
    enabled = jax.config.values["jax_enable_compilation_cache"] and jax.config.values["jax_compilation_cache_dir"]
    # Not the one that jax uses, which a user may have put where others write: a program is code.
    return runtime.compilation_cache() if enabled else None


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
