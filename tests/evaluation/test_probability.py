"""The bound is a probability: all images together have 1, and a uniform model has exactly log2(levels) bits."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from nfcli.evaluation.bound import to_bpd
from nfcli.flows import build
from nfcli.flows import model as model_module
from nfcli.presets import MaskedCouplings, Preset
from tests.evaluation.checks import all_images, check_total_probability
from tests.evaluation.models import SPACES, small

pytestmark = pytest.mark.usefixtures("shallow")


@pytest.mark.parametrize("name", SPACES)
def test_all_images_together_have_probability_one(name, optimized):
    check_total_probability(*small(name))


def test_all_images_are_all():
    images = all_images((1, 2, 1), 3)
    assert len({image.tobytes() for image in images}) == 9


def logistic_log_prob(z):
    """The density that the logit gives to what is uniform in (0, 1)."""
    return -jnp.sum(jax.nn.softplus(z) + jax.nn.softplus(-z), axis=(1, 2, 3))


@pytest.mark.parametrize("alpha", [1e-5, 1e-2])
@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("levels", [2, 8, 32, 256])
def test_uniform_model_has_log2_of_its_levels(levels, learned, alpha, monkeypatch):
    """A fresh flow is the identity; with the logistic prior its only cost beyond log2(levels) is the squash.

    Each logit stretches by 1 - alpha, so a bin has (1 - alpha) / levels; learned noise passes through a second one.
    """
    monkeypatch.setattr(model_module, "standard_normal_log_prob", logistic_log_prob)
    stack = MaskedCouplings(1, "checkerboard", 2)
    preset = Preset("fresh", "", (stack,), stack if learned else None, 0, 0, 0)
    model = build(preset, (2, 2, 1), levels=levels, alpha=alpha)
    parameters = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), model.parameter_shapes())
    images = np.random.default_rng(0).integers(0, levels, (32, 2, 2, 1), dtype=np.uint8)
    log_prob = model.log_prob(parameters, images, jax.random.split(jax.random.key(0), 32))
    want = np.log2(levels) - (2 if learned else 1) * np.log2(1 - alpha)
    np.testing.assert_allclose(to_bpd(np.asarray(log_prob), 4), want, atol=2e-6)
