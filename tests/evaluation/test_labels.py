"""Bayes' rule over labels, and how calibration is counted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from nfcli.evaluation.bound import PerImageBound
from nfcli.evaluation.labels import BINS, expected_calibration_error, given_label, posterior

LOG_PROB = np.random.default_rng(0).normal(-2000, 2, (6, 3))
SHARES = np.array([0.5, 0.5, 0.0])
LABELS = np.array([0, 1, 2, 0, 1, 0])


def bounds():
    """Of six images, given each of three labels."""
    return [
        PerImageBound(np.arange(6), column, column - 1, np.full(6, 1.0 + label), dimensions=4)
        for label, column in enumerate(LOG_PROB.T)
    ]


def test_bayes_rule():
    said = posterior(bounds(), SHARES, LABELS)
    want = special.logsumexp(LOG_PROB, axis=1, b=SHARES)
    np.testing.assert_allclose(said.log_prob, want, rtol=1e-12)
    probability = SHARES * np.exp(LOG_PROB - want[:, None])
    np.testing.assert_allclose(said.label_probability, probability[range(6), LABELS], rtol=1e-9)
    np.testing.assert_array_equal(said.predicted, probability.argmax(axis=1))
    np.testing.assert_allclose(said.confidence, probability.max(axis=1), rtol=1e-9)
    assert set(said.predicted) <= {0, 1}
    assert said.columns().keys() == {"marginal_bpd", "predicted", "confidence", "label_probability"}


def test_summary():
    known = np.minimum(LABELS, 1)
    said = posterior(bounds(), SHARES, known)
    summary = said.summary(known)
    bits = -said.log_prob / (4 * np.log(2))
    assert summary.bpd == pytest.approx(bits.mean())
    assert summary.bpd_stderr == pytest.approx(bits.std(ddof=1) / np.sqrt(6))
    assert summary.accuracy == np.mean(said.predicted == known)
    assert summary.label_bits == pytest.approx(-np.log2(said.label_probability).mean())
    assert summary.calibration_error == expected_calibration_error(said.confidence, said.predicted == known)
    # A label that no training image has is impossible, and costs infinitely many bits.
    assert posterior(bounds(), SHARES, LABELS).summary(LABELS).label_bits is None


def test_each_image_s_own_label():
    own = given_label(bounds(), LABELS)
    np.testing.assert_array_equal(own.log_prob, LOG_PROB[range(6), LABELS])
    np.testing.assert_array_equal(own.elbo, own.log_prob - 1)
    np.testing.assert_array_equal(own.effective_sample_size, 1 + LABELS)
    assert np.isnan(given_label(bounds(), None).log_prob).all()
    assert np.isnan(posterior(bounds(), SHARES, None).label_probability).all()


def test_calibration_is_counted_by_bins():
    """Ten answers of confidence 0.9, of which seven are right, and one that is sure and right."""
    confidence, correct = np.full(10, 0.9), (np.arange(10) < 7).astype(float)
    assert expected_calibration_error(confidence, correct) == pytest.approx(0.2)
    both = expected_calibration_error(np.append(confidence, 1.0), np.append(correct, 1.0))
    assert both == pytest.approx(0.2 * 10 / 11)
    # Errors of one bin cancel, those of two do not.
    assert expected_calibration_error(np.array([0.5, 0.5]), np.array([1.0, 0.0])) == pytest.approx(0)
    assert expected_calibration_error(np.array([0.5, 0.5 + 1 / BINS]), np.array([1.0, 0.0])) > 0.4
    assert np.isnan(expected_calibration_error(np.array([np.nan]), np.array([1.0])))


def test_a_label_that_is_less_likely_than_floats_can_say():
    far = [PerImageBound(np.arange(2), np.array(values), np.zeros(2), np.ones(2), 4) for values in ([0, -900], [0, 0])]
    summary = posterior(far, np.array([0.5, 0.5]), np.zeros(2, int)).summary(np.zeros(2, int))
    assert summary.label_bits == pytest.approx((1 + 900 / np.log(2)) / 2)
