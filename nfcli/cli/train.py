"""`nf train`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from nfcli import runtime
from nfcli.cli.complete import complete_preset
from nfcli.cli.console import Console, duration, speed
from nfcli.cli.options import RUNS_DIR, Devices, Json, Quiet, RunsDir, Verbose
from nfcli.errors import NFError
from nfcli.runs import RunDir
from nfcli.training.config import SMOKE, TrainConfig

DEFAULTS = TrainConfig(preset="simple")


def _default(name: str) -> str:
    return f"[default: {getattr(DEFAULTS, name)}]"


def train(
    preset: Annotated[
        str,
        typer.Argument(
            metavar="PRESET", help="simple, vardeq or multiscale.", autocompletion=complete_preset, show_default=False
        ),
    ],
    dataset: Annotated[
        str, typer.Option(help="mnist; a folder of IDX, PNG or JPEG files; or an .npz file.")
    ] = DEFAULTS.dataset,
    epochs: Annotated[int | None, typer.Option(help=f"Passes over the training images. {_default('epochs')}")] = None,
    batch_size: Annotated[int | None, typer.Option(help=f"Images a step. {_default('batch_size')}")] = None,
    learning_rate: Annotated[float, typer.Option(help="Of Adam, at the start.")] = DEFAULTS.learning_rate,
    learning_rate_decay: Annotated[
        float, typer.Option(help="Factor an epoch, applied at every step.")
    ] = DEFAULTS.learning_rate_decay,
    learning_rate_floor: Annotated[float, typer.Option(help="The decay ends here.")] = DEFAULTS.learning_rate_floor,
    clip_norm: Annotated[float, typer.Option(help="Longest gradient that is not shortened.")] = DEFAULTS.clip_norm,
    eval_every: Annotated[
        int | None, typer.Option(help=f"Epochs between validations. {_default('eval_every')}")
    ] = None,
    train_size: Annotated[int | None, typer.Option(help="Use the first N training images; all by default.")] = None,
    val_size: Annotated[int | None, typer.Option(help="Use the first N validation images; all by default.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = DEFAULTS.seed,
    name: Annotated[
        str | None, typer.Option(help="Of the run; made from preset and dataset by default.", show_default=False)
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the whole path in about a minute: narrow networks, few images.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run of the same name first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the effective configuration and write nothing.")
    ] = False,
    checkpoint_minutes: Annotated[
        float, typer.Option(help="Minutes between checkpoints, besides those at validations.")
    ] = DEFAULTS.checkpoint_minutes,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop cleanly after this long, with exit code 0.", show_default=False)
    ] = None,
    devices: Devices = None,
    network_dtype: Annotated[
        str, typer.Option(help="Of the coupling networks in training: float32 or bfloat16; all else is float32.")
    ] = DEFAULTS.network_dtype,
    steps_per_dispatch: Annotated[
        int | None, typer.Option(help="Steps that the host asks for at a time; 1 on CPU, 50 on a GPU by default.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Train a model; the same command again continues an unfinished run.

    A run is a folder: runs/NAME/ with config.json, metrics.jsonl and checkpoints. Raising --epochs extends a finished
    run; any other changed setting is refused.

    Examples:

        nf train simple --smoke

        nf train multiscale --epochs 200

        nf train vardeq --dataset photos/ --name vardeq-photos --max-minutes 230
    """
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)
    chosen = {
        "epochs": epochs,
        "batch_size": batch_size,
        "eval_every": eval_every,
        "train_size": train_size,
        "val_size": val_size,
    }
    given = {key: value for key, value in chosen.items() if value is not None}
    config = TrainConfig(
        preset=preset,
        dataset=dataset,
        learning_rate=learning_rate,
        learning_rate_decay=learning_rate_decay,
        learning_rate_floor=learning_rate_floor,
        clip_norm=clip_norm,
        network_dtype=network_dtype,
        seed=seed,
        name=name,
        runs_dir=runs_dir,
        smoke=smoke,
        overwrite=overwrite,
        checkpoint_minutes=checkpoint_minutes,
        max_minutes=max_minutes,
        devices=devices,
        steps_per_dispatch=steps_per_dispatch,
        **{**(SMOKE if smoke else {}), **given},
    )
    runtime.prepare(devices)
    if dry_run:
        _describe(config, console)
    else:
        _train(config, console)


def _describe(config: TrainConfig, console: Console) -> None:
    from nfcli.training.setup import prepare_job

    job = prepare_job(config)
    described = job.description()
    content = {
        "run": job.run.name,
        "path": str(job.run.path),
        "preset": config.preset,
        "parameters": job.model.num_parameters,
        "steps": job.total_steps,
        **{key: value for key, value in described.items() if key != "run"},
    }
    lines = [("run", job.run.path), ("parameters", f"{job.model.num_parameters:,}"), ("steps", f"{job.total_steps:,}")]
    settings = described["settings"].items()
    lines += [(key.replace("_", "-"), "all" if value is None else value) for key, value in settings]
    lines += [("data", f"{described['data']['source']}, {len(job.train):,} train, {len(job.val):,} validation")]
    console.result(content, _columns(lines))


def _train(config: TrainConfig, console: Console) -> None:
    from nfcli.cli.progress import TrainingProgress
    from nfcli.training.loop import train as run_training

    with TrainingProgress(console) as progress:
        result = run_training(config, progress)
    best = "none yet" if result.best_val_bpd is None else f"{result.best_val_bpd:.4f} bpd at step {result.best_step:,}"
    lines: list[tuple[str, Any]] = [
        ("run", result.path),
        ("parameters", f"{result.parameters:,}"),
        ("epochs", f"{result.epochs} ({result.steps:,} steps)"),
        ("best validation", f"{best} (one noise draw)" if result.best_step is not None else best),
        ("speed", "none yet" if result.images_per_second is None else speed(result.images_per_second)),
        ("time", duration(result.seconds)),
    ]
    console.result(result, _columns(lines))
    _draw_curve(RunDir(Path(result.path)), console)
    if result.finished:
        console.hint(f"nf eval {result.run} measures it on the test images")
    else:
        console.hint("time is up and everything is saved; the same command continues the run")


def _draw_curve(run: RunDir, console: Console) -> None:
    """Draw the learning curve, unless nothing was trained since it was drawn last."""
    curve, metrics = run.figures / "learning-curve.png", run.path / "metrics.jsonl"
    if curve.exists() and curve.stat().st_mtime_ns >= metrics.stat().st_mtime_ns:
        return
    from nfcli.inspection.learning import draw_learning_curve

    try:
        drawn = draw_learning_curve(run)
    except (NFError, OSError) as error:  # the run itself is safe
        console.warning(f"no learning curve: {error}")
    else:
        console.detail(f"learning curve in {drawn}" if drawn else "no learning curve before the second epoch")


def _columns(lines: list[tuple[str, Any]]) -> str:
    width = max(len(label) for label, _ in lines) + 2
    return "\n".join(f"{label:<{width}}{value}" for label, value in lines)
