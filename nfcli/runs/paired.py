"""`compare_paired(a, b)`: do the measured images decide between two runs? Needs numpy alone."""

from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import numpy as np

from nfcli.errors import RunError, UsageError
from nfcli.runs import RunDir, find_run
from nfcli.runs.per_image import load_per_image
from nfcli.runs.results import Evaluation, best_first, load_results

RESAMPLES = 10_000
CONFIDENCE = 0.95
CHUNK = 100


@dataclass(frozen=True, kw_only=True)
class PairedComparison:
    """What `nf compare --paired --json` prints.

    Attributes:
        first, second: Names of the runs.
        images: Test images that both were measured on: the first so many of the split.
        first_images, second_images: How many each was measured on.
        importance_samples: K of both.
        summed_over_labels: Which run knows labels where the other knows none: its p(x) of an image alone is compared.
        difference_bpd: Mean over images of the first's bits per dimension minus the second's.
        difference_stderr: Standard error of that mean.
        interval_low, interval_high: Bootstrap confidence interval of it, by percentiles.
        confidence: Of the interval.
        resamples: Of the bootstrap.
        better_images: Share of images that the first gives fewer bits.
        decided: Whether the interval leaves 0 out.
        sentence: The same in words.
    """

    first: str
    second: str
    images: int
    first_images: int
    second_images: int
    importance_samples: int
    summed_over_labels: str | None
    difference_bpd: float
    difference_stderr: float
    interval_low: float
    interval_high: float
    confidence: float = CONFIDENCE
    resamples: int = RESAMPLES
    better_images: float
    decided: bool
    sentence: str


def compare_paired(
    first: str, second: str, runs_dir: Path, *, importance_samples: int | None = None, seed: int = 0
) -> PairedComparison:
    """Compare two runs image by image (Efron, Tibshirani 1993: the bootstrap over images).

    A measurement is of the first images of its split, so that of two, those of the smaller one are in both. Where one
    run alone knows labels, its p(x) summed over labels stands against the other's, as --classify measured it.

    Args:
        first, second: Names of runs whose test images were measured.
        runs_dir: Where runs live.
        importance_samples: Use measurements with this K; None for any, those of most images first.
        seed: Of the resampling.

    Raises:
        RunError: A run, its measurement or its per-image numbers are missing or damaged.
        UsageError: The two were measured on different images or with different K.
    """
    runs = [find_run(name, runs_dir) for name in (first, second)]
    if runs[0].path == runs[1].path:
        raise UsageError(f"'{runs[0].name}' differs from itself in nothing", hint="name two runs")
    told = [bool(run.config()["model"]["classes"]) for run in runs]
    summed = [knows and not all(told) for knows in told]
    tests = _matching(*(_tests_of(run, importance_samples, each) for run, each in zip(runs, summed, strict=True)))
    _check_comparable(runs, tests)
    bpds = [_bpd(*of_run) for of_run in zip(runs, tests, summed, strict=True)]
    common = min(map(len, bpds))
    difference = bpds[0][:common] - bpds[1][:common]
    low, high = bootstrap_interval(difference, seed=seed)
    mean = float(difference.mean())
    return PairedComparison(
        first=runs[0].name,
        second=runs[1].name,
        images=common,
        first_images=tests[0].images,
        second_images=tests[1].images,
        importance_samples=tests[0].importance_samples,
        summed_over_labels=next((run.name for run, each in zip(runs, summed, strict=True) if each), None),
        difference_bpd=mean,
        difference_stderr=float(difference.std(ddof=1) / np.sqrt(common)),
        interval_low=low,
        interval_high=high,
        better_images=float(np.mean(difference < 0)),
        decided=not low <= 0 <= high,
        sentence=_sentence(runs[0].name, runs[1].name, mean, low, high, _images_in_words(tests)),
    )


def bootstrap_interval(values: np.ndarray, *, seed: int) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of (N,) values."""
    generator, size = np.random.default_rng(seed), (CHUNK, len(values))
    draws = (generator.integers(0, len(values), size, dtype=np.int32) for _ in range(RESAMPLES // CHUNK))
    means = np.concatenate([values[rows].mean(axis=1) for rows in draws])
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def _matching(first: list[Evaluation], second: list[Evaluation]) -> list[Evaluation]:
    """The measurements of the same split and K that have most images in common, or else the best ones."""

    def in_common(pair: list[Evaluation]) -> tuple[int, int]:
        few, many = sorted(entry.images for entry in pair)
        return few, -many

    question = attrgetter("split_fingerprint", "importance_samples")
    pairs = [[mine, theirs] for mine in first for theirs in second if question(mine) == question(theirs)]
    return max(pairs, key=in_common, default=[first[0], second[0]])


def _bpd(run: RunDir, test: Evaluation, summed: bool) -> np.ndarray:
    table = load_per_image(run, test)
    if summed and "marginal_bpd" not in table:  # measured anew since, without --classify
        raise _not_summed(run, test.importance_samples)
    return table["marginal_bpd" if summed else "bpd"]


def _not_summed(run: RunDir, importance_samples: int) -> UsageError:
    options = f"--split test --classify -k {importance_samples}"
    how = "measure a run of your own so" if run.pretrained else f"nf eval {run.name} {options}"
    what = f"'{run.name}' was measured given labels, which the other run does not know"
    return UsageError(what, hint=f"bits of an image alone are to be compared: {how}")


def _tests_of(run: RunDir, importance_samples: int | None, summed: bool) -> list[Evaluation]:
    known = best_first(load_results(run).evaluations, "test", importance_samples)
    tests = [entry for entry in known if entry.classification or not summed]
    if known and not tests:
        raise _not_summed(run, known[0].importance_samples)
    if not tests:
        k = importance_samples
        wanted, option = ("", "") if k is None else (f" with K = {k}", f" -k {k}")
        hint = "leave -k out" if run.pretrained else f"nf eval {run.name}{option}"
        raise RunError(f"run '{run.name}' has no measurement of its test images{wanted}", hint=hint)
    return tests


def _check_comparable(runs: list[RunDir], tests: list[Evaluation]) -> None:
    same_data = "only runs that were trained and measured on the same data can be compared so"
    for what, (mine, theirs), hint in (
        ("other test images", [test.split_fingerprint[:8] for test in tests], same_data),
        ("another K", [test.importance_samples for test in tests], _how_to_match(runs, tests)),
    ):
        if mine != theirs:
            raise UsageError(
                f"'{runs[0].name}' and '{runs[1].name}' were measured on {what}: {mine} and {theirs}", hint=hint
            )
    if min(test.images for test in tests) < 2:
        raise UsageError("a single image tells nothing of the spread", hint="measure more of them with nf eval")


def _how_to_match(runs: list[RunDir], tests: list[Evaluation]) -> str:
    for (pretrained, mine), test in zip((runs, runs[::-1]), tests, strict=True):
        if pretrained.pretrained and not mine.pretrained:
            return f"as {pretrained.name} was measured: nf eval {mine.name} --split test -k {test.importance_samples}"
    return "measure both with the same nf eval options"


def _images_in_words(tests: list[Evaluation]) -> str:
    few, many = sorted(test.images for test in tests)
    said = "test images" if few == many else f"test images in common (of {many:,} of one run)"
    return f"{few:,} {said} with K = {tests[0].importance_samples}"


def _sentence(first: str, second: str, mean: float, low: float, high: float, images: str) -> str:
    if not low <= 0 <= high:
        better, worse = (first, second) if mean < 0 else (second, first)
        small, large = sorted((abs(low), abs(high)))
        return (
            f"The {images} decide for {better}: it needs {abs(mean):.4f} bits per dimension less than "
            f"{worse} (95 % interval {small:.4f} to {large:.4f})."
        )
    return (
        f"The {images} do not decide between {first} and {second}: the difference of {mean:+.4f} bits "
        f"per dimension has a 95 % interval of {low:+.4f} to {high:+.4f}, which contains 0."
    )
