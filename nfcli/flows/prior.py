"""Densities of the finished latents."""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array

from nfcli.flows.base import sum_per_image


def standard_normal_log_prob(z: Array) -> Array:
    """log N(z; 0, 1) summed over everything but the batch axis: (B, ...) to (B,), natural logarithm."""
    return sum_per_image(-0.5 * (jnp.square(z) + math.log(2 * math.pi)))
