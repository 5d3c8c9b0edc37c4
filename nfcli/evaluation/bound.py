"""The importance-weighted bound on log p(x), image by image.

For K noise draws u_1..u_K of an image (Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519),

    log p_K(x) = logsumexp_k( log p(x + u_k) - log q(u_k | x) ) - log K,

a lower bound on log p(x) that tightens with K in expectation. K draws are streamed one at a time with a running
logsumexp, so memory does not depend on K; networks run in float32 on the device, and everything is summed over draws or
images in float64.
"""

import functools
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import PartitionSpec

from nfcli.backend.mesh import batched, compiler_options, data_mesh, replicate, replicated, shard
from nfcli.backend.programs import without_cache
from nfcli.data.store import AnyImages
from nfcli.evaluation.batches import batches
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.networks import ComputePolicy
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from nfcli.runs.results import Summary

ENOUGH_ON_CPU = 2**18
"""Pixels of a batch, with some 1.5 KiB of networks each: more at a time take more memory and no less time."""

PRECISION = "highest"
"""Of matrix products and convolutions in every evaluation: Hopper's default for float32 would be TF32."""


def images_at_once(dimensions: int, most: int = 64) -> int:
    """So many go through a model at a time, where one program serves any number: fewer of large ones on a CPU."""
    return max(1, min(most, ENOUGH_ON_CPU // dimensions)) if jax.default_backend() == "cpu" else most


class StreamingLogSumExp:
    """log-weights of a batch of `size` images, one draw at a time, in float64."""

    def __init__(self, size: int) -> None:
        self.draws, self.total = 0, np.zeros(size)
        # Logarithms of the sum of the weights, and of the sum of their squares.
        self.first, self.second = np.full((2, size), -np.inf)

    def add(self, log_weights: np.ndarray) -> None:
        """Take one more draw, (B,) natural logarithms."""
        weights = log_weights.astype(np.float64)
        # A weight that is not finite makes the sums so, and stays to be seen there.
        with np.errstate(invalid="ignore"):
            self.first = np.logaddexp(self.first, weights)
            self.second = np.logaddexp(self.second, 2 * weights)
            self.total += weights
        self.draws += 1

    def bound(self) -> np.ndarray:
        """log of the mean weight, (B,)."""
        return np.asarray(self.first - np.log(self.draws))

    def elbo(self) -> np.ndarray:
        """Mean log-weight, (B,): the bound for one draw, averaged over all draws."""
        return self.total / self.draws

    def effective_sample_size(self) -> np.ndarray:
        """`(sum w)^2 / sum w^2`, (B,), between 1 and the number of draws, and 1 where the sum is 0 or not finite."""
        with np.errstate(invalid="ignore"):
            size = np.exp(2 * self.first - self.second)
        return np.where(np.isfinite(self.first), np.clip(size, 1, self.draws), 1)


@dataclass(frozen=True)
class PerImageBound:
    """What the bound says of each image; natural logarithms, float64.

    Attributes:
        index: (N,) position of each image in its split.
        log_prob: (N,) log p_K(x).
        elbo: (N,) the bound for K = 1, averaged over the K draws.
        effective_sample_size: (N,) of the K importance weights.
        dimensions: Of one image.
    """

    index: np.ndarray
    log_prob: np.ndarray
    elbo: np.ndarray
    effective_sample_size: np.ndarray
    dimensions: int

    @property
    def bpd(self) -> np.ndarray:
        """(N,) bits per dimension."""
        return to_bpd(self.log_prob, self.dimensions)

    @property
    def elbo_bpd(self) -> np.ndarray:
        """(N,) bits per dimension of the K = 1 bound."""
        return to_bpd(self.elbo, self.dimensions)

    def summary(self) -> Summary:
        """Means and standard error over images, in float64."""
        with np.errstate(invalid="ignore"):
            elbo_bpd, size = np.mean(self.elbo_bpd), np.mean(self.effective_sample_size)
        return Summary(*mean_and_error(self.bpd), finite(elbo_bpd), finite(size), len(self.index))


def to_bpd(log_prob: np.ndarray, dimensions: int) -> np.ndarray:
    """Natural log-likelihood to bits per dimension."""
    return -log_prob / (dimensions * np.log(2))


def mean_and_error(values: np.ndarray) -> tuple[float | None, float | None]:
    """Mean of (N,) values and its standard error; None for what is not finite, or cannot be said of a single value."""
    count = len(values)
    with np.errstate(invalid="ignore"):
        spread = np.std(values, ddof=1) / np.sqrt(count) if count > 1 else np.nan
        return finite(np.mean(values)), finite(spread)


def finite(value: float | np.floating[Any]) -> float | None:
    """A number for JSON; None for one that is not finite."""
    return float(value) if np.isfinite(value) else None


class BoundEvaluator:
    """The bound, compiled once for one model and batch size.

    Args:
        model: From `nfcli.flows.build`.
        batch_size: Images at a time, at most.
        devices: How many devices of all processes share a batch, None for automatic.
        images: How many there will be at most, if known.
        onednn: Compute networks on CPUs by oneDNN, if `nfcli.backend.probe` says that it is faster in float32.

    Raises:
        UsageError: There are fewer devices, or they or the processes do not divide a batch.
    """

    def __init__(
        self,
        model: FlowModel,
        batch_size: int,
        *,
        devices: int | None = None,
        images: int | None = None,
        onednn: bool = False,
    ) -> None:
        self.model, self.onednn = model.with_policy(ComputePolicy(onednn=True)) if onednn else model, onednn
        self.mesh = data_mesh(batch_size, devices)
        self.batch_size = self._no_more_than_useful(batch_size, images)
        same, cut = replicated(self.mesh), batched(self.mesh)
        # Every process gets the whole result, and sums it up in the same way.
        self._one_draw = jax.jit(
            self._log_weights,
            in_shardings=(same, cut, cut, cut, None, None),
            out_shardings=same,
            # XLA alone is a little slower with them.
            compiler_options=compiler_options(self.mesh) if onednn else None,
        )

    def __call__(
        self,
        parameters: Parameters,
        images: AnyImages,
        *,
        samples: int,
        seed: int,
        labels: np.ndarray | None = None,
        indices: np.ndarray | None = None,
        progress: Callable[[int, int], None] = lambda *_: None,
    ) -> PerImageBound:
        """Evaluate images.

        Args:
            parameters: Of the model.
            images: (N, H, W, C) integers.
            samples: Noise draws an image, K.
            seed: Of the noise.
            labels: (N,) integers, of a class-conditional model; another one takes none.
            indices: (N,) each image's position in its split, which decides its noise; 0..N-1 by default.
            progress: Called with (images done, images in all).
        """
        count, size = len(images), self.batch_size
        indices = np.arange(count) if indices is None else np.asarray(indices)
        parameters = replicate(self.mesh, parameters)
        parts: list[StreamingLogSumExp] = []
        for places, new in batches(count, size):
            batch = [
                None if rows is None else self._sharded(rows, places, dtype)
                for rows, dtype in ((images, np.uint8), (labels, np.int32), (indices, np.uint32))
            ]
            draws = functools.partial(self._one_draw, parameters, *batch, stream(seed, Purpose.EVALUATION))
            # The first batch compiles, and jaxlib cannot write a program that calls oneDNN.
            with nullcontext() if parts or not self.onednn else without_cache():
                parts.append(_sum_up(draws, new, samples))
            progress(min(len(parts) * size, count), count)
        log_prob = np.concatenate([part.bound() for part in parts])
        elbo = np.concatenate([part.elbo() for part in parts])
        effective = np.concatenate([part.effective_sample_size() for part in parts])
        return PerImageBound(indices, log_prob, elbo, effective, self.model.dimensions)

    def _sharded(self, values: AnyImages | np.ndarray, places: np.ndarray, dtype: type) -> Array:
        return shard(self.mesh, self.batch_size, lambda rows: np.asarray(values[places[rows]], dtype))

    def _no_more_than_useful(self, batch_size: int, images: int | None) -> int:
        """A smaller batch, where it holds all images or all that is worth computing at a time."""
        devices = self.mesh.size
        enough = batch_size if images is None else images
        if self.mesh.devices.flat[0].platform == "cpu":
            enough = min(enough, ENOUGH_ON_CPU // self.model.dimensions)
        # By halves, so that other numbers of images find a program that was compiled before.
        while enough <= (half := -(-batch_size // (2 * devices)) * devices) < batch_size:
            batch_size = half
        return batch_size

    def _log_weights(
        self, parameters: Parameters, x: Array, labels: Array | None, index: Array, key: Array, draw: Array
    ) -> Array:
        whole, parts = PartitionSpec(), PartitionSpec("data")

        # XLA does not know how to cut what oneDNN computes.
        @jax.shard_map(mesh=self.mesh, in_specs=(whole, parts), out_specs=parts, check_vma=False)
        def of_part(parameters: Parameters, batch: tuple[Array, Array, Array | None]) -> Array:
            return self.model.log_prob(parameters, *batch).astype(jnp.float32)

        with jax.default_matmul_precision(PRECISION):
            return of_part(parameters, (x, indexed_keys(jax.random.fold_in(key, draw), index), labels))


def _sum_up(draws: Callable[[int], Array], size: int, samples: int) -> StreamingLogSumExp:
    """The first `size` log-weights of so many draws."""
    weights = StreamingLogSumExp(size)
    pending: Array | None = draws(0)
    for draw in range(1, samples + 1):
        # The next draw is under way while this one is added up.
        following = draws(draw) if draw < samples else None
        weights.add(np.asarray(pending)[:size])
        pending = following
    return weights
