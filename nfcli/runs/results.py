"""results.json: every measurement of a run, each with what it depends on."""

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

from nfcli.errors import RunError
from nfcli.files import write_json
from nfcli.runs.directory import RunDir
from nfcli.runs.schema import Count, Index, List, Number, Object, Positive, Text, check_fields, parse

RESULTS = {"evaluations": List, "timing": Object, "timing.inference_ms": Positive, "timing.sampling_ms": Positive}


@dataclass(frozen=True)
class Summary:
    """Mean of a bound over images, with its uncertainty.

    Attributes:
        bpd: Bits per dimension of the K-draw bound, an upper bound on the model's true value in expectation; None when
            some image has no finite bound.
        bpd_stderr: Standard error of that mean over images; None for a single image.
        elbo_bpd: As `bpd`, for K = 1.
        effective_sample_size: Mean over images, between 1 and K: near 1, more draws would still tighten the bound.
        images: How many.
    """

    bpd: Number | None
    bpd_stderr: Positive | None
    elbo_bpd: Number | None
    effective_sample_size: Positive | None
    images: Count


@dataclass(frozen=True)
class Classification:
    """What a class-conditional model says of the labels of a split, see `nfcli.evaluation.labels`.

    Attributes:
        bpd, bpd_stderr: Bits per dimension of p(x), summed over labels, and their standard error over images.
        accuracy: Share of images whose own label is the most probable one.
        label_bits: Mean of -log2 p(label | x).
        calibration_error: Expected calibration error of the most probable label.
        calibration_bins: Of it, of equal width.
        label_prior: What p(label) was, in words.
    """

    bpd: Number | None
    bpd_stderr: Positive | None
    accuracy: Positive | None
    label_bits: Positive | None
    calibration_error: Positive | None
    calibration_bins: Count
    label_prior: Text


@dataclass(frozen=True)
class Evaluation(Summary):
    """One split, measured once.

    Attributes:
        split: "train", "val" or "test"; the first `images` of it were measured.
        split_fingerprint: sha256 of the whole split's images.
        importance_samples: Noise draws an image, K.
        seed: Of the noise.
        checkpoint_step: Which weights; chosen on validation.
        precision, versions, device: What computed it.
        classification: A `Classification`; None where none was asked for.
    """

    split: Text
    split_fingerprint: Text
    importance_samples: Count
    seed: Index
    checkpoint_step: Index
    precision: Text
    versions: Object
    device: Object
    classification: Object | None = None

    @property
    def question(self) -> tuple[str | int, ...]:
        """What was asked: a later answer to the same question replaces this one."""
        return self.split, self.split_fingerprint, self.images, self.importance_samples, self.seed, self.checkpoint_step


class Results(NamedTuple):
    """Measurements, oldest first, and the latest timing: `inference_ms`, `sampling_ms` and what they depend on."""

    evaluations: list[Evaluation]
    timing: dict[str, Any]


def load_results(run: RunDir) -> Results:
    """What results.json holds, nothing before the first evaluation.

    Raises:
        RunError: It is damaged.
    """
    results = run.results()
    if results is None:
        return Results([], {})
    try:
        check_fields(results, RESULTS)
        for number, entry in enumerate(results["evaluations"]):
            check_fields({f"evaluations[{number}]": entry}, {f"evaluations[{number}]": Object})
            entry.setdefault("classification", None)  # as in files of the time before there was one
            if entry["classification"] is not None:
                parse(Classification, entry["classification"])
        return Results([parse(Evaluation, entry) for entry in results["evaluations"]], results["timing"])
    except ValueError as error:
        raise RunError(
            f"results file {run.path / 'results.json'} is damaged: {error}", hint="delete it and run nf eval again"
        ) from error


def record(run: RunDir, config: dict[str, Any], evaluations: list[Evaluation], timing: dict[str, Any]) -> None:
    """Add measurements to results.json; the newest come last, and without a classification keep that of the same
    measurement before.

    Raises:
        RunError: The results.json there is damaged, or the run was replaced since `config` was read.
        WriteError: It cannot be written.
    """
    with run.results_lock():
        if run.config()["id"] != config["id"]:
            raise RunError(
                f"run '{run.name}' was replaced by another one while it was measured",
                hint="the measurement was not written; repeat it",
            )
        answers: dict[Any, Evaluation] = {}
        for new in (*load_results(run).evaluations, *evaluations):
            old = answers.pop(new.question, new)
            answers[new.question] = replace(new, classification=new.classification or old.classification)
        content = {
            "run": run.name,
            "preset": config["model"]["preset"],
            "dataset": config["data"]["name"],
            "parameters": config["model"]["parameters"],
            "evaluations": [asdict(evaluation) for evaluation in answers.values()],
            "timing": timing,
        }
        write_json(run.path / "results.json", content)


def best_first(
    evaluations: list[Evaluation], split: str, importance_samples: int | None = None, checkpoint_step: int | None = None
) -> list[Evaluation]:
    """Measurements of a split, those of most images first, and of as many, the newest first.

    Args:
        evaluations: Oldest first.
        split: Whose measurements count.
        importance_samples: Only those with this K; None for any.
        checkpoint_step: Only those of these weights; None for the weights that were measured last.
    """
    asked = [
        entry
        for entry in reversed(evaluations)
        if entry.split == split and importance_samples in (None, entry.importance_samples)
    ]
    step = asked[0].checkpoint_step if asked and checkpoint_step is None else checkpoint_step
    return sorted((entry for entry in asked if entry.checkpoint_step == step), key=lambda entry: -entry.images)
