"""results.json: every measurement of a run, each with what it depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from nfcli.errors import RunError
from nfcli.runs.directory import RunDir
from nfcli.runs.schema import COUNT, INDEX, LIST, NUMBER, OBJECT, POSITIVE, TEXT, Check, check_fields, optional

RESULTS: dict[str, Check] = {
    "evaluations": LIST,
    "timing": OBJECT,
    "timing.inference_ms": POSITIVE,
    "timing.sampling_ms": POSITIVE,
}

EVALUATION: dict[str, Check] = {
    "split": TEXT,
    "split_fingerprint": TEXT,
    "images": COUNT,
    "importance_samples": COUNT,
    "seed": INDEX,
    "checkpoint_step": INDEX,
    "bpd": optional(NUMBER),
    "bpd_stderr": optional(POSITIVE),
    "elbo_bpd": optional(NUMBER),
    "effective_sample_size": optional(POSITIVE),
    "precision": TEXT,
    "versions": OBJECT,
    "device": OBJECT,
}


@dataclass(frozen=True)
class Evaluation:
    """One split, measured once.

    Attributes:
        split: "train", "val" or "test".
        split_fingerprint: sha256 of the whole split's images.
        images: The first so many of them were measured.
        importance_samples: Noise draws an image, K.
        seed: Of the noise.
        checkpoint_step: Which weights; chosen on validation.
        bpd, bpd_stderr: Bits per dimension of the K-draw bound and its standard error over images.
        elbo_bpd: The same for K = 1.
        effective_sample_size: Of the K importance weights, mean over images.
        precision, versions, device: What computed it.
    """

    split: str
    split_fingerprint: str
    images: int
    importance_samples: int
    seed: int
    checkpoint_step: int
    bpd: float | None
    bpd_stderr: float | None
    elbo_bpd: float | None
    effective_sample_size: float | None
    precision: str
    versions: dict[str, str]
    device: dict[str, Any]

    @property
    def question(self) -> tuple[Any, ...]:
        """What was asked: a later answer to the same question replaces this one."""
        return (
            self.split,
            self.split_fingerprint,
            self.images,
            self.importance_samples,
            self.seed,
            self.checkpoint_step,
        )


def record(run: RunDir, config: dict[str, Any], evaluations: list[Evaluation], timing: dict[str, Any]) -> None:
    """Add measurements to results.json; the newest come last.

    Raises:
        RunError: The results.json there is damaged, or the run was replaced since `config` was read.
        WriteError: It cannot be written.
    """
    asked = {evaluation.question for evaluation in evaluations}
    with run.results_lock():
        if run.config()["id"] != config["id"]:
            raise RunError(
                f"run '{run.name}' was replaced by another one while it was measured",
                hint="the measurement was not written; repeat it",
            )
        kept = [evaluation for evaluation in load_evaluations(run) if evaluation.question not in asked]
        run.write_results(
            {
                "run": run.name,
                "preset": config["model"]["preset"],
                "dataset": config["data"]["name"],
                "parameters": config["model"]["parameters"],
                "evaluations": [asdict(evaluation) for evaluation in (*kept, *evaluations)],
                "timing": timing,
            }
        )


def load_evaluations(run: RunDir) -> list[Evaluation]:
    """The measurements in results.json, oldest first; none before the first evaluation.

    Raises:
        RunError: results.json is damaged.
    """
    return _load(run)[0]


def best_first(evaluations: list[Evaluation]) -> list[Evaluation]:
    """Those with the weights that were measured last: of most images first, and of as many, the newest first.

    Args:
        evaluations: Oldest first.
    """
    latest = [entry for entry in reversed(evaluations) if entry.checkpoint_step == evaluations[-1].checkpoint_step]
    return sorted(latest, key=lambda entry: -entry.images)


def load_timing(run: RunDir) -> dict[str, Any]:
    """When the model was last timed: `inference_ms`, `sampling_ms` and what they depend on; empty before that.

    Raises:
        RunError: results.json is damaged.
    """
    return _load(run)[1]


def _load(run: RunDir) -> tuple[list[Evaluation], dict[str, Any]]:
    results = run.results()
    if results is None:
        return [], {}
    names = [field.name for field in fields(Evaluation)]
    try:
        check_fields(results, RESULTS)
        for number, entry in enumerate(results["evaluations"]):
            check_fields({f"evaluations[{number}]": entry}, {f"evaluations[{number}]": OBJECT})
            check_fields(entry, EVALUATION)
    except ValueError as error:
        raise RunError(
            f"results file {run.path / 'results.json'} is damaged: {error}", hint="delete it and run nf eval again"
        ) from error
    return [Evaluation(**{name: entry[name] for name in names}) for entry in results["evaluations"]], results["timing"]
