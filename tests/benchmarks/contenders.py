"""The contenders: each trains, evaluates and tells its loss in the same way, in a process of its own.

A process is started with `python -m tests.benchmarks.contenders NAME PRESET BATCH`; it reads one JSON request a line on
stdin and answers each with one JSON line on stdout.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Contender(Protocol):
    """What a request is answered with."""

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        """Mean bits per dimension of images, with the parameters and the uniform noise of the file."""

    def train(self, order: np.ndarray) -> None:
        """A step for each row of (steps, batch) indices of images, waited for at the end."""

    def evaluate(self, images: np.ndarray, draws: int) -> None:
        """The bound with so many draws of each image, waited for."""

    def sample(self, count: int) -> np.ndarray:
        """So many new images, on the host."""

    def peak(self) -> int:
        """Bytes of memory at the most: of the GPU, if there is one."""

    device: str
    """What it runs on."""


class NF:
    """nf as it is installed, with `dtype` in its networks."""

    def __init__(self, preset: str, batch: int, images: np.ndarray, dtype: str = "auto") -> None:
        from nfcli.backend import runtime

        runtime.prepare()
        import jax

        from nfcli.backend.mesh import data_mesh
        from nfcli.backend.probe import onednn_is_faster
        from nfcli.config import TrainConfig
        from nfcli.evaluation.bound import BoundEvaluator
        from nfcli.flows import build
        from nfcli.presets import get_preset
        from nfcli.training.dispatch import make_dispatch
        from nfcli.training.setup import network_dtype, policy_of
        from nfcli.training.step import TrainStep

        self.jax, self.device = jax, jax.local_devices()[0].device_kind
        self.model = build(get_preset(preset), (28, 28, 1))
        config = TrainConfig(preset=preset, batch_size=batch, network_dtype=dtype)
        config = replace(config, network_dtype=network_dtype(config, None))
        policy = policy_of(config)
        # Of several GPUs one, as all others take.
        mesh = data_mesh(batch, None if jax.default_backend() == "cpu" else 1)
        self.trained = self.model.with_policy(policy)
        step = TrainStep(self.model, config, len(images) // batch, mesh, policy)
        self.dispatch = make_dispatch(step, (images,), None)
        self.dispatch.fetch()
        self.state = step.init()
        self.dispatch.compile(self.state)
        fast = onednn_is_faster("float32")  # as for many images; so few would not be worth compiling it
        self.evaluator = functools.cache(lambda images: BoundEvaluator(self.model, batch, images=images, onednn=fast))
        self.parameters = self.model.init(jax.random.key(0))
        self.draw = jax.jit(self.model.sample)

    def reference(self, images: np.ndarray, path: Path) -> float:
        """Write random parameters and noise for the others to a file, and tell the loss with them."""
        jax, generator = self.jax, np.random.default_rng(0)
        from nfcli.flows.dequantization import keep_in_bin, uniform_noise

        parameters = jax.tree.map(
            lambda leaf: leaf + generator.normal(0, 0.02, leaf.shape).astype(leaf.dtype), self.parameters
        )
        keys = jax.random.split(jax.random.key(1), len(images))
        noise = uniform_noise(keys, self.model.shape, np.float32)
        if self.model.preset.dequantization is None:
            noise = keep_in_bin(images, noise, self.model.levels)
        named = {jax.tree_util.keystr(place, simple=True, separator="/"): leaf for place, leaf in _leaves(parameters)}
        np.savez(path, **{f"parameters/{name}": np.asarray(leaf) for name, leaf in named.items()}, noise=noise)
        return self._loss(self.model, parameters, images)

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        # The noise follows from the same keys.
        return self._loss(self.trained, given["parameters"], images)

    def _loss(self, model: Any, parameters: Any, images: np.ndarray) -> float:
        keys = self.jax.random.split(self.jax.random.key(1), len(images))
        log_prob = self.jax.jit(model.log_prob)(parameters, images, keys)
        return float(-log_prob.mean() / (model.dimensions * np.log(2)))

    def train(self, order: np.ndarray) -> None:
        at_once = self.dispatch.per_dispatch
        for start in range(0, len(order), at_once):
            self.state, _ = self.jax.block_until_ready(self.dispatch(self.state, order[start : start + at_once]))

    def evaluate(self, images: np.ndarray, draws: int) -> None:
        self.evaluator(len(images))(self.parameters, images, samples=draws, seed=0)

    def sample(self, count: int) -> np.ndarray:
        keys = self.jax.random.split(self.jax.random.key(0), count)
        return np.asarray(self.draw(self.parameters, keys))

    def peak(self) -> int:
        return _peak_of_jax()


class Course:
    """The plain Flax program with jax as it comes."""

    def __init__(self, preset: str, batch: int, images: np.ndarray) -> None:
        import jax

        from tests.benchmarks import course

        self.jax, self.course, self.flow, self.images = jax, course, course.COURSE[preset], images
        few = images[:2]
        parameters = self.flow.init(jax.random.key(0), few, np.full(few.shape, 0.5, np.float32))["params"]
        self.device = jax.local_devices()[0].device_kind
        self.state, self.rng, self.batch = course.make_state(self.flow, parameters), jax.random.key(1), batch
        self.steps: dict[int, Any] = {}

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        parameters = self.course.from_nf(given["parameters"])
        return float(self.flow.apply({"params": parameters}, images, given["noise"]).mean())

    def train(self, order: np.ndarray) -> None:
        for chosen in order:
            self.state, self.rng, loss = self.course.train_step(self.state, self.rng, self.images[chosen])
        self.jax.block_until_ready((self.state, loss))

    def evaluate(self, images: np.ndarray, draws: int) -> None:
        step = self.steps.setdefault(draws, self.course.evaluate_step(self.flow, draws))
        size = max(1, self.batch // draws)
        bounds = [
            step(self.state.params, self.jax.random.fold_in(self.rng, start), images[start : start + size])
            for start in range(0, len(images), size)
        ]
        self.jax.block_until_ready(bounds)

    def sample(self, count: int) -> np.ndarray:
        return np.asarray(self.course.sample_step(self.flow, self.state.params, self.rng, (count, 28, 28, 1)))

    def peak(self) -> int:
        return _peak_of_jax()


class Torch:
    """PyTorch, eager or compiled, in float32 or with bfloat16 as autocast chooses it; on a GPU if there is one.

    With `graphs` what is compiled is recorded as CUDA graphs, which take the host's time out of small steps.
    """

    def __init__(
        self,
        preset: str,
        batch: int,
        images: np.ndarray,
        *,
        compiled: bool = False,
        bfloat16: bool = False,
        graphs: bool = False,
    ) -> None:
        import torch

        from tests.benchmarks.course import COURSE
        from tests.benchmarks.torch_flow import TorchFlow

        self.torch, self.batch = torch, batch
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.autocast = functools.partial(torch.autocast, self.device, torch.bfloat16, enabled=bfloat16)
        torch.set_num_threads(len(_cores()))
        if self.device == "cuda":
            torch.set_float32_matmul_precision("high")  # TF32, as jax has it
        flow = TorchFlow(COURSE[preset].layers, variational=COURSE[preset].variational, shape=(28, 28, 1))
        self.plain = flow.to(self.device, memory_format=torch.channels_last)
        mode = "reduce-overhead" if graphs else None
        self.flow: Any = torch.compile(self.plain, dynamic=False, mode=mode) if compiled else self.plain
        self.optimizer = torch.optim.Adam(self.plain.parameters(), lr=1e-3, fused=self.device == "cuda")
        self.images = torch.from_numpy(np.array(images).transpose(0, 3, 1, 2).copy()).to(self.device)

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        from tests.benchmarks.course import from_nf

        self.plain.load_course(from_nf(given["parameters"]))
        with self.torch.no_grad(), self.autocast():
            return float(self.flow(self._tensor(images), self._tensor(given["noise"])).mean())

    def train(self, order: np.ndarray) -> None:
        for chosen in self.torch.from_numpy(order).to(self.device):
            images = self.images[chosen].contiguous(memory_format=self.torch.channels_last)
            noise = self._noise(images.shape)
            self.optimizer.zero_grad(set_to_none=True)
            with self.autocast():
                loss = self.flow(images, noise).mean()
            loss.backward()
            self.torch.nn.utils.clip_grad_norm_(self.plain.parameters(), 1.0)
            self.optimizer.step()
        self._wait()

    def evaluate(self, images: np.ndarray, draws: int) -> None:
        scale = np.log(2) * images[0].size
        size = max(1, self.batch // draws)
        with self.torch.no_grad(), self.autocast():
            for start in range(0, len(images), size):
                tensor = self._tensor(images[start : start + size]).repeat_interleave(draws, 0)
                bits = self.flow(tensor, self._noise(tensor.shape)).view(-1, draws)
                self.torch.logsumexp(-bits * scale, 1)
        self._wait()

    def sample(self, count: int) -> np.ndarray:
        with self.torch.no_grad(), self.autocast():
            return np.asarray(self.plain.sample(count, self.device).float().cpu())

    def peak(self) -> int:
        return _peak_of_host() if self.device == "cpu" else int(self.torch.cuda.max_memory_allocated())

    def _noise(self, shape: Any) -> Any:
        return self.torch.rand(shape, device=self.device)

    def _wait(self) -> None:
        if self.device == "cuda":
            self.torch.cuda.synchronize()

    def _tensor(self, array: np.ndarray) -> Any:
        tensor = self.torch.from_numpy(np.array(array).transpose(0, 3, 1, 2).copy()).to(self.device)
        return tensor.contiguous(memory_format=self.torch.channels_last)


def make(name: str, preset: str, batch: int, images: np.ndarray) -> Contender:
    """A contender by its name, which trains on these images."""
    if name.startswith("nf"):
        return NF(preset, batch, images, *name.split("-")[1:])
    if name == "course":
        return Course(preset, batch, images)
    kinds = {kind: kind in name for kind in ("compiled", "bfloat16", "graphs")}
    return Torch(preset, batch, images, **kinds)


def answer(contender: Any, request: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """Do what a request asks."""
    if request["do"] == "reference":
        return {"loss": contender.reference(images[: request["images"]], Path(request["file"]))}
    if request["do"] == "loss":
        return {"loss": contender.loss(images[: request["images"]], _load(Path(request["file"])))}
    if request["do"] == "peak":
        return {"mebibytes": contender.peak() / 2**20, "device": contender.device}
    done = request["batch"] * request["steps"] if request["do"] == "train" else 0
    order = (np.arange(done) % len(images)).reshape(-1, request.get("batch", 1))
    if request.get("again"):  # what another one's turn took, such as memory, comes back in a step that does not count
        contender.train(order[:1])
    start = time.perf_counter()
    if request["do"] == "train":
        contender.train(order)
    elif request["do"] == "sample":
        done = len(contender.sample(request["images"]))
    else:
        contender.evaluate(images[: request["images"]], request["draws"])
        done = request["images"]
    return {"images_per_second": done / (time.perf_counter() - start)}


def _load(path: Path) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    with np.load(path) as content:
        for name in content.files:
            node, (*parents, last) = tree, name.split("/")
            for parent in parents:
                node = node.setdefault(parent, {})
            node[last] = content[name]
    return tree


def _leaves(tree: Any) -> list[tuple[Any, Any]]:
    import jax

    return list(jax.tree.leaves_with_path(tree))


def _peak_of_jax() -> int:
    import jax

    memory = jax.local_devices()[0].memory_stats()
    return int(memory["peak_bytes_in_use"]) if memory else _peak_of_host()


def _peak_of_host() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _cores() -> set[int]:
    return os.sched_getaffinity(0)


def main() -> None:
    """Answer requests until stdin ends."""
    name, preset, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    from nfcli.data import load_dataset

    images = load_dataset("mnist").train.images
    contender = make(name, preset, batch, images)
    for line in sys.stdin:
        print(json.dumps(answer(contender, json.loads(line), images)), flush=True)


if __name__ == "__main__":
    main()
