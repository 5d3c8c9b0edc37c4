"""The optimizer: clipped Adam, its learning rate over the steps, and the average of the weights."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from nfcli.config import TrainConfig


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


def make_optimizer(config: TrainConfig, steps_per_epoch: int) -> optax.GradientTransformation:
    """Adam (Kingma, Ba 2015, arXiv:1412.6980) after clipping by the global norm.

    With weight decay on the kernels if it is wanted, decoupled (Loshchilov, Hutter 2019, arXiv:1711.05101). Clipping
    and Adam see all parameters as one vector: a program with a few pieces in place of a few for each of some 300 arrays
    is smaller, and sooner loaded.
    """
    schedule = learning_rate_schedule(config, steps_per_epoch)
    adam = optax.flatten(optax.chain(optax.clip_by_global_norm(config.clip_norm), optax.scale_by_adam()))
    decay = [optax.add_decayed_weights(config.weight_decay, _kernels)] if config.weight_decay else []
    return optax.chain(adam, *decay, optax.scale_by_learning_rate(schedule))


def _kernels(parameters: Any) -> Any:
    return jax.tree.map_with_path(lambda path, _: path[-1].key == "kernel", parameters)


def ema_decay(most: float, step: Array) -> Array:
    """Of the moving average at a step: short at first, so that the fresh weights are soon forgotten."""
    return jnp.minimum(most, (1 + step) / (10 + step))
