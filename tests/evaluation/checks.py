"""What must hold of a bound on log p(x), as functions that raise AssertionError."""

from __future__ import annotations

import itertools

import numpy as np
from scipy import special

from nfcli.evaluation.bound import BoundEvaluator, StreamingLogSumExp


def all_images(shape, levels):
    """Every image of `shape`: (levels^D, H, W, C)."""
    pixels = itertools.product(range(levels), repeat=int(np.prod(shape)))
    return np.array(list(pixels), np.uint8).reshape(-1, *shape)


def check_total_probability(model, parameters, *, samples=64, precision=0.01, labels=(None,)):
    """The probabilities of all images that there are sum to 1, within Monte Carlo error, and not above it.

    Args:
        model, parameters: Of a space so small that all of its images fit into a batch many times, with other noise.
        samples: Draws of each evaluation.
        labels: Each of all images in turn, for a class-conditional model.
        precision: The standard error must be below this, or the test would say nothing.
    """
    images = all_images(model.shape, model.levels)
    copies = 4096 // len(images)
    images = np.tile(images, (copies, 1, 1, 1))
    evaluator = BoundEvaluator(model, len(images))
    for label in labels:
        given = None if label is None else np.full(len(images), label)
        bound = evaluator(parameters, images, samples=samples, seed=0, labels=given)
        probability = np.exp(bound.log_prob) / copies
        # The relative variance of one image's K weights follows from their effective sample size.
        relative_variance = (samples / bound.effective_sample_size - 1) / max(samples - 1, 1)
        error = np.sqrt(np.sum(probability**2 * relative_variance))
        assert error < precision
        total = np.sum(probability)
        assert abs(total - 1) < 4 * error + 1e-4, f"the probabilities of all images sum to {total}"


def check_streaming(log_weights):
    """(K, B) log-weights one draw at a time, against all at once; after each draw."""
    streaming = StreamingLogSumExp(log_weights.shape[1])
    for draws in range(1, len(log_weights) + 1):
        streaming.add(log_weights[draws - 1])
        seen = np.asarray(log_weights[:draws], np.float64)
        total = special.logsumexp(seen, axis=0)
        np.testing.assert_allclose(streaming.bound(), total - np.log(draws), rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(streaming.elbo(), seen.mean(axis=0), rtol=1e-12, atol=1e-9)
        finite = np.isfinite(total)
        share = np.exp(seen[:, finite] - total[finite])
        size = streaming.effective_sample_size()
        np.testing.assert_allclose(size[finite], 1 / np.sum(share**2, axis=0), rtol=1e-9)
        assert np.all((size >= 1 - 1e-12) & (size <= draws + 1e-9))
