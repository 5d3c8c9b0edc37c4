"""What Glow puts before couplings (Kingma, Dhariwal 2018, arXiv:1807.03039): ActNorm, invertible 1x1 convolution."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from nfcli.flows.base import Bijection
from nfcli.flows.initializers import zeros

SMALLEST_STD = 1e-3
"""A channel of a first batch that hardly varies is not blown up by more than a thousand."""


class ActNorm(Bijection):
    """`z = (x + t) exp(s)`, one t and s a channel; they start so that the first batch has mean 0 and variance 1.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        self.log_scale = nnx.Param(zeros(channels))
        self.shift = nnx.Param(zeros(channels))

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:  # noqa: ARG002
        log_scale = self.log_scale[...]
        z = (x + self.shift[...][None, None, None, :]) * jnp.exp(log_scale)[None, None, None, :]
        return z, jnp.broadcast_to(x.shape[1] * x.shape[2] * jnp.sum(log_scale), x.shape[:1])

    def inverse(self, z: Array, context: Array | None = None) -> Array:  # noqa: ARG002
        return z * jnp.exp(-self.log_scale[...])[None, None, None, :] - self.shift[...][None, None, None, :]

    def data_dependent_init(self, x: Array, context: Array | None = None) -> None:  # noqa: ARG002
        mean, std = jnp.mean(x, axis=(0, 1, 2)), jnp.std(x, axis=(0, 1, 2))
        self.log_scale[...] = -jnp.log(jnp.maximum(std, SMALLEST_STD))
        self.shift[...] = -mean


class InvertibleConv1x1(Bijection):
    """The channels of each pixel times one matrix `W = P L (U + diag(sign exp(log_s)))`.

    P and the signs are fixed. The matrix starts as a rotation that is drawn once and for all for its number: like a
    mask, it is part of the architecture and not of a run.

    Args:
        channels: C.
        number: Of this layer in the model.
    """

    def __init__(self, channels: int, number: int) -> None:
        permutation, lower, upper = _rotation_as_lu(channels, number)
        # As tuples: an array would count among what is learned.
        self.permutation, self.sign = tuple(permutation.tolist()), tuple(np.sign(np.diag(upper)).tolist())
        self.lower = nnx.Param(lower.astype(np.float32))
        self.upper = nnx.Param(np.triu(upper, 1).astype(np.float32))
        self.log_s = nnx.Param(np.log(np.abs(np.diag(upper))).astype(np.float32))

    def forward(self, x: Array, context: Array | None = None) -> tuple[Array, Array]:  # noqa: ARG002
        lower, upper = self._factors()
        matrix = (lower @ upper)[np.array(self.permutation)]
        z = jnp.einsum("bhwi,oi->bhwo", x, matrix)
        return z, jnp.broadcast_to(x.shape[1] * x.shape[2] * jnp.sum(self.log_s[...]), x.shape[:1])

    def inverse(self, z: Array, context: Array | None = None) -> Array:  # noqa: ARG002
        lower, upper = self._factors()
        rows = z.reshape(-1, z.shape[-1]).T[np.argsort(self.permutation)]
        half = jax.scipy.linalg.solve_triangular(lower, rows, lower=True, unit_diagonal=True)
        return jax.scipy.linalg.solve_triangular(upper, half).T.reshape(z.shape)

    def _factors(self) -> tuple[Array, Array]:
        lower, upper = self.lower[...], self.upper[...]
        diagonal = jnp.asarray(self.sign, upper.dtype) * jnp.exp(self.log_s[...])
        return jnp.tril(lower, -1) + jnp.eye(len(lower), dtype=lower.dtype), jnp.triu(upper, 1) + jnp.diag(diagonal)


def _rotation_as_lu(size: int, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A random rotation Q as `Q = (L U)[permutation]`; float64."""
    matrix = np.linalg.qr(np.random.default_rng([size, number]).standard_normal((size, size)))[0]
    upper, lower, order = matrix.copy(), np.zeros((size, size)), np.arange(size)
    for column in range(size):
        pivot = column + int(np.argmax(np.abs(upper[column:, column])))
        for rows in (upper, lower, order):
            rows[[column, pivot]] = rows[[pivot, column]]
        lower[column + 1 :, column] = upper[column + 1 :, column] / upper[column, column]
        upper[column + 1 :] -= np.outer(lower[column + 1 :, column], upper[column])
    return np.argsort(order), lower, np.triu(upper)
