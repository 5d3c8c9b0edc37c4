"""`nf sample`, `nf interpolate`, `nf inspect-dequant`: the commands that draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.backend import runtime
from nfcli.cli.complete import SPLITS
from nfcli.cli.console import Console
from nfcli.cli.options import RUNS_DIR, Output, Run, RunsDir
from nfcli.errors import UsageError
from nfcli.limits import setting


@dataclass(frozen=True)
class SampleOptions:
    """What `nf sample` may be told."""

    num: int = setting(16, "Number of images.", names=("--num", "-n"))
    columns: int | None = setting(None, "Columns of the grid; a square by default.")
    temperature: float = setting(1.0, "Standard deviation of the latents; below 1 is tamer.")
    seed: int = setting(44, "Image i of a seed is always the same.")
    share_final_latent: bool = setting(False, "Rows of 8 that share the last latent and differ in the split-off ones.")
    labels: list[int] | None = setting(
        None,
        "Of a class-conditional run, or with --real of any labelled data; repeat it for more, all in turn by default.",
        names=("--label",),
    )
    real: bool = setting(False, "Show training images instead.")
    latents: Path | None = setting(
        None,
        "Draw the images of latents that nf eval --save-latents wrote, instead.",
        names=("--from-latents",),
        metavar="FILE",
    )


@dataclass(frozen=True)
class InterpolateOptions:
    """What `nf interpolate` may be told."""

    pairs: list[str] | None = setting(
        None, "Two images of the split, by index; repeat it for more rows.", metavar="A,B"
    )
    split: str = setting("test", "Where the images come from: train, val or test.", choices=SPLITS)
    steps: int = setting(8, "Frames of a row, both ends included.")
    seed: int = setting(42, "Of the dequantization noise.")


@dataclass(frozen=True)
class InspectOptions:
    """What `nf inspect-dequant` may be told."""

    images: int = setting(256, "Validation images in the histogram.")
    draws: int = setting(4, "Noise draws an image.")
    levels: int = setting(8, "Discrete values in the picture of volumes.")
    prior: str | None = setting(None, "Weight of each of these values; a bell by default.", metavar="P1,P2,...")
    seed: int = setting(42, "Of the noise.")
    explain: bool = setting(False, "Draw the masks and the scale limit instead; needs no run.")


def sample(
    run: Run = None,
    *,
    options: SampleOptions,
    output: Output = None,
    runs_dir: RunsDir = RUNS_DIR,
    console: Console,
) -> None:
    """Draw images from a model as a PNG grid.

    Examples:

        nf sample

        nf sample multiscale --num 64 --temperature 0.8 --output digits.png

        nf sample multiscale --share-final-latent

        nf sample mixture-conditional --label 7

        nf sample mixture-conditional --label 7 --real
    """
    runtime.prepare()
    from nfcli.drawing.samples import SampleConfig
    from nfcli.drawing.samples import sample as draw_samples

    chosen: dict[str, Any] = {**vars(options), "labels": tuple(options.labels or ())}
    config = SampleConfig(run=run, runs_dir=runs_dir, output=output, **chosen)
    result = draw_samples(config, warn=console.warning)
    console.detail(f"weights of step {result.checkpoint_step:,}")
    console.result(result, f"{result.image}\n{result.numbers}")


def interpolate(
    run: Run = None,
    *,
    options: InterpolateOptions,
    output: Output = None,
    runs_dir: RunsDir = RUNS_DIR,
    console: Console,
) -> None:
    """Walk from one image to another in latent space; both ends are exactly the images.

    Examples:

        nf interpolate

        nf interpolate multiscale --pairs 0,7 --pairs 3,12 --steps 10
    """
    runtime.prepare()
    from nfcli.drawing.interpolation import InterpolateConfig
    from nfcli.drawing.interpolation import interpolate as walk

    chosen: dict[str, Any] = {name: value for name, value in vars(options).items() if value is not None}
    if options.pairs:
        chosen["pairs"] = tuple(_pair(text) for text in options.pairs)
    config = InterpolateConfig(run=run, runs_dir=runs_dir, output=output, **chosen)
    result = walk(config, warn=console.warning)
    console.detail(f"weights of step {result.checkpoint_step:,}; ends exact: {result.ends_exact}")
    console.result(result, f"{result.image}\n{result.numbers}")


def inspect_dequant(
    run: Run = None,
    *,
    options: InspectOptions,
    output: Output = None,
    runs_dir: RunsDir = RUNS_DIR,
    console: Console,
) -> None:
    """Show how integers become real numbers: histograms, volumes, and the round trip over all values.

    Examples:

        nf inspect-dequant vardeq

        nf inspect-dequant --levels 4 --prior 1,2,2,1

        nf inspect-dequant --explain --output masks.png
    """
    runtime.prepare()
    from nfcli.drawing.dequantization import InspectDequantConfig, inspect_dequantization

    chosen: dict[str, Any] = {**vars(options), "prior": None if options.prior is None else _weights(options.prior)}
    config = InspectDequantConfig(run=run, runs_dir=runs_dir, output=output, **chosen)
    result = inspect_dequantization(config, warn=console.warning)
    if result.moved_pixels is not None:
        console.message(f"round trip: {result.moved_pixels} of {result.checked_pixels:,} pixels moved")
    console.result(result, "\n".join(path for path in (result.image, result.numbers) if path is not None))


def _pair(text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        raise UsageError(
            f"--pairs {text} is not a pair", hint="give two indices with a comma, for example 0,1"
        ) from None
    return first, second


def _weights(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--prior {text} is not a list of numbers", hint="for example --prior 1,2,2,1") from None
