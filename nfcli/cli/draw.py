"""`nf sample`, `nf interpolate`, `nf inspect-dequant`: the commands that draw."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nfcli.backend import runtime
from nfcli.cli.complete import SPLITS, complete_one_of
from nfcli.cli.console import Console
from nfcli.cli.options import RUNS_DIR, Dpi, Json, Output, Quiet, Run, RunsDir, Scale, Verbose
from nfcli.errors import UsageError


def sample(
    run: Run = None,
    num: Annotated[int, typer.Option("--num", "-n", help="Number of images.")] = 16,
    columns: Annotated[int | None, typer.Option(help="Columns of the grid; a square by default.")] = None,
    temperature: Annotated[float, typer.Option(help="Standard deviation of the latents; below 1 is tamer.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Image i of a seed is always the same.")] = 44,
    share_final_latent: Annotated[
        bool,
        typer.Option(
            "--share-final-latent", help="Rows of 8 that share the last latent and differ in the split-off ones."
        ),
    ] = False,
    label: Annotated[
        list[int] | None,
        typer.Option(
            "--label",
            help="Of a class-conditional run, or with --real of any labelled data; repeat it for more, all in turn by "
            "default.",
        ),
    ] = None,
    real: Annotated[bool, typer.Option("--real", help="Show training images instead.")] = False,
    captions: Annotated[
        bool, typer.Option("--captions", help="Write the label of each row, or of each column, beside it.")
    ] = False,
    scale: Scale = None,
    dpi: Dpi = None,
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
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
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
    console = _begin(as_json=as_json, quiet=quiet, verbose=verbose)
    from nfcli.drawing.samples import SampleConfig
    from nfcli.drawing.samples import sample as draw_samples

    config = SampleConfig(
        run=run,
        runs_dir=runs_dir,
        num=num,
        columns=columns,
        temperature=temperature,
        seed=seed,
        output=output,
        dpi=dpi,
        scale=scale,
        captions=captions,
        share_final_latent=share_final_latent,
        real=real,
        labels=tuple(label or ()),
    )
    drawn = draw_samples(config, warn=console.warning)
    console.detail(f"weights of step {drawn.facts['checkpoint_step']:,}")
    console.result(drawn.content, drawn.text)


def interpolate(
    run: Run = None,
    pairs: Annotated[
        list[str] | None,
        typer.Option("--pairs", metavar="A,B", help="Two images of the split, by index; repeat it for more rows."),
    ] = None,
    split: Annotated[
        str,
        typer.Option(help="Where the images come from: train, val or test.", autocompletion=complete_one_of(SPLITS)),
    ] = "test",
    steps: Annotated[int, typer.Option(help="Frames of a row, both ends included.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the dequantization noise.")] = 42,
    captions: Annotated[
        bool, typer.Option("--captions", help="Write the indices of each pair beside its row.")
    ] = False,
    scale: Scale = None,
    dpi: Dpi = None,
    output: Output = None,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Walk from one image to another in latent space; both ends are exactly the images.

    Examples:

        nf interpolate

        nf interpolate multiscale --pairs 0,7 --pairs 3,12 --steps 10

        nf interpolate multiscale --captions --output walk.svg
    """
    console = _begin(as_json=as_json, quiet=quiet, verbose=verbose)
    from nfcli.drawing.interpolation import InterpolateConfig
    from nfcli.drawing.interpolation import interpolate as walk

    chosen = {"pairs": tuple(_pair(text) for text in pairs)} if pairs else {}
    config = InterpolateConfig(
        run=run,
        runs_dir=runs_dir,
        split=split,
        steps=steps,
        seed=seed,
        output=output,
        dpi=dpi,
        scale=scale,
        captions=captions,
        **chosen,
    )
    drawn = walk(config, warn=console.warning)
    console.detail(f"weights of step {drawn.facts['checkpoint_step']:,}; ends exact: {drawn.facts['ends_exact']}")
    console.result(drawn.content, drawn.text)


def inspect_dequant(
    run: Run = None,
    images: Annotated[int, typer.Option(help="Validation images in the histogram.")] = 256,
    draws: Annotated[int, typer.Option(help="Noise draws an image.")] = 4,
    levels: Annotated[int, typer.Option(help="Discrete values in the picture of volumes.")] = 8,
    prior: Annotated[
        str | None,
        typer.Option(
            metavar="P1,P2,...", help="Weight of each of these values; a bell by default.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the noise.")] = 42,
    explain: Annotated[
        bool, typer.Option("--explain", help="Draw the masks and the scale limit instead; needs no run.")
    ] = False,
    dpi: Dpi = None,
    output: Output = None,
    runs_dir: RunsDir = RUNS_DIR,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show how integers become real numbers: histograms, volumes, and the round trip over all values.

    Examples:

        nf inspect-dequant vardeq

        nf inspect-dequant --levels 4 --prior 1,2,2,1

        nf inspect-dequant --explain --output masks.png
    """
    console = _begin(as_json=as_json, quiet=quiet, verbose=verbose)
    from nfcli.drawing.dequantization import InspectDequantConfig, inspect_dequantization

    config = InspectDequantConfig(
        run=run,
        runs_dir=runs_dir,
        images=images,
        draws=draws,
        levels=levels,
        prior=None if prior is None else _weights(prior),
        seed=seed,
        output=output,
        dpi=dpi,
        explain=explain,
    )
    drawn = inspect_dequantization(config, warn=console.warning)
    if not explain:
        moved, checked = drawn.facts["moved_pixels"], drawn.facts["checked_pixels"]
        console.message(f"round trip: {moved} of {checked:,} pixels moved")
    console.result(drawn.content, drawn.text)


def _begin(**printing: bool) -> Console:
    runtime.prepare()
    return Console(**printing)


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
