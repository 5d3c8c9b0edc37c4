"""The optimizer: clipped Adam or Muon, its learning rate over the steps, and the average of the weights."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jax import Array
from jax.sharding import Mesh

from nfcli.backend.mesh import batched
from nfcli.config import TrainConfig

ADAM_RMS = 0.2
"""Size of a step of Adam before the learning rate, about."""

FEWEST = 16
"""Rows and columns that a kernel must have for Muon."""


def learning_rate_schedule(config: TrainConfig, steps_per_epoch: int) -> optax.Schedule:
    """Down to the floor, exponentially or by half a cosine, smooth in steps; after a straight rise if one is wanted."""
    floor, rate = config.learning_rate_floor, config.learning_rate
    if config.schedule == "cosine":
        falling = optax.cosine_decay_schedule(rate, steps_per_epoch * config.epochs, alpha=floor / rate)
    elif config.learning_rate_decay == 1:  # optax would take the floor for a ceiling
        falling = optax.constant_schedule(rate)
    else:
        falling = optax.exponential_decay(rate, steps_per_epoch, config.learning_rate_decay, end_value=floor)
    if not config.warmup_steps:
        return falling
    return lambda step: falling(step) * jnp.minimum(1.0, (step + 1) / config.warmup_steps)


def learning_rate_scale(recoveries: Array | int) -> Array:
    """Factor on the learning rate after so many recoveries."""
    return jnp.float32(0.5) ** recoveries


def make_optimizer(config: TrainConfig, steps_per_epoch: int, mesh: Mesh | None = None) -> optax.GradientTransformation:
    """Adam (Kingma, Ba 2015, arXiv:1412.6980) or Muon after clipping by the global norm.

    With weight decay on the kernels if it is wanted, decoupled (Loshchilov, Hutter 2019, arXiv:1711.05101). Clipping
    and Adam see all parameters as one vector: a program with a few pieces in place of a few for each of some 300 arrays
    is smaller, and sooner loaded.
    """
    clip = optax.clip_by_global_norm(config.clip_norm)
    if config.optimizer == "muon":
        parts = {"muon": _stacked(_muon(), mesh), "adam": optax.flatten(optax.scale_by_adam())}
        scaled = optax.chain(optax.flatten(clip), optax.partition(parts, _matrices))
    else:
        scaled = optax.flatten(optax.chain(clip, optax.scale_by_adam()))
    decay = [optax.add_decayed_weights(config.weight_decay, _kernels)] if config.weight_decay else []
    return optax.chain(scaled, *decay, optax.scale_by_learning_rate(learning_rate_schedule(config, steps_per_epoch)))


def _muon() -> optax.GradientTransformation:
    """Muon (Jordan et al. 2024, kellerjordan.github.io/posts/muon) of arrays of matrices, (N, m, n).

    Updates are scaled to the size of Adam's, so that both share a learning rate (Liu et al. 2025, arXiv:2502.16982).
    """
    axes = optax.contrib.MuonDimensionNumbers(reduction_axis=1, output_axis=2)
    orthogonal = optax.contrib.scale_by_muon(weight_dimension_numbers=partial(jax.tree.map, lambda _: axes))
    scale = partial(jax.tree.map, lambda update: ADAM_RMS * math.sqrt(max(update.shape[1:])) * update)
    return optax.chain(orthogonal, optax.stateless(lambda updates, _: scale(updates)))


def _stacked(inner: optax.GradientTransformation, mesh: Mesh | None) -> optax.GradientTransformation:
    """A transformation of kernels as matrices, (K * K * I, O), those of a size stacked into one array, (N, m, n)."""

    def stack(tree: Any) -> dict[str, Array]:
        groups: dict[str, list[Array]] = {}
        for leaf in jax.tree.leaves(tree):
            groups.setdefault(size(leaf), []).append(leaf.reshape(-1, leaf.shape[-1]))
        return {name: jnp.stack(group) for name, group in groups.items()}

    def shared(matrices: Array) -> Array:
        """Each device takes some of them: where every core of a CPU takes all, a step lasts a fifth longer."""
        if mesh is None or mesh.is_multi_process or len(matrices) % mesh.size:
            return matrices
        return jax.lax.with_sharding_constraint(matrices, batched(mesh))

    def size(leaf: Array) -> str:
        return f"{leaf.size // leaf.shape[-1]}x{leaf.shape[-1]}"

    def update(updates: Any, state: Any, _: Any = None) -> tuple[Any, Any]:
        new, state = inner.update(jax.tree.map(shared, stack(updates)), state)
        rows = {name: iter(group) for name, group in new.items()}
        return jax.tree.map(lambda leaf: next(rows[size(leaf)]).reshape(leaf.shape), updates), state

    return optax.GradientTransformation(lambda parameters: inner.init(stack(parameters)), update)


def _matrices(parameters: Any) -> Any:
    """Which optimizer moves each array: Muon the kernels that are large enough as matrices, (K * K * I, O)."""

    def of(is_kernel: bool, leaf: Array) -> str:
        return "muon" if is_kernel and min(leaf.size // leaf.shape[-1], leaf.shape[-1]) >= FEWEST else "adam"

    return jax.tree.map(of, _kernels(parameters), parameters)


def _kernels(parameters: Any) -> Any:
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", parameters)


def ema_decay(most: float, step: Array) -> Array:
    """Of the moving average at a step: short at first, so that the fresh weights are soon forgotten."""
    return jnp.minimum(most, (1 + step) / (10 + step))
