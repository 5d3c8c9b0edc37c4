"""`nf train`."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

from nfcli.backend import runtime
from nfcli.cli.complete import complete_preset
from nfcli.cli.console import Console, duration, speed
from nfcli.cli.options import RUNS_DIR
from nfcli.config import TrainConfig, read_settings
from nfcli.errors import NFError, UsageError
from nfcli.presets import PRESETS
from nfcli.process.cluster import Cluster, joined
from nfcli.runs import RunDir
from nfcli.runs.pretrained import PREFIX, find_pretrained, folder_of
from nfcli.training.reporter import Reporter


def train(
    context: typer.Context,
    preset: Annotated[
        str | None,
        typer.Argument(
            metavar="PRESET",
            help="simple, vardeq, multiscale or mixture; or a .toml file that describes a model.",
            autocompletion=complete_preset,
        ),
    ] = None,
    *,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Take preset, settings and name from this config.json of a run, or of pretrained:NAME; other options "
            "win over it.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the effective configuration and write nothing.")
    ] = False,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard events too; needs tensorboardX.")
    ] = False,
    cluster: Cluster,
    console: Console,
    **settings: Any,
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
    given = {"preset": preset, **settings}
    effective = _effective({name: value for name, value in given.items() if _is_given(context, name)}, config)
    runtime.prepare(effective.devices)
    if dry_run:
        _describe(effective, console)
        return
    with joined(cluster, console.message, console.mute):
        _train(effective, console, tensorboard=tensorboard)


def _is_given(context: typer.Context, name: str) -> bool:
    """Whether a parameter stands on the command line or in the environment."""
    # By name: Typer brings its own copy of the parser, whose types it does not show.
    return getattr(context.get_parameter_source(name), "name", "") not in ("DEFAULT", "DEFAULT_MAP")


def _effective(given: dict[str, Any], file: Path | None) -> TrainConfig:
    """The preset's recipe, overridden by --smoke, that by the file, and that by what the user gives."""
    known = {} if file is None else read_settings(_config_file(file))
    if "preset" in given:
        known.pop("custom", None)
    settings = {**known, **given}
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
    from nfcli.drawing.learning_curve import draw_learning_curve

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
