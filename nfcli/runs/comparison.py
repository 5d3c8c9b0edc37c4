"""`compare(runs)`: measured runs side by side, ranked only where they answer the same question. No jax here."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nfcli.errors import NFError, RunError, Say
from nfcli.presets import PRESETS
from nfcli.runs.directory import RunDir
from nfcli.runs.lookup import find_run, list_runs, natural, no_run
from nfcli.runs.pretrained import list_pretrained
from nfcli.runs.results import Evaluation, best_first, load_results


@dataclass(frozen=True)
class Row:
    """One run in the table.

    Attributes:
        run: Its name.
        preset: Of the model.
        parameters: Scalars learned.
        dataset: Short name of the images.
        conditional: Whether labels were given.
        val_bpd, val_bpd_stderr, val_images: With the same K and weights as `test_bpd`; None when not measured.
        test_bpd, test_bpd_stderr: Measurement of the latest weights on most images, and its standard error over
            images; None before the first.
        test_elbo_bpd, effective_sample_size: Of the same measurement: the bound for K = 1, and how many of the K draws
            count.
        checkpoint_step: Which weights.
        importance_samples: Noise draws an image, K.
        images: Test images measured.
        test_images: How many there are.
        test_fingerprint: sha256 of all test images; None before the first measurement.
        inference_ms, sampling_ms, timed_on: Milliseconds for a batch of 64, and the device.
        marginal_bpd, marginal_bpd_stderr, accuracy, label_bits, calibration_error: Of the same measurement where labels
            were asked for, see `nfcli.runs.results.Classification`; `marginal_bpd` is its bpd of p(x).
        group: Rows of one number answer the same question; None before the first measurement.
        shipped: Whether the run came with the package.
        published_val_bpd, published_test_bpd: Of the same preset, in print, after the full recipe elsewhere; None
            unless the run ships and was trained on the same images.
    """

    run: str
    preset: str
    parameters: int
    dataset: str
    conditional: bool
    val_bpd: float | None = None
    val_bpd_stderr: float | None = None
    val_images: int | None = None
    test_bpd: float | None = None
    test_bpd_stderr: float | None = None
    test_elbo_bpd: float | None = None
    effective_sample_size: float | None = None
    checkpoint_step: int | None = None
    importance_samples: int | None = None
    images: int | None = None
    test_images: int | None = None
    test_fingerprint: str | None = None
    inference_ms: float | None = None
    sampling_ms: float | None = None
    timed_on: str | None = None
    marginal_bpd: float | None = None
    marginal_bpd_stderr: float | None = None
    accuracy: float | None = None
    label_bits: float | None = None
    calibration_error: float | None = None
    group: int | None = None
    shipped: bool = False
    published_val_bpd: float | None = None
    published_test_bpd: float | None = None

    @property
    def question(self) -> tuple[str, int | None, int | None, bool] | None:
        """Test images, how many, K, whether labels were given; None before the first measurement."""
        if self.test_fingerprint is None:
            return None
        return self.test_fingerprint, self.images, self.importance_samples, self.conditional

    @property
    def rank(self) -> tuple[bool, float, bool, float]:
        """What to sort rows by: group after group, the best first."""
        return self.group is None, self.group or 0, self.test_bpd is None, self.test_bpd or 0


@dataclass(frozen=True)
class Comparison:
    """The rows, best first within each group; `questions[i]` says in words what group i was asked.

    `notes` are sentences on what the rows leave out, or do not have in common; `unmeasured` says what rows of no group
    lack.
    """

    rows: tuple[Row, ...]
    questions: tuple[str, ...]
    notes: tuple[str, ...]
    unmeasured: str = "not measured yet"

    @property
    def has_published(self) -> bool:
        """Whether something in print stands beside a row."""
        return any(row.published_test_bpd is not None for row in self.rows)


def compare(
    names: list[str], runs_dir: Path, *, importance_samples: int | None = None, warn: Say = lambda _: None
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
    runs: Sequence[RunDir] = [find_run(name, runs_dir) for name in names] or _runs_to_show(runs_dir)
    found: list[tuple[Row, str | None]] = []
    for run in {run.path: run for run in runs}.values():
        try:
            found.append(_row(run, importance_samples))
        except NFError as error:
            if names:
                raise
            warn(f"leaving out run '{run.name}': {error.message}")
    if not found:
        raise RunError(f"every run in {runs[0].path.parent} is damaged")
    in_words = {row.question: _in_words(row) for row, _ in found if row.question is not None}
    numbers: dict[Any, int] = {question: number for number, question in enumerate(in_words)}
    rows = [replace(row, group=numbers.get(row.question)) for row, _ in found]
    rows.sort(key=lambda row: (row.rank, natural(row.run)))
    notes = (*(note for _, note in found if note is not None), *_not_in_common(rows))
    lacking = {} if importance_samples is None else {"unmeasured": f"not measured with K = {importance_samples}"}
    return Comparison(tuple(rows), tuple(in_words.values()), notes, **lacking)


def _not_in_common(rows: list[Row]) -> Iterator[str]:
    """Sentences on numbers of a row that are of something else than its question says, or than those beside it."""
    for count in sorted({row.val_images for row in rows if row.val_images not in (None, row.images)}):
        runs = ", ".join(f"'{row.run}'" for row in rows if row.val_images == count != row.images)
        yield f"val bpd of {runs} is of {count:,} validation images"
    devices: dict[str, list[str]] = {}
    for row in rows:
        if row.timed_on is not None:
            devices.setdefault(row.timed_on, []).append(f"'{row.run}'")
    if len(devices) > 1:
        yield "timed on " + "; ".join(f"{device}: {', '.join(runs)}" for device, runs in devices.items())


def _runs_to_show(runs_dir: Path) -> Sequence[RunDir]:
    runs: Sequence[RunDir] = list_runs(runs_dir)
    # A file in the place of the runs is a mistake, and not a beginning.
    if not runs and (runs_dir.is_dir() or not runs_dir.exists()):
        runs = list_pretrained(runs_dir)
    if not runs:
        raise no_run(runs_dir)
    return runs


def _row(run: RunDir, importance_samples: int | None) -> tuple[Row, str | None]:
    """A run's row, and what there is to say of a newer measurement than the one shown."""
    config, (evaluations, timing) = run.config(), load_results(run)
    model, device = config["model"], timing.get("device")
    row = Row(
        run=run.name,
        preset=model["preset"],
        parameters=model["parameters"],
        dataset=config["data"]["name"],
        conditional=bool(model["classes"]),
        test_images=config["data"].get("test_images"),
        inference_ms=timing.get("inference_ms"),
        sampling_ms=timing.get("sampling_ms"),
        timed_on=str(device.get("kind")) if isinstance(device, dict) else None,
        shipped=run.pretrained,
        **_published(config) if run.pretrained else {},
    )
    tests = best_first(evaluations, "test", importance_samples)
    if not tests:
        return row, None
    test = tests[0]
    vals = best_first(evaluations, "val", test.importance_samples, test.checkpoint_step)
    val = next((entry for entry in vals if entry.seed == test.seed), None)
    shared = ("effective_sample_size", "checkpoint_step", "importance_samples", "images")
    measured: dict[str, Any] = {
        **{f"val_{name}": getattr(val, name, None) for name in ("bpd", "bpd_stderr", "images")},
        **{f"test_{name}": getattr(test, name) for name in ("bpd", "bpd_stderr", "elbo_bpd")},
        **{name: getattr(test, name) for name in shared},
    }
    if test.classification is not None:
        said = test.classification
        measured |= {f"marginal_{name}": said[name] for name in ("bpd", "bpd_stderr")}
        measured |= {name: said[name] for name in ("accuracy", "label_bits", "calibration_error")}
    row = replace(row, **measured, test_fingerprint=test.split_fingerprint)
    newest = next(entry for entry in reversed(evaluations) if entry in tests)
    return row, None if newest is test else _note(run.name, test, newest)


def _note(name: str, test: Evaluation, newest: Evaluation) -> str:
    k, other = test.importance_samples, newest.importance_samples
    return (
        f"'{name}' is shown as measured on {test.images:,} test images with K = {k}; "
        f"a later measurement on {newest.images:,} with K = {other} is left out"
        f"{f' (-k {other} shows it)' if other != k else ''}"
    )


def _in_words(row: Row) -> str:
    which, given = "all" if row.images == row.test_images else "first", "each given its label, " * row.conditional
    data = f"{row.dataset} (test images {str(row.test_fingerprint)[:8]})"
    return f"{data}, {which} {row.images:,} of them, {given}K = {row.importance_samples}"


def _published(config: dict[str, Any]) -> dict[str, Any]:
    """What is in print about the preset of a run, if it may stand beside the run."""
    model, data = config["model"], config["data"]
    kind = (data["name"], model["levels"], model["shape"], model["smoke"], model["classes"])
    preset = PRESETS.get(model["preset"])
    if preset is None or kind != ("mnist", 256, [28, 28, 1], False, 0):
        return {}
    return {"published_val_bpd": preset.reference_val_bpd, "published_test_bpd": preset.reference_test_bpd}
