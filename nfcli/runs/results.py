"""results.json: every measurement of a run, each with what it depends on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from nfcli.errors import RunError
from nfcli.runs.directory import RunDir


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
        RunError: The results.json there is damaged.
        WriteError: It cannot be written.
    """
    asked = {evaluation.question for evaluation in evaluations}
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
    results = run.results()
    if results is None:
        return []
    names = {field.name for field in fields(Evaluation)}
    try:
        return [_checked(Evaluation(**{name: entry[name] for name in names})) for entry in results["evaluations"]]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(
            f"results file {run.path / 'results.json'} is damaged: {error}", hint="delete it and run nf eval again"
        ) from error


def _checked(evaluation: Evaluation) -> Evaluation:
    for name in ("images", "importance_samples", "seed", "checkpoint_step"):
        if type(getattr(evaluation, name)) is not int:
            raise ValueError(f"{name} is {getattr(evaluation, name)!r}")
    for name in ("bpd", "bpd_stderr", "elbo_bpd", "effective_sample_size"):
        value = getattr(evaluation, name)
        if value is not None and type(value) not in (int, float):
            raise ValueError(f"{name} is {value!r}")
    return evaluation
