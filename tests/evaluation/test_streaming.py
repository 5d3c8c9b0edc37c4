"""The running logsumexp against the one that sees all draws at once."""

from __future__ import annotations

import numpy as np
import pytest

from nfcli.evaluation.bound import StreamingLogSumExp, to_bpd
from tests.evaluation.checks import check_streaming


@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0, 1e4])
def test_against_scipy(spread):
    check_streaming(np.random.default_rng(0).normal(-3000, spread, (40, 6)))


@pytest.mark.parametrize(
    "weights",
    [
        [-1e5, 1e5, 0.0],
        [1e5, -1e5, 1e5],
        [-1e5, -1e5, -1e5],
        [-np.inf, -np.inf, -3.0],
        [-3.0, -np.inf, -3.0],
        [-np.inf, -np.inf, -np.inf],
        [-745.2, 709.9, -np.inf],
    ],
)
def test_extremes(weights):
    """Nothing overflows, nothing warns; all of an image's weights may be zero."""
    check_streaming(np.array(weights)[:, None])
    check_streaming(np.array(weights, np.float32)[:, None])


def test_images_do_not_mix():
    check_streaming(np.array([[-1e5, -np.inf, 3.0], [1e5, -np.inf, 3.0], [-2.0, 0.0, 3.0]]))


def test_not_a_number_is_not_hidden():
    streaming = StreamingLogSumExp(2)
    for weights in ([0.0, np.nan], [1.0, 1.0]):
        streaming.add(np.array(weights))
    for values in (streaming.bound(), streaming.elbo(), streaming.effective_sample_size()):
        assert np.isfinite(values[0])
    assert np.isnan(streaming.bound()[1])
    assert np.isnan(streaming.elbo()[1])


def test_infinite_weight_is_not_hidden():
    """A density that overflowed gives no finite bound, and no warning out of numpy."""
    streaming = StreamingLogSumExp(1)
    for weight in (0.0, np.inf, 0.0):
        streaming.add(np.array([weight]))
    assert not np.isfinite(streaming.bound()[0])


def test_bits_per_dimension():
    assert to_bpd(np.array([-784 * np.log(256)]), 784)[0] == pytest.approx(8)
