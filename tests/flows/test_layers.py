"""Two properties of every layer: it can be undone, and it reports its log-determinant."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nfcli.flows.model  # noqa: F401
from nfcli.flows.base import Bijection
from nfcli.flows.flow import MultiscaleTransform
from nfcli.flows.reshaping import Squeeze, merge_channels, split_channels
from tests.flows.checks import check_inverse, check_log_det
from tests.flows.layers import LAYERS, Case, coupling

# Whole networks are tested against their formulas.
pytestmark = pytest.mark.usefixtures("shallow")

few = settings(deadline=None, max_examples=4, derandomize=True, database=None)
many = settings(few, max_examples=12)
sizes = st.integers(1, 4)


@pytest.mark.parametrize(("bits", "tolerance"), [(64, 1e-9), (32, 2e-5)])
@pytest.mark.parametrize("name", LAYERS)
def test_log_det_is_that_of_the_jacobian_and_inverse_undoes_forward(name, bits, tolerance):
    with jax.enable_x64(bits == 64):
        dtype = jnp.dtype(f"float{bits}")
        layer, inputs = LAYERS[name].make(dtype), LAYERS[name].inputs(dtype=dtype)
        z = check_log_det(layer.forward, *inputs, tolerance=tolerance)
        check_inverse(layer, *inputs, tolerance=tolerance, z=z)


def test_table_holds_every_layer():
    tested = {type(case.make()) for case in LAYERS.values()}
    assert {layer for layer in Bijection.__subclasses__() if layer.__module__.startswith("nfcli")} <= tested


@few
@given(st.tuples(sizes, sizes, sizes), st.sampled_from(["checkerboard", "channel"]), st.booleans(), st.integers(1, 3))
def test_couplings_of_any_shape(shape, mask, invert, batch):
    """Also where a half is empty, in float32, with a batch of one."""
    case = coupling(shape, mask, invert=invert, hidden=2)
    layer, (x,) = case.make(), case.inputs(batch)
    z = check_log_det(layer.forward, x, tolerance=5e-5)
    check_inverse(layer, x, tolerance=5e-5, z=z)


@many
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))
def test_squeeze_of_any_shape(batch, height, width, channels):
    x = np.arange(batch * height * width * channels * 4, dtype=np.float32).reshape(
        batch, 2 * height, 2 * width, channels
    )
    z, ldj = Squeeze().forward(x)
    assert z.shape == (batch, height, width, 4 * channels)
    assert not np.any(ldj)
    np.testing.assert_array_equal(Squeeze().inverse(z), x)


@many
@given(st.integers(1, 9), st.integers(1, 2))
def test_split_at_any_number_of_channels(channels, batch):
    x = np.arange(batch * 2 * channels).reshape(batch, 1, 2, channels)
    passing, finished = split_channels(x)
    np.testing.assert_array_equal(passing, x[..., : channels - channels // 2])
    assert finished.shape[-1] == channels // 2
    np.testing.assert_array_equal(merge_channels(passing, finished), x)


class Stretch(Bijection):
    """Times a number that depends on the place: a split that mixes up its halves cannot hide."""

    def forward(self, x, context=None):
        factors = 1 + np.arange(x[0].size, dtype=x.dtype).reshape(x.shape[1:])
        return x * factors[None], jnp.full(len(x), np.sum(np.log(factors)))

    def inverse(self, z, context=None):
        return z / (1 + np.arange(z[0].size, dtype=z.dtype).reshape(z.shape[1:]))[None]


@few
@given(st.integers(1, 3), st.integers(1, 7), st.lists(st.integers(0, 2), min_size=1, max_size=3))
def test_levels_with_splits_anywhere(batch, channels, counts):
    transform = MultiscaleTransform([[Stretch() for _ in range(count)] for count in counts])
    (x,) = Case(lambda weights: transform, (1, 2, channels)).inputs(batch)
    latents = check_log_det(transform.forward, x, tolerance=1e-5)
    assert len(latents) == len(counts)
    assert sum(latent[0].size for latent in latents) == x[0].size
    check_inverse(transform, x, tolerance=1e-5, z=latents)
