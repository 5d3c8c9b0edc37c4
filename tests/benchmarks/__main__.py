"""Time nf beside its peers on this machine: `python -m tests.benchmarks`.

Every contender runs in its own process; all take turns, and medians over the turns are reported, with nf over the
fastest of its peers. Before that, all must give the same loss on the same parameters, images and noise. PyTorch takes
part where it is installed, eager and, where there is a C++ compiler, compiled; each in float32 and with bfloat16 as
autocast chooses it. nf trains as `nf train` does; nf-float32 and nf-bfloat16 are what they say. Where there is a GPU,
all run on one, and `nf train` asks for 50 steps at a time: `--steps 50`.

A start lasts until the end of the first training step: cold with an empty cache of compiled programs, then warm.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tabulate import tabulate

from nfcli.backend import runtime

ROOT = Path(__file__).resolve().parents[2]
CONTENDERS = ("nf", "course", "torch", "torch-bfloat16", "torch-compiled", "torch-compiled-bfloat16")
BY_NAME_ONLY = ("nf-float32", "nf-bfloat16", "torch-compiled-graphs-bfloat16")
"""The last one records CUDA graphs."""

TASKS = ("training", "evaluation", "sampling")

# All ask glibc for memory at every step. nf starts itself with these tunables; its peers are told the same, but keep an
# arena a thread, as they have without.
OF_NF = runtime.MALLOC
OF_PEERS = ":".join(tunable for tunable in OF_NF.split(":") if "arena" not in tunable)

# Turns before those that count: the first few find their memory.
WARM_UP = 3


class Worker:
    """A contender's process."""

    def __init__(self, name: str, preset: str, batch: int, **settings: str) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.contenders", name, preset, str(batch)]
        pipe = subprocess.PIPE
        # Several share a GPU.
        around = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", **settings}
        around |= {"GLIBC_TUNABLES": OF_NF if name.startswith("nf") else OF_PEERS}
        self.process = subprocess.Popen(command, cwd=ROOT, env=around, stdin=pipe, stdout=pipe, text=True)

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send one request and wait for its answer."""
        self.send(**request)
        return self.answer()

    def send(self, **request: Any) -> None:
        """Send one request."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()

    def answer(self) -> dict[str, Any]:
        """Wait for the answer to the last one."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.process.args} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def say(text: str) -> None:
    """How far it is, on stderr: some steps take minutes."""
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def starts(name: str, preset: str, batch: int) -> dict[str, float]:
    """Seconds from starting the process to the end of its first training step, without and with a filled cache."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("cold", "warm"):
            begin = time.perf_counter()
            worker = Worker(name, preset, batch, NF_CACHE_DIR=folder, TORCHINDUCTOR_CACHE_DIR=folder)
            worker.ask(do="train", batch=batch, steps=1)
            found[kind] = time.perf_counter() - begin
            say(f"{preset}: {kind} start of {name} in {found[kind]:.1f} s")
            worker.close()
    return found


def measure(preset: str, options: argparse.Namespace) -> dict[str, Any]:
    """All contenders on one preset: losses, images a second of each turn, peak memory."""
    begun = {name: starts(name, preset, options.batch) for name in options.contenders if options.starts}
    tasks = {
        "training": {"do": "train", "batch": options.batch, "steps": options.steps, "again": True},
        "evaluation": {"do": "evaluate", "images": options.eval_images, "draws": 8},
        "sampling": {"do": "sample", "images": options.batch},
    }
    workers = {name: Worker(name, preset, options.batch) for name in options.contenders}
    with tempfile.TemporaryDirectory() as folder:
        common = {"images": 16, "file": str(Path(folder) / "reference.npz")}
        losses = {"nf": workers["nf"].ask(do="reference", **common)["loss"]}
        losses |= {name: worker.ask(do="loss", **common)["loss"] for name, worker in workers.items() if name != "nf"}
    say(f"{preset}: all have compiled, losses {losses}")
    for name, loss in losses.items():
        # Half precision has 8 bits; the loss is in float32 for all of nf.
        if abs(loss - losses["nf"]) > (5e-2 if "bfloat16" in name else 1e-3):
            raise RuntimeError(f"{name} has the loss {loss} on preset {preset}, nf has {losses['nf']}")
    found: dict[str, Any] = {"losses": losses, "start_seconds": begun}
    for task, request in tasks.items():
        if task not in options.tasks:
            continue
        for worker in workers.values():  # what is not compiled yet is compiled side by side
            worker.send(**request)
        for worker in workers.values():
            worker.answer()
        speeds: dict[str, list[float]] = {name: [] for name in workers}
        for turn in range(-WARM_UP, options.repetitions):
            for name, worker in workers.items():
                speed = worker.ask(**request)["images_per_second"]
                if turn >= 0:
                    speeds[name].append(speed)
            say(f"{preset}: {task}, turn {turn + WARM_UP + 1} of {WARM_UP + options.repetitions}")
        found[task] = speeds
    ends = {name: worker.ask(do="peak") for name, worker in workers.items()}
    found["peak_mebibytes"] = {name: end["mebibytes"] for name, end in ends.items()}
    found["devices"] = {name: end["device"] for name, end in ends.items()}
    for worker in workers.values():
        worker.close()
    return found


def table(results: dict[str, Any], contenders: list[str], task: str) -> str:
    """Medians of images a second, and how much faster nf is, as Markdown."""
    rows = []
    for preset, found in results.items():
        medians = {name: statistics.median(found[task][name]) for name in contenders}
        ratios = [f"{medians['nf'] / medians[name]:.2f}" for name in contenders if name != "nf"]
        peers = {name: speed for name, speed in medians.items() if not name.startswith("nf")}
        fastest = [f"{medians['nf'] / max(peers.values()):.2f}, {max(peers, key=peers.get)}"] if peers else []
        rows.append([preset, *(f"{medians[name]:.1f}" for name in contenders), *ratios, *fastest])
    header = [f"{task}, images/s", *contenders, *(f"nf / {name}" for name in contenders if name != "nf")]
    header += ["nf / fastest peer"] if any(not name.startswith("nf") for name in contenders) else []
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def report(results: dict[str, Any], options: argparse.Namespace) -> Iterator[str]:
    """The tables, as Markdown."""
    contenders = options.contenders
    for task in options.tasks:
        yield table(results, contenders, task)
    for kind in ("cold", "warm") if options.starts else ():
        rows = [
            [preset, *(f"{found['start_seconds'][name][kind]:.1f}" for name in contenders)]
            for preset, found in results.items()
        ]
        yield tabulate(rows, [f"{kind} start, s", *contenders], tablefmt="github", disable_numparse=True)
    rows = [
        [preset, *(f"{found['peak_mebibytes'][name]:,.0f}" for name in contenders)] for preset, found in results.items()
    ]
    yield tabulate(rows, ["peak MiB", *contenders], tablefmt="github", disable_numparse=True)


def present() -> list[str]:
    """The contenders that can run here; says which are left out, and why."""
    lacking = {}
    if not find_spec("torch"):
        lacking = dict.fromkeys((name for name in CONTENDERS if "torch" in name), "PyTorch is not installed")
    elif not any(map(shutil.which, (os.environ.get("CXX", "g++"), "clang++"))):
        lacking = dict.fromkeys((name for name in CONTENDERS if "compiled" in name), "there is no C++ compiler")
    for name, reason in lacking.items():
        print(f"without {name}: {reason}", file=sys.stderr)
    return [name for name in CONTENDERS if name not in lacking]


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--presets", nargs="+", default=["simple", "vardeq", "multiscale"])
    parser.add_argument(
        "--contenders", nargs="+", choices=(*CONTENDERS, *BY_NAME_ONLY), help="nf is always one of them"
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--no-starts", dest="starts", action="store_false", help="do not time starts")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--steps", type=int, default=4, help="steps a turn, after one that does not count")
    parser.add_argument("--eval-images", type=int, default=128, help="images a turn, 8 draws each")
    parser.add_argument("--repetitions", type=int, default=5, help="turns after the first")
    parser.add_argument("--output", type=Path, help="also write the tables to this .md file, and all to .json")
    options = parser.parse_args()
    options.contenders = list(dict.fromkeys(["nf", *(options.contenders or present())]))
    results = {}
    for preset in options.presets:
        results[preset] = measure(preset, options)
    text = "\n\n".join(report(results, options)) + "\n"
    print(text, end="")
    if options.output is not None:
        described = {"machine": platform.processor() or platform.machine(), "cores": len(os.sched_getaffinity(0))}
        sizes = {"batch": options.batch, "steps": options.steps}
        content = {**described, "versions": _versions(), **sizes, "presets": results}
        options.output.with_suffix(".md").write_text(text)
        options.output.with_suffix(".json").write_text(json.dumps(content, indent=2) + "\n")


def _versions() -> dict[str, str]:
    found = {}
    for name in ("nfcli", "jax", "jaxlib", "flax", "torch"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


if __name__ == "__main__":
    main()
