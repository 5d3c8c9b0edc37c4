"""Labels as planes of an image: how a flow is told the class (Mirza, Osindero 2014, arXiv:1411.1784).

A label is a row of weights, one a class: 1 for the class and 0 elsewhere, or something in between for an image halfway
between two classes.
"""

import jax
import jax.numpy as jnp
from jax import Array


def one_hot(labels: Array, classes: int, dtype: jnp.dtype = jnp.float32) -> Array:
    """(B,) integers to (B, classes) weights; weights are passed through."""
    return labels.astype(dtype) if labels.ndim == 2 else jax.nn.one_hot(labels, classes, dtype=dtype)


def label_planes(labels: Array | None, x: Array) -> Array | None:
    """(B, classes) weights, the same at every place of `x`: (B, H, W, classes); None stays None."""
    if labels is None:
        return None
    return jnp.broadcast_to(labels[:, None, None, :], (*x.shape[:3], labels.shape[-1]))


def with_planes(x: Array, labels: Array | None) -> Array:
    """`x` with the planes of its labels behind its channels, (B, H, W, C + classes)."""
    planes = label_planes(labels, x)
    return x if planes is None else jnp.concatenate([x, planes], axis=-1)
