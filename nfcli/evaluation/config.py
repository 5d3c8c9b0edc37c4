"""What `nf eval` is told, and what it tells. No jax here, and no numpy."""

from dataclasses import dataclass
from pathlib import Path

from nfcli.errors import UsageError
from nfcli.limits import SEED, SPLITS, check_settings, setting, whole
from nfcli.runs.results import Classification, Summary

BOTH = ("val", "test")


@dataclass(frozen=True)
class EvalConfig:
    """What to measure; what has words is an option of `nf eval`.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        importance_samples: Noise draws an image, K.
        splits: Of "train", "val", "test".
        limit: Use the first N images of each split; None for all.
        batch_size: Images at a time, at most; it does not change the result.
        seed: Of the noise.
        devices: How many devices share a batch; None for automatic.
        classify: Also ask a class-conditional run for the labels; takes as many times longer as there are labels.
        images: A PNG or JPEG file, a folder of them, or an npz, to be scored instead of the splits.
        label: Of all these images, for a class-conditional run; None for those that come with them.
        save_latents: Also write the latents of these images to this .npz file.
        save_per_image: Also write each image's numbers to this .npz or .csv file.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    importance_samples: int = setting(8, "Noise draws an image, K.", whole(), names=("--importance-samples", "-k"))
    splits: tuple[str, ...] = BOTH
    limit: int | None = setting(None, "Use the first N images of each split; all by default.", whole())
    batch_size: int = setting(128, "Images at a time, at most; the result does not depend on it.", whole())
    seed: int = setting(42, "Of the noise.", SEED)
    devices: int | None = setting(None, check=whole())
    classify: bool = setting(
        False,
        "Ask a class-conditional run for the labels too: bpd of p(x) summed over labels, accuracy and calibration; "
        "takes as many times longer as there are labels.",
    )
    images: Path | None = setting(
        None, "Score these images instead: a PNG or JPEG file, a folder of them, an .npz.", metavar="PATH"
    )
    label: str | None = setting(
        None,
        "Of all your --images, for a class-conditional run: a number, or a word as in training; by default an npz has "
        "them as labels, or a folder has a sub-folder for each.",
    )
    save_latents: Path | None = setting(
        None, "Also write the latents of your --images, to .npz, for nf sample.", metavar="FILE"
    )
    save_per_image: Path | None = setting(None, "Also write each image's numbers, to .npz or .csv.", metavar="FILE")

    def __post_init__(self) -> None:
        check_settings(self)
        hint = f"splits: {', '.join(SPLITS)}"
        if not self.splits or len(set(self.splits)) != len(self.splits):
            raise UsageError("--split names no split, or one twice", hint=hint)
        for split in self.splits:
            if split not in SPLITS:
                raise UsageError(f"unknown split '{split}'", hint=hint)
        if self.images is not None and self.splits != BOTH:
            raise UsageError("--images and --split exclude each other", hint="give one of them")
        table, latents = self.save_per_image, self.save_latents
        if table is not None and table.suffix not in (".npz", ".csv"):
            raise UsageError(f"--save-per-image {table} is neither .npz nor .csv", hint="name one of these")
        for option, value in (("--label", self.label), ("--save-latents", latents)):
            if value is not None and self.images is None:
                raise UsageError(f"{option} is for your own images", hint="name them with --images")
        if latents is not None and latents.suffix != ".npz":
            raise UsageError(f"--save-latents {latents} is not .npz", hint="end it in .npz")
        if latents is not None and latents == table:
            raise UsageError("--save-latents and --save-per-image name the same file", hint="give each its own")


@dataclass(frozen=True)
class Measured:
    """What was measured, with what; `conditional` of images each given its label."""

    run: str
    preset: str
    conditional: bool
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

    `transform` is what was done to the images, as in training; `latents` the file that theirs were written to;
    `label_names` has a word for each label, where the run knows words.
    """

    source: str
    transform: str | None
    bpd: float | None
    bpd_stderr: float | None
    classification: Classification | None
    latents: str | None
    label_names: list[str]
    images: tuple[ScoredImage, ...]
