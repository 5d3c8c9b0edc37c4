"""The bound of an image is its own: neither its batch, nor its place there, nor the machine has a say."""

from __future__ import annotations

import itertools
import re

import jax
import numpy as np
import pytest

from nfcli.backend.programs import without_cache
from nfcli.errors import UsageError
from nfcli.evaluation import bound as bound_module
from nfcli.evaluation.bound import BoundEvaluator, StreamingLogSumExp
from nfcli.flows.cpu import onednn
from nfcli.flows.randomness import Purpose, indexed_keys, stream
from tests.conftest import skip_without_onednn
from tests.evaluation.models import small

COUNT = 11
IMAGES = np.random.default_rng(0).integers(0, 256, (COUNT, 4, 4, 1), dtype=np.uint8)


@pytest.fixture(scope="module")
def model_and_parameters(shallow_module):
    return small("two pixels, one coupling each, 8 levels", shape=(4, 4, 1), levels=256)


@pytest.fixture(scope="module")
def evaluate(model_and_parameters):
    """Bounds of images with K = 3 and any batch size, devices and indices; programs are compiled once."""
    model, parameters = model_and_parameters
    evaluators = {}

    def run(images=IMAGES, batch_size=4, devices=1, samples=3, seed=7, **settings):
        if (batch_size, devices) not in evaluators:
            evaluators[batch_size, devices] = BoundEvaluator(model, batch_size, devices=devices)
        return evaluators[batch_size, devices](parameters, images, samples=samples, seed=seed, **settings)

    return run


def check_same(got, want):
    for name in ("log_prob", "elbo", "effective_sample_size"):
        np.testing.assert_allclose(getattr(got, name), getattr(want, name), rtol=1e-5)
    assert np.mean(got.bpd) == pytest.approx(np.mean(want.bpd), rel=1e-6)


@pytest.mark.parametrize("batch_size", [1, 3, 16])
def test_batch_size_does_not_matter(evaluate, batch_size):
    """Batches of one, ragged last batches, and a batch larger than the set."""
    got = evaluate(batch_size=batch_size)
    assert got.log_prob.shape == (COUNT,)
    check_same(got, evaluate())


@pytest.mark.parametrize("devices", [2, 4])
def test_number_of_devices_does_not_matter(evaluate, devices):
    assert len(jax.local_devices()) >= 4
    check_same(evaluate(devices=devices), evaluate())


def test_order_does_not_matter(evaluate):
    order = np.random.default_rng(1).permutation(COUNT)
    whole, permuted = evaluate(), evaluate(IMAGES[order], indices=order)
    assert permuted.index.tolist() == order.tolist()
    np.testing.assert_allclose(permuted.log_prob, whole.log_prob[order], rtol=1e-5)


def test_subset_does_not_matter(evaluate):
    np.testing.assert_allclose(evaluate(IMAGES[:5]).log_prob, evaluate().log_prob[:5], rtol=1e-5)
    some = np.array([8, 2])
    np.testing.assert_allclose(evaluate(IMAGES[some], indices=some).log_prob, evaluate().log_prob[some], rtol=1e-5)


def test_same_image_elsewhere_has_other_noise(evaluate):
    twice = evaluate(np.repeat(IMAGES[:1], 4, axis=0))
    assert len(np.unique(twice.log_prob)) == 4
    assert not np.any(evaluate(seed=8).log_prob == evaluate().log_prob)


def recorded(monkeypatch, evaluate, samples):
    """The log-weights that an evaluation adds up, (K, N), and its result."""
    draws = []

    class Recorder(StreamingLogSumExp):
        def add(self, log_weights):
            draws.append(log_weights.copy())
            super().add(log_weights)

    with monkeypatch.context() as patched:
        patched.setattr(bound_module, "StreamingLogSumExp", Recorder)
        bound = evaluate(IMAGES[:4], samples=samples)
    return np.array(draws), bound


def test_eight_draws_are_the_first_of_sixty_four(evaluate, monkeypatch):
    few, _ = recorded(monkeypatch, evaluate, 8)
    many, _ = recorded(monkeypatch, evaluate, 64)
    assert (few.shape, many.shape) == ((8, 4), (64, 4))
    np.testing.assert_array_equal(few, many[:8])
    assert len(np.unique(many)) == many.size


def test_results_with_one_to_eight_draws_give_the_same_weights(evaluate, monkeypatch):
    """What is published of K and K - 1 draws determines the K-th weight, in two ways."""
    draws, _ = recorded(monkeypatch, evaluate, 8)
    before, sums = 0.0, np.full(4, -np.inf)
    for count in range(1, 9):
        bound = evaluate(IMAGES[:4], samples=count)
        np.testing.assert_allclose(bound.elbo * count - before, draws[count - 1], rtol=1e-9)
        before, sums = bound.elbo * count, np.logaddexp(sums, draws[count - 1].astype(float))
        np.testing.assert_allclose(bound.log_prob, sums - np.log(count), rtol=1e-12)


def test_weights_are_the_models(model_and_parameters, evaluate, monkeypatch):
    """With the keys that follow from seed, purpose, draw and index; compiled, eager and in float64."""
    (model, parameters), (draws, _) = model_and_parameters, recorded(monkeypatch, evaluate, 2)
    for draw in range(2):
        keys = indexed_keys(jax.random.fold_in(stream(7, Purpose.EVALUATION), draw), np.arange(4, dtype=np.uint32))
        np.testing.assert_allclose(model.log_prob(parameters, IMAGES[:4], keys), draws[draw], rtol=1e-5)
        with jax.enable_x64(True):
            double = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), parameters)
            want = jax.jit(model.log_prob)(double, IMAGES[:4], keys)
        np.testing.assert_allclose(draws[draw], want, rtol=1e-5)


def test_one_draw_is_the_elbo(evaluate):
    bound = evaluate(samples=1)
    np.testing.assert_array_equal(bound.log_prob, bound.elbo)
    np.testing.assert_array_equal(bound.effective_sample_size, 1)


def test_more_draws_tighten_the_bound(evaluate):
    """In expectation: the means over draws of the same noise rise, within four standard errors."""
    images = np.tile(IMAGES, (12, 1, 1, 1))
    bounds = [evaluate(images, batch_size=132, samples=samples) for samples in (1, 2, 4, 8, 16)]
    for fewer, more in itertools.pairwise(bounds):
        gain = more.log_prob - fewer.log_prob
        assert gain.mean() > -4 * gain.std() / np.sqrt(len(gain))
    gain = bounds[-1].log_prob - bounds[0].log_prob
    assert gain.mean() > 2 * gain.std() / np.sqrt(len(gain))
    for samples, bound in zip((1, 2, 4, 8, 16), bounds, strict=True):
        assert np.all(bound.log_prob >= bound.elbo - 1e-9)
        assert np.all((bound.effective_sample_size >= 1) & (bound.effective_sample_size <= samples))


def test_memory_does_not_grow_with_the_draws(model_and_parameters):
    """One program for any K, and as many arrays on the devices at the 40th draw as at the fourth."""
    model, parameters = model_and_parameters
    evaluator = BoundEvaluator(model, 4, devices=1)
    compiled, live = evaluator._one_draw, []

    def watched(*arguments):
        live.append(sum(array.nbytes for array in jax.live_arrays()))
        return compiled(*arguments)

    evaluator._one_draw = watched
    evaluator(parameters, IMAGES[:4], samples=40, seed=0)
    assert len(live) == 40
    assert max(live[4:]) <= max(live[:4])
    assert compiled._cache_size() == 1


@pytest.mark.parametrize(("images", "batch_size"), [(1, 2), (5, 8), (8, 8), (9, 16), (17, 32), (40, 32), (None, 32)])
def test_few_images_are_not_padded_to_a_whole_batch(model_and_parameters, images, batch_size):
    """Half a batch is compiled while it holds all images and divides over the devices."""
    evaluator = BoundEvaluator(model_and_parameters[0], 32, devices=2, images=images)
    assert evaluator.batch_size == batch_size
    assert evaluator.mesh.size == 2


@pytest.mark.parametrize("batch_size", [2001, 999_999_999, 10**30])
def test_a_batch_that_cannot_be_halved_is_no_larger_either(model_and_parameters, batch_size):
    evaluator = BoundEvaluator(model_and_parameters[0], batch_size, images=8)
    assert evaluator.batch_size in range(8, 16)
    assert evaluator.batch_size % evaluator.mesh.size == 0


def test_a_batch_on_cpu_is_no_larger_than_pays(model_and_parameters):
    """16 pixels an image, and many images, or nobody knows how many."""
    for images in (10**9, None):
        assert BoundEvaluator(model_and_parameters[0], 10**9 + 2, devices=2, images=images).batch_size < 2**16


def test_few_images_give_the_same_numbers(model_and_parameters, evaluate):
    model, parameters = model_and_parameters
    evaluator = BoundEvaluator(model, 32, devices=2, images=3)
    assert evaluator.batch_size == 4
    check_same(evaluator(parameters, IMAGES[:3], samples=3, seed=7), evaluate(IMAGES[:3]))


def test_onednn_gives_the_same_numbers(model_and_parameters, evaluate):
    """And is compiled once, past the cache, which cannot hold it; each device computes its part of a batch."""
    skip_without_onednn("float32")
    model, parameters = model_and_parameters
    evaluator = BoundEvaluator(model, 4, devices=2, onednn=True)
    got = evaluator(parameters, IMAGES, samples=3, seed=7)
    assert evaluator.model.policy.operations is onednn
    arguments = IMAGES[:4], None, np.arange(4, dtype=np.uint32), stream(7, Purpose.EVALUATION), 0
    with without_cache():
        text = evaluator._one_draw.lower(parameters, *arguments).compile().as_text()
    assert "__onednn$convolution" in text
    batches = {int(size) for size in re.findall(r"= f32\[(\d+),[\d,]*\]\S* custom-call\(.*__onednn\$convolution", text)}
    assert batches == {2}
    assert evaluator._one_draw._cache_size() == 1
    check_same(got, evaluate(devices=2))


def test_progress_counts_images(evaluate):
    seen = []
    evaluate(progress=lambda done, total: seen.append((done, total)))
    assert seen == [(4, 11), (8, 11), (11, 11)]


def test_largest_seed_and_index(evaluate):
    bound = evaluate(IMAGES[:1], seed=2**32 - 1, indices=np.array([2**32 - 1]))
    assert np.isfinite(bound.log_prob[0])


def test_batch_must_be_divisible_over_devices(model_and_parameters):
    with pytest.raises(UsageError, match="a batch of 3 cannot be divided over 2 devices"):
        BoundEvaluator(model_and_parameters[0], 3, devices=2)
