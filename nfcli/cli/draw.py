"""`nf sample`, `nf interpolate`, `nf inspect-dequant`: the commands that draw."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from nfcli.backend import runtime
from nfcli.cli.complete import SPLITS
from nfcli.cli.console import Console
from nfcli.cli.options import RUNS_DIR, Dpi, Output, Run, RunsDir
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


@dataclass(frozen=True)
class GridOptions:
    """How a grid of images looks."""

    captions: bool = setting(False, "Write beside rows, or above columns, what they show: labels, or indices of pairs.")
    scale: int | None = setting(None, "Pixels along each side that one pixel becomes; by default as fits a screen.")
    dpi: int | None = setting(None, "Pixels an inch of the picture; 200 by default.")


def sample(
    run: Run = None,
    *,
    options: SampleOptions,
    look: GridOptions,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="A .png, .pdf or .svg file with a grid, a PNG in the run's figures by default; or single images: an "
            ".npz file, or a folder for PNG files.",
        ),
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
    console: Console,
) -> None:
    """Draw images from a model, as a grid or as data.

    An .npz file has images, (N, H, W, C) uint8, labels if there are any, and what they were drawn with; a folder has a
    PNG file for each image. nf reads both, as in nf eval --images.

    Examples:

        nf sample

        nf sample multiscale --num 64 --temperature 0.8 --output digits.png

        nf sample multiscale --share-final-latent

        nf sample mixture-conditional --label 7

        nf sample mixture-conditional --label 7 --real

        nf sample mixture-conditional -n 40 --columns 10 --captions -o all.pdf

        nf sample multiscale --num 1000 --output samples.npz
    """
    runtime.prepare()
    from nfcli.drawing.samples import SampleConfig
    from nfcli.drawing.samples import sample as draw_samples

    chosen: dict[str, Any] = {**vars(options), "labels": tuple(options.labels or ())}
    drawn = draw_samples(
        SampleConfig(run=run, runs_dir=runs_dir, output=output, **vars(look), **chosen), warn=console.warning
    )
    console.detail(f"weights of step {drawn.facts['checkpoint_step']:,}")
    console.result(drawn.content, drawn.text)


def interpolate(
    run: Run = None,
    *,
    options: InterpolateOptions,
    look: GridOptions,
    output: Output = None,
    runs_dir: RunsDir = RUNS_DIR,
    console: Console,
) -> None:
    """Walk from one image to another in latent space; both ends are exactly the images.

    Examples:

        nf interpolate

        nf interpolate multiscale --pairs 0,7 --pairs 3,12 --steps 10

        nf interpolate multiscale --captions --output walk.svg
    """
    runtime.prepare()
    from nfcli.drawing.interpolation import InterpolateConfig
    from nfcli.drawing.interpolation import interpolate as walk

    chosen: dict[str, Any] = {name: value for name, value in vars(options).items() if value is not None}
    if options.pairs:
        chosen["pairs"] = tuple(_pair(text) for text in options.pairs)
    config = InterpolateConfig(run=run, runs_dir=runs_dir, output=output, **vars(look), **chosen)
    drawn = walk(config, warn=console.warning)
    console.detail(f"weights of step {drawn.facts['checkpoint_step']:,}; ends exact: {drawn.facts['ends_exact']}")
    console.result(drawn.content, drawn.text)


def inspect_dequant(
    run: Run = None,
    *,
    options: InspectOptions,
    dpi: Dpi = None,
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
    config = InspectDequantConfig(run=run, runs_dir=runs_dir, output=output, dpi=dpi, **chosen)
    drawn = inspect_dequantization(config, warn=console.warning)
    if not config.explain:
        moved, checked = drawn.facts["moved_pixels"], drawn.facts["checked_pixels"]
        console.message(f"round trip: {moved} of {checked:,} pixels moved")
    console.result(drawn.content, drawn.text)


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
