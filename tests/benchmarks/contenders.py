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
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class Contender(Protocol):
    """What a request is answered with."""

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        """Mean bits per dimension of images, with the parameters and the uniform noise of the file."""

    def train(self, batches: list[np.ndarray]) -> None:
        """A step for each batch, waited for at the end."""

    def evaluate(self, images: np.ndarray, draws: int) -> None:
        """The bound with so many draws of each image, waited for."""

    def sample(self, count: int) -> np.ndarray:
        """So many new images, on the host."""


class NF:
    """nf as it is installed."""

    def __init__(self, preset: str, batch: int) -> None:
        from nfcli.backend import runtime

        runtime.prepare()
        import jax

        from nfcli.backend.mesh import data_mesh
        from nfcli.backend.probe import matrix_units_found
        from nfcli.config import TrainConfig
        from nfcli.evaluation.bound import BoundEvaluator
        from nfcli.flows import build
        from nfcli.presets import get_preset
        from nfcli.training.setup import devices_of, policy_of
        from nfcli.training.step import TrainStep

        self.jax = jax
        self.model = build(get_preset(preset), (28, 28, 1))
        dtype = os.environ.get("NF_BENCHMARK_DTYPE") or ("bfloat16" if matrix_units_found() else "float32")
        config = TrainConfig(preset=preset, batch_size=batch, network_dtype=dtype)
        policy = policy_of(config)
        mesh = data_mesh(batch, devices_of(config, policy))
        self.step = TrainStep(self.model, config, 390, mesh, policy)
        self.step.fetch()
        self.state = self.step.init()
        self.step.compile(self.state)
        self.evaluator = functools.cache(lambda images: BoundEvaluator(self.model, batch, images=images))
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
        log_prob = jax.jit(self.model.log_prob)(parameters, images, keys)
        return float(-log_prob.mean() / (self.model.dimensions * np.log(2)))

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        raise NotImplementedError("the others are compared with nf's `reference`")

    def train(self, batches: list[np.ndarray]) -> None:
        for batch in batches:
            self.state, _ = self.jax.block_until_ready(self.step(self.state, batch))

    def evaluate(self, images: np.ndarray, draws: int) -> None:
        self.evaluator(len(images))(self.parameters, images, samples=draws, seed=0)

    def sample(self, count: int) -> np.ndarray:
        keys = self.jax.random.split(self.jax.random.key(0), count)
        return np.asarray(self.draw(self.parameters, keys))


class Course:
    """The plain Flax program with jax as it comes."""

    def __init__(self, preset: str, batch: int) -> None:
        import jax

        from tests.benchmarks import course

        self.jax, self.course, self.flow = jax, course, course.COURSE[preset]
        images = np.zeros((2, 28, 28, 1), np.uint8)
        parameters = self.flow.init(jax.random.key(0), images, np.full(images.shape, 0.5, np.float32))["params"]
        self.state, self.rng, self.batch = course.make_state(self.flow, parameters), jax.random.key(1), batch
        self.steps: dict[int, Any] = {}

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        parameters = self.course.from_nf(given["parameters"])
        return float(self.flow.apply({"params": parameters}, images, given["noise"]).mean())

    def train(self, batches: list[np.ndarray]) -> None:
        for batch in batches:
            self.state, self.rng, loss = self.course.train_step(self.state, self.rng, batch)
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


class Torch:
    """PyTorch, eager or compiled, in float32 or with bfloat16 as autocast chooses it."""

    def __init__(self, preset: str, batch: int, *, compiled: bool = False, bfloat16: bool = False) -> None:
        import torch

        from tests.benchmarks.course import COURSE
        from tests.benchmarks.torch_flow import TorchFlow

        self.torch, self.batch = torch, batch
        self.autocast = functools.partial(torch.autocast, "cpu", torch.bfloat16, enabled=bfloat16)
        torch.set_num_threads(len(_cores()))
        flow = TorchFlow(COURSE[preset].layers, variational=COURSE[preset].variational, shape=(28, 28, 1))
        self.plain = flow.to(memory_format=torch.channels_last)
        self.flow: Any = torch.compile(self.plain, dynamic=False) if compiled else self.plain
        self.optimizer = torch.optim.Adam(self.plain.parameters(), lr=1e-3)

    def loss(self, images: np.ndarray, given: dict[str, Any]) -> float:
        from tests.benchmarks.course import from_nf

        self.plain.load_course(from_nf(given["parameters"]))
        with self.torch.no_grad(), self.autocast():
            return float(self.flow(self._tensor(images), self._tensor(given["noise"])).mean())

    def train(self, batches: list[np.ndarray]) -> None:
        for batch in batches:
            images = self._tensor(batch)
            noise = self.torch.rand(images.shape)
            self.optimizer.zero_grad(set_to_none=True)
            with self.autocast():
                loss = self.flow(images, noise).mean()
            loss.backward()
            self.torch.nn.utils.clip_grad_norm_(self.plain.parameters(), 1.0)
            self.optimizer.step()

    def evaluate(self, images: np.ndarray, draws: int) -> None:
        scale = np.log(2) * images[0].size
        size = max(1, self.batch // draws)
        with self.torch.no_grad(), self.autocast():
            for start in range(0, len(images), size):
                tensor = self._tensor(images[start : start + size]).repeat_interleave(draws, 0)
                bits = self.flow(tensor, self.torch.rand(tensor.shape)).view(-1, draws)
                self.torch.logsumexp(-bits * scale, 1)

    def sample(self, count: int) -> np.ndarray:
        with self.torch.no_grad(), self.autocast():
            return np.asarray(self.plain.sample(count).float())

    def _tensor(self, array: np.ndarray) -> Any:
        tensor = self.torch.from_numpy(np.array(array).transpose(0, 3, 1, 2).copy())
        return tensor.contiguous(memory_format=self.torch.channels_last)


def make(name: str, preset: str, batch: int) -> Contender:
    """A contender by its name."""
    if name == "nf":
        return NF(preset, batch)
    if name == "course":
        return Course(preset, batch)
    return Torch(preset, batch, compiled="compiled" in name, bfloat16="bfloat16" in name)


def answer(contender: Any, request: dict[str, Any], images: np.ndarray) -> dict[str, Any]:
    """Do what a request asks."""
    if request["do"] == "reference":
        return {"loss": contender.reference(images[: request["images"]], Path(request["file"]))}
    if request["do"] == "loss":
        return {"loss": contender.loss(images[: request["images"]], _load(Path(request["file"])))}
    if request["do"] == "peak":
        return {"mebibytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}
    start = time.perf_counter()
    if request["do"] == "train":
        size = request["batch"]
        batches = [images[index * size : (index + 1) * size] for index in range(request["steps"])]
        contender.train(batches)
        done = size * request["steps"]
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


def _cores() -> set[int]:
    import os

    return os.sched_getaffinity(0)


def main() -> None:
    """Answer requests until stdin ends."""
    name, preset, batch = sys.argv[1], sys.argv[2], int(sys.argv[3])
    from nfcli.data import load_dataset

    images = load_dataset("mnist").train.images
    contender = make(name, preset, batch)
    for line in sys.stdin:
        print(json.dumps(answer(contender, json.loads(line), images)), flush=True)


if __name__ == "__main__":
    main()
