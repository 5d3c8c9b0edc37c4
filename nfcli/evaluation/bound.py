"""The importance-weighted bound on log p(x), image by image.

For K noise draws u_1..u_K of an image (Burda, Grosse, Salakhutdinov 2015, arXiv:1509.00519),

    log p_K(x) = logsumexp_k( log p(x + u_k) - log q(u_k | x) ) - log K,

a lower bound on log p(x) that tightens with K in expectation. K draws are streamed one at a time with a running
logsumexp, so memory does not depend on K; networks run in float32 on the device, and everything is summed over draws or
images in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from nfcli.backend.mesh import batched, data_mesh, replicate, replicated, shard
from nfcli.data.store import AnyImages
from nfcli.evaluation.batches import batches
from nfcli.flows import FlowModel, Parameters
from nfcli.flows.randomness import Purpose, indexed_keys, stream

ENOUGH_ON_CPU = 2**18
"""Pixels of a batch, with some 1.5 KiB of networks each: more at a time take more memory and no less time."""

PRECISION = "highest"
"""Of matrix products and convolutions in every evaluation: Hopper's default for float32 would be TF32."""


@dataclass
class StreamingLogSumExp:
    """log-weights of a batch, one draw at a time, in float64."""

    size: int
    draws: int = 0
    top: np.ndarray = field(init=False)
    first: np.ndarray = field(init=False)
    second: np.ndarray = field(init=False)
    total: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self.top = np.full(self.size, -np.inf)
        self.first, self.second, self.total = np.zeros(self.size), np.zeros(self.size), np.zeros(self.size)

    def add(self, log_weights: np.ndarray) -> None:
        """Take one more draw, (B,) natural logarithms."""
        weights = log_weights.astype(np.float64)
        top = np.maximum(self.top, weights)
        # An image whose weights are all zero so far has nothing to rescale.
        reference = np.where(np.isneginf(top), 0.0, top)
        # A weight that is not finite makes the sums NaN, and stays to be seen there.
        with np.errstate(invalid="ignore"):
            rescale, added = np.exp(self.top - reference), np.exp(weights - reference)
            self.first = self.first * rescale + added
            self.second = self.second * rescale**2 + added**2
            self.total += weights
        self.top = top
        self.draws += 1

    def bound(self) -> np.ndarray:
        """log of the mean weight, (B,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.first) + np.where(np.isneginf(self.top), 0.0, self.top) - np.log(self.draws)

    def elbo(self) -> np.ndarray:
        """Mean log-weight, (B,): the bound for one draw, averaged over all draws."""
        return self.total / self.draws

    def effective_sample_size(self) -> np.ndarray:
        """`(sum w)^2 / sum w^2`, (B,), between 1 and the number of draws."""
        return np.divide(self.first**2, self.second, out=np.ones(self.size), where=self.second > 0)


@dataclass(frozen=True)
class PerImageBound:
    """What the bound says of each image; natural logarithms, float64.

    Attributes:
        index: (N,) position of each image in its split.
        log_prob: (N,) log p_K(x).
        elbo: (N,) the bound for K = 1, averaged over the K draws.
        effective_sample_size: (N,) of the K importance weights.
        samples: K.
        seed: Of the noise.
        dimensions: Of one image.
    """

    index: np.ndarray
    log_prob: np.ndarray
    elbo: np.ndarray
    effective_sample_size: np.ndarray
    samples: int
    seed: int
    dimensions: int

    @property
    def bpd(self) -> np.ndarray:
        """(N,) bits per dimension."""
        return to_bpd(self.log_prob, self.dimensions)

    @property
    def elbo_bpd(self) -> np.ndarray:
        """(N,) bits per dimension of the K = 1 bound."""
        return to_bpd(self.elbo, self.dimensions)


def to_bpd(log_prob: np.ndarray, dimensions: int) -> np.ndarray:
    """Natural log-likelihood to bits per dimension."""
    return -log_prob / (dimensions * np.log(2))


class BoundEvaluator:
    """The bound, compiled once for one model and batch size.

    Args:
        model: From `nfcli.flows.build`.
        batch_size: Images at a time, at most.
        devices: How many devices of all processes share a batch, None for automatic.
        images: How many there will be at most, if known.
    """

    def __init__(
        self, model: FlowModel, batch_size: int, *, devices: int | None = None, images: int | None = None
    ) -> None:
        self.model = model
        self.mesh = data_mesh(batch_size, devices)
        self.batch_size = self._no_more_than_useful(batch_size, images)
        self._one_draw = jax.jit(
            self._log_weights,
            in_shardings=(replicated(self.mesh), *3 * (batched(self.mesh),), None, None),
            # Every process gets all of it, and sums it up in the same way.
            out_shardings=replicated(self.mesh),
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
        progress: Callable[[int, int], None] | None = None,
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
        indices = np.arange(len(images)) if indices is None else np.asarray(indices)
        parameters = replicate(self.mesh, parameters)
        parts: list[StreamingLogSumExp] = []
        done = 0
        for places, new in batches(len(images), self.batch_size):
            parts.append(self._batch(parameters, images, labels, indices, places, new, samples, seed))
            done += new
            if progress is not None:
                progress(done, len(images))
        return PerImageBound(
            index=indices,
            log_prob=np.concatenate([part.bound() for part in parts]),
            elbo=np.concatenate([part.elbo() for part in parts]),
            effective_sample_size=np.concatenate([part.effective_sample_size() for part in parts]),
            samples=samples,
            seed=seed,
            dimensions=self.model.dimensions,
        )

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

    def _batch(
        self,
        parameters: Parameters,
        images: AnyImages,
        labels: np.ndarray | None,
        indices: np.ndarray,
        places: np.ndarray,
        size: int,
        samples: int,
        seed: int,
    ) -> StreamingLogSumExp:
        x = shard(self.mesh, self.batch_size, lambda rows: images[places[rows]])
        known = None
        if labels is not None:
            known = shard(self.mesh, self.batch_size, lambda rows: labels[places[rows]].astype(np.int32))
        index = shard(self.mesh, self.batch_size, lambda rows: indices[places[rows]].astype(np.uint32))
        stream_key = stream(seed, Purpose.EVALUATION)
        weights = StreamingLogSumExp(size)
        pending = self._one_draw(parameters, x, known, index, stream_key, 0)
        for draw in range(1, samples + 1):
            # The next draw is under way while this one is added up.
            following = self._one_draw(parameters, x, known, index, stream_key, draw) if draw < samples else None
            weights.add(np.asarray(pending)[:size])
            pending = following
        return weights

    def _log_weights(
        self, parameters: Parameters, x: Array, labels: Array | None, index: Array, key: Array, draw: Array
    ) -> Array:
        with jax.default_matmul_precision(PRECISION):
            keys = indexed_keys(jax.random.fold_in(key, draw), index)
            return self.model.log_prob(parameters, x, keys, labels).astype(jnp.float32)
