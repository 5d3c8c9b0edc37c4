"""`nf sample`, `nf interpolate`, `nf inspect-dequant`: the commands that draw."""

from dataclasses import replace
from typing import Annotated

import typer

from nfcli.backend import runtime
from nfcli.cli.console import Console, Waiting
from nfcli.cli.options import RUNS_DIR, Run, RunsDir
from nfcli.drawing.config import InspectDequantConfig, InterpolateConfig, SampleConfig
from nfcli.errors import UsageError


def sample(run: Run = None, *, options: SampleConfig, runs_dir: RunsDir = RUNS_DIR, console: Console) -> None:
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
    from nfcli.drawing.samples import sample as draw_samples

    with Waiting(console, "drawing"):
        drawn = draw_samples(replace(options, run=run, runs_dir=runs_dir), warn=console.warning)
    console.detail(f"weights of step {drawn.facts['checkpoint_step']:,}")
    console.result(drawn.content, drawn.text)


def interpolate(
    run: Run = None,
    *,
    pairs: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B", help="Two images of the split, by index; repeat it for more rows."),
    ] = None,
    options: InterpolateConfig,
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
    from nfcli.drawing.interpolation import interpolate as walk

    chosen = tuple(map(_pair, pairs)) if pairs else options.pairs
    with Waiting(console, "drawing"):
        drawn = walk(replace(options, run=run, runs_dir=runs_dir, pairs=chosen), warn=console.warning)
    console.detail(f"weights of step {drawn.facts['checkpoint_step']:,}; ends exact: {drawn.facts['ends_exact']}")
    console.result(drawn.content, drawn.text)


def inspect_dequant(
    run: Run = None, *, options: InspectDequantConfig, runs_dir: RunsDir = RUNS_DIR, console: Console
) -> None:
    """Show how integers become real numbers: histograms, volumes, and the round trip over all values.

    Examples:

        nf inspect-dequant vardeq

        nf inspect-dequant --levels 4 --prior 1,2,2,1

        nf inspect-dequant --explain --output masks.png
    """
    runtime.prepare()
    from nfcli.drawing.dequantization import inspect_dequantization

    with Waiting(console, "drawing"):
        drawn = inspect_dequantization(replace(options, run=run, runs_dir=runs_dir), warn=console.warning)
    if not options.explain:
        moved, checked = drawn.facts["moved_pixels"], drawn.facts["checked_pixels"]
        console.message(f"round trip: {moved} of {checked:,} pixels moved")
    console.result(drawn.content, drawn.text)


def _pair(text: str) -> tuple[int, int]:
    try:
        first, second = (int(part) for part in text.split(","))
    except ValueError:
        message = f"--pairs {text} is not a pair"
        raise UsageError(message, hint="give two indices with a comma, for example 0,1") from None
    return first, second
