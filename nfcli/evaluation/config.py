"""What `nf eval` is told, and what it tells. No jax here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nfcli.data.dataset import SPLIT_NAMES
from nfcli.errors import UsageError
from nfcli.limits import check_seed, check_whole
from nfcli.runs.results import Classification, Summary


@dataclass(frozen=True)
class EvalConfig:
    """What to measure.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        importance_samples: Noise draws an image, K.
        splits: Of "train", "val", "test".
        limit: Use the first N images of each split; None for all.
        batch_size: Images at a time, at most; it does not change the result.
        seed: Of the noise.
        devices: How many devices share a batch; None for automatic.
        save_per_image: Also write each image's numbers to this .npz or .csv file.
        classify: Also ask a class-conditional run for the labels; takes as many times longer as there are labels.
        images: A PNG or JPEG file, a folder of them, or an npz, to be scored instead of the splits.
        label: Of all these images, for a class-conditional run; None for those that come with them.
        save_latents: Also write the latents of these images to this .npz file.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    importance_samples: int = 8
    splits: tuple[str, ...] = ("val", "test")
    limit: int | None = None
    batch_size: int = 128
    seed: int = 42
    devices: int | None = None
    save_per_image: Path | None = None
    classify: bool = False
    images: Path | None = None
    label: int | None = None
    save_latents: Path | None = None

    def __post_init__(self) -> None:
        for name in ("importance_samples", "limit", "batch_size", "devices"):
            check_whole(name, getattr(self, name))
        check_whole("label", self.label, 0)
        check_seed(self.seed)
        if not self.splits or len(set(self.splits)) != len(self.splits):
            raise UsageError("--split names no split, or one twice", hint="splits: train, val, test")
        for split in self.splits:
            if split not in SPLIT_NAMES:
                raise UsageError(f"unknown split '{split}'", hint="splits: train, val, test")
        if self.save_per_image is not None and self.save_per_image.suffix not in (".npz", ".csv"):
            raise UsageError(
                f"--save-per-image {self.save_per_image} is neither .npz nor .csv", hint="name one of these"
            )
        for option, value in (("--label", self.label), ("--save-latents", self.save_latents)):
            if value is not None and self.images is None:
                raise UsageError(f"{option} is for your own images", hint="name them with --images")
        if self.save_latents is not None and self.save_latents.suffix != ".npz":
            raise UsageError(f"--save-latents {self.save_latents} is not .npz", hint="end it in .npz")
        if self.save_latents is not None and self.save_latents == self.save_per_image:
            raise UsageError("--save-latents and --save-per-image name the same file", hint="give each its own")


@dataclass(frozen=True)
class Measured:
    """What was measured, with what."""

    run: str
    preset: str
    importance_samples: int
    checkpoint_step: int
    seed: int


@dataclass(frozen=True)
class EvalResult(Measured):
    """What `nf eval --json` prints.

    `classification` is empty unless asked for; `recorded` tells whether results.json has the result, as it has not of
    runs that ship.
    """

    path: str
    dataset: str
    splits: dict[str, Summary]
    classification: dict[str, Classification]
    inference_ms: float
    sampling_ms: float
    recorded: bool


@dataclass(frozen=True)
class ScoredImage:
    """One image; numbers are None where a bound is not finite, or given a label that is unknown.

    Attributes:
        name: Its file's, or its place in the npz.
        bpd, elbo_bpd, effective_sample_size: Of log p_K(x), or log p_K(x | label) of a class-conditional run.
        label: That the model was told, if any.
        marginal_bpd, predicted, confidence: With `classify`: bits per dimension of p(x) summed over labels, the most
            probable label and its probability.
    """

    name: str
    bpd: float | None
    elbo_bpd: float | None
    effective_sample_size: float | None
    label: int | None = None
    marginal_bpd: float | None = None
    predicted: int | None = None
    confidence: float | None = None


@dataclass(frozen=True)
class ScoreResult(Measured):
    """What `nf eval --images --json` prints.

    `transform` is what was done to the images, as in training; `latents` the file that theirs were written to.
    """

    source: str
    transform: str | None
    bpd: float | None
    bpd_stderr: float | None
    classification: Classification | None
    latents: str | None
    images: tuple[ScoredImage, ...]
