"""The checks fail when what they guard is broken: each case breaks one term and expects an AssertionError."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.evaluation.bound import StreamingLogSumExp
from nfcli.flows import dequantization, flow, model
from nfcli.flows import prior as prior_module
from nfcli.flows.coupling import MaskedCoupling
from nfcli.flows.dequantization import UniformDequantization, VariationalDequantization
from nfcli.flows.flow import MultiscaleTransform
from nfcli.flows.reshaping import Squeeze
from tests.evaluation.checks import check_streaming, check_total_probability
from tests.evaluation.models import small
from tests.flows import checks
from tests.flows.checks import check_dequantized_log_det, check_inverse, check_log_det, check_one_pixel
from tests.flows.layers import LAYERS
from tests.flows.parameters import randomized

pytestmark = pytest.mark.usefixtures("shallow")


def log_det_of(name):
    with jax.enable_x64(True):
        check_log_det(LAYERS[name].make(jnp.float64).forward, *LAYERS[name].inputs(dtype=jnp.float64), tolerance=1e-9)


def inverse_of(name):
    check_inverse(LAYERS[name].make(), *LAYERS[name].inputs(), tolerance=2e-5)


def log_det_of_uniform_noise():
    _log_det_of_noise(UniformDequantization(levels=8))


def log_det_of_learned_noise():
    make = functools.partial(VariationalDequantization, (1, 2, 1), couplings=2, hidden=2, levels=8)
    with jax.enable_x64(True):
        layer = randomized(lambda weights: make(initializer=weights), dtype=jnp.float64)
    _log_det_of_noise(layer)


def _log_det_of_noise(layer):
    with jax.enable_x64(True):
        x, u = np.array([2, 7]).reshape(1, 1, 2, 1), jnp.asarray([0.3, 0.9]).reshape(1, 1, 2, 1)
        check_dequantized_log_det(layer, MultiscaleTransform([[]]), x, u, tolerance=1e-9)


def one_pixel():
    with jax.enable_x64(True):
        check_one_pixel(4, [(0.5, -0.3)], dtype=jnp.dtype("float64"), tolerance=1e-6)


def probability_of(name, samples=64):
    check_total_probability(*small(name), samples=samples, precision=np.inf)


def streaming():
    check_streaming(np.random.default_rng(0).normal(size=(5, 3)))


plain = "two pixels, uniform, 4 levels"
learned = "two pixels, learned noise, 4 levels"
CHECKS = {
    "log-det of coupling": lambda: log_det_of("checkerboard coupling"),
    "inverse of coupling": lambda: inverse_of("checkerboard coupling"),
    "log-det of squeeze": lambda: log_det_of("squeeze"),
    "inverse of squeeze": lambda: inverse_of("squeeze"),
    "log-det of levels": lambda: log_det_of("coupling, squeeze, splits"),
    "log-det of split": lambda: log_det_of("split"),
    "inverse of split": lambda: inverse_of("split"),
    "log-det of uniform noise": log_det_of_uniform_noise,
    "log-det of learned noise": log_det_of_learned_noise,
    "prior": checks.check_prior,
    "one pixel": one_pixel,
    "total, uniform noise": lambda: probability_of(plain, samples=16),
    "total, learned noise": lambda: probability_of(learned),
    "streaming": streaming,
}


def second(change):
    """Change the second of two results."""

    def mutate(original):
        def mutated(*arguments, **settings):
            first, ldj = original(*arguments, **settings)
            return first, change(ldj)

        return mutated

    return mutate


def result(change):
    """Change the only result."""
    return lambda original: lambda *arguments, **settings: change(original(*arguments, **settings))


flip, drop = second(lambda ldj: -ldj), second(lambda ldj: 0 * ldj)
swap = second(lambda finished: finished[..., ::-1])
forget_draws = result(lambda bound: bound + np.log(5))
normal = (model, "standard_normal_log_prob")
MUTATIONS = [
    ("log-det of coupling", MaskedCoupling, "forward", flip),
    ("log-det of coupling", MaskedCoupling, "forward", drop),
    ("inverse of coupling", MaskedCoupling, "inverse", result(lambda x: -x)),
    ("log-det of squeeze", Squeeze, "forward", second(lambda ldj: ldj + 1e-6)),
    ("inverse of squeeze", Squeeze, "inverse", result(lambda x: x[:, ::-1])),
    ("log-det of levels", MultiscaleTransform, "forward", flip),
    ("log-det of levels", MaskedCoupling, "forward", drop),
    ("log-det of split", flow, "split_channels", second(lambda finished: 2 * finished)),
    ("inverse of split", flow, "split_channels", swap),
    ("inverse of split", flow, "merge_channels", result(lambda x: x[..., ::-1])),
    ("log-det of uniform noise", dequantization, "squashed_logit", flip),
    ("log-det of uniform noise", dequantization, "squashed_logit", second(lambda ldj: ldj + 2e-5)),
    ("log-det of uniform noise", UniformDequantization, "place", second(lambda ldj: ldj + 2 * np.log(8))),
    ("log-det of learned noise", dequantization, "squashed_logit", flip),
    ("log-det of learned noise", dequantization, "sigmoid_with_ldj", flip),
    ("log-det of learned noise", dequantization, "sigmoid_with_ldj", drop),
    ("log-det of learned noise", VariationalDequantization, "noise", flip),
    ("log-det of learned noise", VariationalDequantization, "noise", drop),
    ("log-det of learned noise", dequantization, "keep_in_bin", result(jax.lax.stop_gradient)),
    ("prior", checks, "standard_normal_log_prob", result(lambda log_prob: -log_prob)),
    ("prior", checks, "standard_normal_log_prob", result(lambda log_prob: log_prob + np.log(2 * np.pi) / 2)),
    ("prior", prior_module, "sum_per_image", result(lambda total: total + 1e-3)),
    ("one pixel", *normal, result(lambda log_prob: log_prob + 1e-5)),
    ("one pixel", UniformDequantization, "place", flip),
    ("one pixel", MaskedCoupling, "forward", flip),
    ("total, uniform noise", StreamingLogSumExp, "bound", forget_draws),
    ("total, uniform noise", *normal, result(lambda log_prob: log_prob + 0.05)),
    ("total, uniform noise", MaskedCoupling, "forward", flip),
    ("total, learned noise", VariationalDequantization, "noise", flip),
    ("total, learned noise", dequantization, "sigmoid_with_ldj", drop),
    ("streaming", StreamingLogSumExp, "bound", forget_draws),
    ("streaming", StreamingLogSumExp, "elbo", result(lambda elbo: elbo * 2)),
    ("streaming", StreamingLogSumExp, "effective_sample_size", result(np.sqrt)),
]


@pytest.mark.parametrize("name", CHECKS)
def test_check_passes_on_what_is_right(name):
    CHECKS[name]()


@pytest.mark.parametrize(("check", "owner", "attribute", "mutate"), MUTATIONS)
def test_check_finds_what_is_wrong(check, owner, attribute, mutate, monkeypatch):
    monkeypatch.setattr(owner, attribute, mutate(getattr(owner, attribute)))
    with pytest.raises(AssertionError, match=r"Not equal to tolerance|all images sum to"):
        CHECKS[check]()
