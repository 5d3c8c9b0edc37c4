"""The contract that every layer keeps.

A bijection maps data towards the latent with `forward` and back with `inverse`. For `z = f(x)`,

    log p(x) = log p(z) + ldj,    ldj = log |det dz/dx|,

in natural logarithms, one number per image: `ldj` has shape (B,). Nothing in a layer is random, and no log-determinant
is threaded through layers: whoever composes them adds up. The one random step, dequantization, has its own contract.
"""

import jax.numpy as jnp
from flax import nnx
from jax import Array


class Bijection(nnx.Module):
    """An invertible map of images, NHWC."""

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Map data towards the latent.

        Args:
            x: (B, H, W, C).
            context: (B, H, W, K), known in both directions; layers without a use for it ignore it.

        Returns:
            z: The layer's output, (B, ...).
            ldj: log |det dz/dx|, (B,), natural logarithm.
        """
        raise NotImplementedError

    def inverse(self, z: Array, context: Array | None = None) -> Array:
        """Undo `forward`.

        Args:
            z: What `forward` returned, (B, ...).
            context: The same as in `forward`.

        Returns:
            x: (B, H, W, C).
        """
        raise NotImplementedError

    def data_dependent_init(self, x: Array, context: Array | None = None) -> None:
        """Set the parameters that start from data, from a first batch of what `forward` gets; most have none."""


def sum_per_image(values: Array) -> Array:
    """Sum (B, ...) over everything but the batch axis, to (B,)."""
    return jnp.sum(values, axis=tuple(range(1, values.ndim)))
