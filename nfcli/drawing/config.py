"""What the commands that draw are told; what has words is an option. No jax here, and no numpy."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.errors import UsageError
from nfcli.limits import SEED, SPLITS, TEMPERATURE, anything, check_settings, refuse_together, setting, whole

LOOK = ("dpi", "scale", "captions")
"""What changes how a picture looks, and not what it shows."""

MOST_IMAGES = 10_000
"""That are drawn at a time."""

LARGEST_WEIGHT = 1e6

SHARED_COLUMNS = 8


@dataclass(frozen=True)
class PictureConfig:
    """What every picture of a run is told.

    Attributes:
        run: Name of the run; None for the one trained last.
        runs_dir: Where runs live.
        dpi: Pixels an inch; None for 200, which a PNG without a layout of its own need not say.
        output: The file; None for a PNG in the run's figures.
    """

    run: str | None = None
    runs_dir: Path = Path("runs")
    dpi: int | None = setting(None, "Pixels an inch of the picture; 200 by default.", whole(10, 1200))
    output: Path | None = setting(
        None, "A .png, .pdf or .svg file; a PNG in the run's figures by default.", names=("--output", "-o")
    )

    def __post_init__(self) -> None:
        check_settings(self)

    def chosen(self, *names: str) -> dict[str, Any]:
        """What was chosen of these, for the numbers beside the picture."""
        return {name: getattr(self, name) for name in names}

    def look(self) -> dict[str, Any]:
        """What was chosen of how the picture looks, for the same."""
        return {name: value for name in LOOK if (value := getattr(self, name, None))}


@dataclass(frozen=True)
class GridConfig(PictureConfig):
    """What a grid of images is told besides.

    Attributes:
        captions: Write beside the rows, or above the columns, what they show.
        scale: Pixels along each side that one pixel becomes; None for what is comfortable to look at.
    """

    captions: bool = setting(False, "Write beside rows, or above columns, what they show: labels, or indices of pairs.")
    scale: int | None = setting(
        None, "Pixels along each side that one pixel becomes; by default as fits a screen.", whole(1, 100)
    )


@dataclass(frozen=True)
class SampleConfig(GridConfig):
    """What to draw; `output` may also be an .npz file or a folder, for single images.

    Attributes:
        num: Number of images.
        columns: Of the grid; None for a square, or 8 with a shared final latent.
        temperature: Standard deviation of the latents.
        seed: Image i of a seed is the same whatever else is drawn.
        share_final_latent: Rows of 8 that share the last level's latent and differ in the split-off ones.
        labels: Of a class-conditional run, or of the training images shown: image i gets label i modulo their number;
            None for those of training images in turn, or for the first training images.
        real: Show training images instead.
        latents: Draw the images of these, from `nf eval --save-latents`, instead of new ones.
    """

    num: int = setting(16, "Number of images.", whole(1, MOST_IMAGES), names=("--num", "-n"))
    columns: int | None = setting(None, "Columns of the grid; a square by default.", whole(1, MOST_IMAGES))
    temperature: float = setting(1.0, "Standard deviation of the latents; below 1 is tamer.", TEMPERATURE)
    seed: int = setting(44, "Image i of a seed is always the same.", SEED)
    share_final_latent: bool = setting(False, "Rows of 8 that share the last latent and differ in the split-off ones.")
    labels: list[str] | None = setting(
        None,
        "Of a class-conditional run, or with --real of any labelled data: a number, or a word as in training; repeat "
        "it for more, all in turn by default.",
        names=("--label",),
        metavar="LABEL",
    )
    real: bool = setting(False, "Show training images instead.")
    latents: Path | None = setting(
        None,
        "Draw the images of latents that nf eval --save-latents wrote, instead.",
        names=("--from-latents",),
        metavar="FILE",
    )
    output: Path | None = setting(
        None,
        "A .png, .pdf or .svg file with a grid, a PNG in the run's figures by default; or single images: an .npz file, "
        "or a folder for PNG files.",
        names=("--output", "-o"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_together(self, "share_final_latent", "columns")
        refuse_together(self, "real", "share_final_latent", "temperature", "seed")
        refuse_together(self, "latents", "real", "share_final_latent", "labels", "num", "temperature", "seed")
        of_a_grid = [name for name in ("columns", *LOOK) if getattr(self, name)]
        if of_a_grid and is_data(self.output):
            hint = "leave it out, or draw a grid, for example -o digits.png"
            raise UsageError(f"--{of_a_grid[0]} says nothing to {self.output}, which holds single images", hint=hint)

    @property
    def width(self) -> int:
        """Columns of the grid."""
        wanted = self.columns or (SHARED_COLUMNS if self.share_final_latent else math.ceil(math.sqrt(self.num)))
        return min(wanted, self.num)

    def options(self, labels: list[int] | None) -> dict[str, Any]:
        """What the numbers beside the picture say of it; (N,) labels of the images, if they have any."""
        chosen = self.chosen("num", "temperature", "seed", "share_final_latent", "real")
        return chosen | ({} if is_data(self.output) else {"columns": self.width}) | {"labels": labels}


def is_data(output: Path | None) -> bool:
    """Whether an output is for images as data: a name that ends in .npz or, of a folder, has no suffix."""
    name = "" if output is None else output.name
    return name[:1] not in ("", ".") and Path(name).suffix.lower() in ("", ".npz")


@dataclass(frozen=True)
class InterpolateConfig(GridConfig):
    """What to interpolate.

    Attributes:
        pairs: Indices of the two images of each row.
        split: Of "train", "val", "test".
        steps: Frames of a row, both ends included.
        seed: Of the dequantization noise.
    """

    pairs: tuple[tuple[int, int], ...] = ((0, 1), (2, 3), (4, 5), (6, 7))
    # The data say which there are.
    split: str = setting("test", "Where the images come from: train, val or test.", anything, choices=SPLITS)
    steps: int = setting(8, "Frames of a row, both ends included.", whole(2, 100))
    seed: int = setting(42, "Of the dequantization noise.", SEED)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= len(self.pairs) <= 100:
            raise UsageError(f"{len(self.pairs)} pairs are not possible", hint="give 1 to 100 of --pairs A,B")


@dataclass(frozen=True)
class InspectDequantConfig(PictureConfig):
    """What to inspect.

    Attributes:
        images: Validation images in the histogram.
        draws: Noise draws an image.
        levels: Discrete values in the picture of volumes.
        prior: Weight of each of them, with commas between, for a second picture; None for a bell.
        seed: Of the noise.
        explain: Draw the masks and the scale limit instead; needs no run.
    """

    images: int = setting(256, "Validation images in the histogram.", whole())
    draws: int = setting(4, "Noise draws an image.", whole(1, 1000))
    levels: int = setting(8, "Discrete values in the picture of volumes.", whole(2, 64))
    prior: str | None = setting(None, "Weight of each of these values; a bell by default.", metavar="P1,P2,...")
    seed: int = setting(42, "Of the noise.", SEED)
    explain: bool = setting(
        False, "Draw the masks and the scale limit instead, as explain.png here by default; needs no run."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.explain and self.run is not None:
            raise UsageError("--explain needs no run", hint="leave the name out, or leave --explain out")
        refuse_together(self, "explain", "images", "draws", "levels", "prior", "seed")
        weights, hint = self.weights, "for example --levels 4 --prior 1,2,2,1"
        if weights is None:
            return
        if len(weights) != self.levels:
            raise UsageError(f"--prior has {len(weights)} weights, and --levels is {self.levels}", hint=hint)
        if not all(0 <= weight <= LARGEST_WEIGHT for weight in weights) or sum(weights) == 0:
            raise UsageError(f"--prior needs numbers between 0 and {LARGEST_WEIGHT:g}, not all 0", hint=hint)

    @property
    def weights(self) -> list[float] | None:
        """(levels,) what `prior` says, which need not sum to 1."""
        try:
            return None if self.prior is None else [float(part) for part in self.prior.split(",")]
        except ValueError:
            message = f"--prior {self.prior} is not a list of numbers"
            raise UsageError(message, hint="for example --prior 1,2,2,1") from None
