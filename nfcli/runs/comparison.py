"""`compare(runs)`: measured runs side by side, ranked only where they answer the same question. No jax here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.errors import NFError, RunError
from nfcli.presets import PRESETS, Preset
from nfcli.runs.directory import RunDir
from nfcli.runs.lookup import find_run, list_runs, natural, no_run
from nfcli.runs.pretrained import list_pretrained
from nfcli.runs.results import Evaluation, best_first, load_evaluations, load_timing


@dataclass(frozen=True)
class Row:
    """One run in the table.

    Attributes:
        name: Of the run.
        preset: Of the model.
        parameters: Scalars learned.
        dataset: Short name of the images.
        conditional: Whether labels were given.
        val_bpd, val_bpd_stderr: With the same K and weights as `test_bpd`; None when not measured.
        test_bpd, test_bpd_stderr: Measurement of the latest weights on most images, and its standard error over
            images; None before the first.
        test_elbo_bpd, effective_sample_size: Of the same measurement: the bound for K = 1, and how many of the K draws
            count.
        checkpoint_step: Which weights.
        importance_samples: Noise draws an image, K.
        images: Test images measured.
        test_fingerprint: sha256 of all test images; None before the first measurement.
        inference_ms, sampling_ms: For a batch of 64.
        group: Rows of one number answer the same question; None before the first measurement.
        pretrained: Whether the run came with the package.
        published_val_bpd, published_test_bpd: Of the same preset, in print, after the full recipe elsewhere; None
            unless the run ships and was trained on the same images.
    """

    name: str
    preset: str
    parameters: int
    dataset: str
    conditional: bool
    val_bpd: float | None
    val_bpd_stderr: float | None
    test_bpd: float | None
    test_bpd_stderr: float | None
    test_elbo_bpd: float | None
    effective_sample_size: float | None
    checkpoint_step: int | None
    importance_samples: int | None
    images: int | None
    test_fingerprint: str | None
    inference_ms: float | None
    sampling_ms: float | None
    group: int | None
    pretrained: bool
    published_val_bpd: float | None
    published_test_bpd: float | None


@dataclass(frozen=True)
class Comparison:
    """The rows, best first within each group; `questions[i]` says in words what group i was asked.

    `notes` are sentences on measurements that are newer than the one shown, and of fewer images.
    """

    rows: tuple[Row, ...]
    questions: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def rankable(self) -> bool:
        """Whether all measured rows answer the same question."""
        return len(self.questions) <= 1

    @property
    def pretrained(self) -> bool:
        """Whether all rows are of runs that ship with the package."""
        return all(row.pretrained for row in self.rows)

    @property
    def has_published(self) -> bool:
        """Whether something in print stands beside a row."""
        return any(row.published_test_bpd is not None for row in self.rows)


def compare(
    names: list[str],
    runs_dir: Path,
    *,
    importance_samples: int | None = None,
    warn: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Read results.json of runs.

    Args:
        names: Of the runs; none for all of the user's, or for those that ship if the user has none.
        runs_dir: Where runs live.
        importance_samples: Only measurements with this K; None for each run's best one, as `best_first` has it.
        warn: Called with a sentence for each run that cannot be shown, when all are.

    Raises:
        RunError: There is no run at all, or a named one is missing or damaged.
    """
    if names:
        runs = {run.path: run for run in (find_run(name, runs_dir) for name in names)}
        entries = [_entry(run, importance_samples) for run in runs.values()]
    else:
        entries = []
        found = _runs_to_show(runs_dir)
        for run in found:
            try:
                entries.append(_entry(run, importance_samples))
            except NFError as error:
                warn(f"leaving out run '{run.name}': {error.message}")
        if not entries:
            raise RunError(f"every run in {found[0].path.parent} is damaged")
    questions = list(dict.fromkeys(entry.question for entry in entries if entry.question is not None))
    rows = [entry.row(questions) for entry in entries]
    rows.sort(key=lambda row: natural(row.name))
    rows.sort(key=lambda row: (row.group is None, row.group or 0, row.test_bpd is None, row.test_bpd or 0))
    notes = tuple(entry.note for entry in entries if entry.note is not None)
    return Comparison(tuple(rows), tuple(_in_words(question) for question in questions), notes)


def _runs_to_show(runs_dir: Path) -> Sequence[RunDir]:
    runs = list_runs(runs_dir)
    if runs:
        return runs
    # A file in the place of the runs is a mistake, and not a beginning.
    pretrained = [] if runs_dir.exists() and not runs_dir.is_dir() else list_pretrained(runs_dir)
    if not pretrained:
        raise no_run(runs_dir)
    return pretrained


Question = tuple[str, str, int, int, bool]
"""Data set, sha256 of the test images, how many of them, K, whether labels were given."""


@dataclass(frozen=True)
class _Entry:
    run: RunDir
    config: dict[str, Any]
    timing: dict[str, Any]
    test: Evaluation | None
    val: Evaluation | None
    newest: Evaluation | None

    @property
    def question(self) -> Question | None:
        if self.test is None:
            return None
        test = self.test
        return self.dataset, test.split_fingerprint, test.images, test.importance_samples, self.conditional

    @property
    def dataset(self) -> str:
        return str(self.config["data"]["name"])

    @property
    def conditional(self) -> bool:
        return bool(self.config["model"].get("classes", 0))

    @property
    def note(self) -> str | None:
        """What there is to say of a newer measurement than the one shown."""
        test, newest = self.test, self.newest
        if test is None or newest is None or newest is test:
            return None
        k, other = test.importance_samples, newest.importance_samples
        shown = f"'{self.run.name}' is shown as measured on {test.images:,} test images with K = {k}"
        left_out = f"a later measurement on {newest.images:,} with K = {other} is left out"
        return f"{shown}; {left_out}" + (f" (-k {other} shows it)" if other != k else "")

    def row(self, questions: list[Question]) -> Row:
        test, published = self.test, self._published()
        return Row(
            name=self.run.name,
            preset=self.config["model"]["preset"],
            parameters=self.config["model"]["parameters"],
            dataset=self.dataset,
            conditional=self.conditional,
            val_bpd=self.val.bpd if self.val else None,
            val_bpd_stderr=self.val.bpd_stderr if self.val else None,
            test_bpd=test.bpd if test else None,
            test_bpd_stderr=test.bpd_stderr if test else None,
            test_elbo_bpd=test.elbo_bpd if test else None,
            effective_sample_size=test.effective_sample_size if test else None,
            checkpoint_step=test.checkpoint_step if test else None,
            importance_samples=test.importance_samples if test else None,
            images=test.images if test else None,
            test_fingerprint=test.split_fingerprint if test else None,
            inference_ms=self.timing.get("inference_ms"),
            sampling_ms=self.timing.get("sampling_ms"),
            group=questions.index(self.question) if self.question is not None else None,
            pretrained=self.run.pretrained,
            published_val_bpd=published.reference_val_bpd if published else None,
            published_test_bpd=published.reference_test_bpd if published else None,
        )

    def _published(self) -> Preset | None:
        """The preset, if what is in print about it may stand beside this run."""
        model, data = self.config["model"], self.config["data"]
        kind = (data["name"], model["levels"], model["shape"], model["smoke"], model.get("classes", 0))
        same = kind == ("mnist", 256, [28, 28, 1], False, 0)
        return PRESETS.get(model["preset"]) if self.run.pretrained and same else None


def _entry(run: RunDir, importance_samples: int | None) -> _Entry:
    config = run.config()
    evaluations = [
        evaluation
        for evaluation in load_evaluations(run)
        if importance_samples in (None, evaluation.importance_samples)
    ]
    tests = [entry for entry in evaluations if entry.split == "test"]
    test = next(iter(best_first(tests)), None)
    val = None
    if test is not None:
        same = (test.importance_samples, test.checkpoint_step, test.seed)
        vals = [
            entry
            for entry in evaluations
            if entry.split == "val" and (entry.importance_samples, entry.checkpoint_step, entry.seed) == same
        ]
        val = next(iter(best_first(vals)), None)
    return _Entry(run, config, load_timing(run), test, val, tests[-1] if tests else None)


def _in_words(question: Question) -> str:
    dataset, fingerprint, images, samples, given_labels = question
    given = "given its label, " if given_labels else ""
    return f"{dataset} (test images {fingerprint[:8]}), first {images:,} of them, {given}K = {samples}"
