"""What a set of per-image bounds says about a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from nfcli.evaluation.bound import PerImageBound


@dataclass(frozen=True)
class BoundSummary:
    """Mean over images, with its uncertainty.

    Attributes:
        bpd: Bits per dimension of the K-draw bound, an upper bound on the model's true value in expectation; None when
            some image has no finite bound.
        bpd_stderr: Standard error of that mean over images; None for a single image.
        elbo_bpd: As `bpd`, for K = 1.
        effective_sample_size: Mean over images, between 1 and K: near 1, more draws would still tighten the bound.
        images: How many.
    """

    bpd: float | None
    bpd_stderr: float | None
    elbo_bpd: float | None
    effective_sample_size: float | None
    images: int


def summarize(bound: PerImageBound) -> BoundSummary:
    """Means and standard error over images, in float64."""
    count = len(bound.bpd)
    with np.errstate(invalid="ignore"):
        spread = np.std(bound.bpd, ddof=1) / np.sqrt(count) if count > 1 else np.nan
    return BoundSummary(
        bpd=_finite(np.mean(bound.bpd)),
        bpd_stderr=_finite(spread),
        elbo_bpd=_finite(np.mean(bound.elbo_bpd)),
        effective_sample_size=_finite(np.mean(bound.effective_sample_size)),
        images=count,
    )


def _finite(value: float | np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
