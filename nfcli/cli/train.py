"""`nf train`."""

from __future__ import annotations

import dataclasses
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from nfcli.backend import runtime
from nfcli.cli.complete import complete_one_of, complete_preset
from nfcli.cli.console import Console, duration, speed
from nfcli.cli.multiprocess import cluster_of, joined
from nfcli.cli.options import (
    RUNS_DIR,
    Coordinator,
    Devices,
    Distributed,
    Json,
    NumProcesses,
    ProcessId,
    Quiet,
    RunsDir,
    Verbose,
)
from nfcli.config import DTYPES, SCHEDULES, TrainConfig, read_settings
from nfcli.errors import NFError, UsageError
from nfcli.presets import PRESETS
from nfcli.runs import RunDir
from nfcli.runs.pretrained import PREFIX, find_pretrained, folder_of
from nfcli.training.reporter import Reporter

DEFAULTS = TrainConfig(preset="simple")


SETTINGS = {field.name for field in dataclasses.fields(TrainConfig)}


def train(
    context: typer.Context,
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            help="simple, vardeq, multiscale or mixture.",
            autocompletion=complete_preset,
            show_default=False,
        ),
    ] = None,
    dataset: Annotated[
        str,
        typer.Option(
            envvar="NF_DATASET",
            help="mnist; tfds:NAME; a folder of IDX, PNG or JPEG files, or that TFDS prepared; or an .npz file.",
        ),
    ] = DEFAULTS.dataset,
    crop: Annotated[
        str | None, typer.Option(metavar="HxW", help="Cut the middle out of every image first.", show_default=False)
    ] = None,
    resize: Annotated[
        str | None, typer.Option(metavar="HxW", help="Rescale every image, after --crop.", show_default=False)
    ] = None,
    levels: Annotated[
        int, typer.Option(help="Number of values of a pixel, 2 to 256: 32 trains on 5-bit images.")
    ] = DEFAULTS.levels,
    epochs: Annotated[int, typer.Option(help="Passes over the training images.")] = DEFAULTS.epochs,
    batch_size: Annotated[int, typer.Option(help="Images a step.")] = DEFAULTS.batch_size,
    learning_rate: Annotated[
        float, typer.Option(help="Of Adam, at the start or after the warm-up.")
    ] = DEFAULTS.learning_rate,
    schedule: Annotated[
        str,
        typer.Option(
            help="exponential, or cosine: half a wave over all epochs.", autocompletion=complete_one_of(SCHEDULES)
        ),
    ] = DEFAULTS.schedule,
    learning_rate_decay: Annotated[
        float, typer.Option(help="Factor an epoch, applied at every step; of exponential.")
    ] = DEFAULTS.learning_rate_decay,
    learning_rate_floor: Annotated[float, typer.Option(help="The decay ends here.")] = DEFAULTS.learning_rate_floor,
    warmup_steps: Annotated[
        int, typer.Option(help="Steps over which the learning rate rises.")
    ] = DEFAULTS.warmup_steps,
    weight_decay: Annotated[float, typer.Option(help="Of the networks' kernels.")] = DEFAULTS.weight_decay,
    ema_decay: Annotated[
        float,
        typer.Option(
            "--ema-decay",
            "--average-decay",
            help="Measure and save an exponential moving average of the weights, such as 0.999; 0 for none.",
        ),
    ] = DEFAULTS.ema_decay,
    clip_norm: Annotated[float, typer.Option(help="Longest gradient that is not shortened.")] = DEFAULTS.clip_norm,
    eval_every: Annotated[int, typer.Option(help="Epochs between validations.")] = DEFAULTS.eval_every,
    train_size: Annotated[int | None, typer.Option(help="Use the first N training images; all by default.")] = None,
    val_size: Annotated[int | None, typer.Option(help="Use the first N validation images; all by default.")] = None,
    conditional: Annotated[
        bool, typer.Option("--conditional", help="Learn the images given their labels: nf sample --label 7.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = DEFAULTS.seed,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take preset, settings and name from this config.json of a run, or of pretrained:NAME; other options "
            "win over it.",
            show_default=False,
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Of the run; made from preset and dataset by default.", show_default=False)
    ] = None,
    runs_dir: RunsDir = RUNS_DIR,
    data_dir: Annotated[
        Path | None,
        typer.Option("--data-dir", envvar="NF_DATA_DIR", help="Where TFDS keeps its data; its own default otherwise."),
    ] = None,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Try the whole path in about a minute: narrow networks, few images.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Delete a run of the same name first.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the effective configuration and write nothing.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events too; needs tensorboardX.")
    ] = False,
    checkpoint_minutes: Annotated[
        float, typer.Option(help="Minutes between checkpoints, besides those at validations.")
    ] = DEFAULTS.checkpoint_minutes,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop cleanly after this long, with exit code 0.", show_default=False)
    ] = None,
    devices: Devices = None,
    distributed: Distributed = False,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
    network_dtype: Annotated[
        str,
        typer.Option(
            help="Of the coupling networks in training: float32, bfloat16, or auto, which is bfloat16 on a CPU with "
            "matrix units. All else is float32.",
            autocompletion=complete_one_of(DTYPES),
        ),
    ] = DEFAULTS.network_dtype,
    remat: Annotated[
        bool, typer.Option("--remat", help="Less memory, more time: compute the networks again in the backward pass.")
    ] = False,
    accumulate: Annotated[
        int, typer.Option(help="Less memory: take a batch's gradient in so many slices, one after the other.")
    ] = DEFAULTS.accumulate,
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

        nf train vardeq --dataset photos/ --crop 128 --resize 32 --name photos --max-minutes 230

        nf train --config runs/vardeq/config.json --seed 43 --name vardeq-43

        srun nf train multiscale --distributed
    """
    console = Console(as_json=as_json, quiet=quiet, verbose=verbose)
    effective = _effective(context, config)
    cluster = cluster_of(distributed, coordinator, num_processes, process_id)
    runtime.prepare(effective.devices)
    if dry_run:
        _describe(effective, console)
        return
    with joined(cluster, console):
        _train(effective, console, tensorboard=tensorboard)


def _effective(context: typer.Context, file: Path | None) -> TrainConfig:
    """The preset's recipe, overridden by --smoke, that by the file, and that by what stands on the command line."""
    given = {
        name: value
        for name, value in context.params.items()
        # By name: Typer brings its own copy of the parser, whose types it does not show.
        if name in SETTINGS
        and getattr(context.get_parameter_source(name), "name", "") not in ("DEFAULT", "DEFAULT_MAP")
    }
    settings = {**({} if file is None else read_settings(_config_file(file))), **given}
    if settings.get("preset") is None:
        raise UsageError("missing argument 'PRESET'", hint="nf train --help")
    _refuse_pretrained(settings["preset"], settings.get("name"))
    return TrainConfig.of_preset(**settings)


def _config_file(named: Path) -> Path:
    """The file that --config names; `pretrained:NAME` stands for that of a run that ships."""
    name = str(named)
    return find_pretrained(name, RUNS_DIR).path / "config.json" if name.startswith(PREFIX) else named


def _refuse_pretrained(preset: str, name: str | None) -> None:
    """What ships is trained already, and a run of the user's must not share the folder of its pictures."""
    if preset.startswith(PREFIX):
        wanted = preset.removeprefix(PREFIX)
        raise UsageError(
            f"'{preset}' ships with nf and cannot be trained", hint=f"nf train {wanted} trains that preset anew"
        )
    if name is not None and (name.startswith(PREFIX) or name in map(folder_of, PRESETS)):
        raise UsageError(f"--name {name} is kept for what ships with nf", hint="give this run another name")


def _describe(config: TrainConfig, console: Console) -> None:
    from nfcli.training.precision import policy_in_words
    from nfcli.training.setup import prepare_job

    job = prepare_job(config, console.message)
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
    lines += [("networks", policy_in_words(job.policy))]
    lines += [("data", f"{described['data']['source']}, {len(job.train):,} train, {len(job.val):,} validation")]
    lines += [("shape", f"{' x '.join(map(str, job.model.shape))} (height x width x channels)")]
    console.result(content, _columns(lines))


def _train(config: TrainConfig, console: Console, *, tensorboard: bool) -> None:
    from nfcli.cli.progress import TrainingProgress
    from nfcli.process.collectives import is_first, together
    from nfcli.training.loop import train as run_training
    from nfcli.training.tensorboard import EventWriter

    with ExitStack() as stack:
        reporter: Reporter = stack.enter_context(TrainingProgress(console))
        with together():
            if tensorboard and is_first():
                reporter = stack.enter_context(EventWriter(reporter))
        result = run_training(config, reporter)
    best = "none yet" if result.best_val_bpd is None else f"{result.best_val_bpd:.4f} bpd at step {result.best_step:,}"
    lines: list[tuple[str, Any]] = [
        ("run", result.path),
        ("parameters", f"{result.parameters:,}"),
        ("epochs", f"{result.epochs} ({result.steps:,} steps)"),
        ("best validation", f"{best} (one noise draw)" if result.best_step is not None else best),
        ("speed", "none yet" if result.images_per_second is None else speed(result.images_per_second)),
        ("time", duration(result.seconds)),
    ]
    if not is_first():
        return
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
    from nfcli.drawing.learning_curves import draw_learning_curve

    try:
        drawn = draw_learning_curve(run)
    except (NFError, OSError) as error:  # the run itself is safe
        console.warning(f"no learning curve: {error}")
    else:
        console.detail(f"learning curve in {drawn}" if drawn else "no learning curve before the second epoch")


def _columns(lines: list[tuple[str, Any]]) -> str:
    from nfcli.data.files import shown

    width = max(len(label) for label, _ in lines) + 2
    return "\n".join(f"{label:<{width}}{shown(str(value))}" for label, value in lines)
