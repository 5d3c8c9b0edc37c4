"""`nf train`."""

import math
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from nfcli.backend import runtime
from nfcli.cli.complete import complete_preset
from nfcli.cli.console import Console, TrainingProgress
from nfcli.cli.options import RUNS_DIR, argument
from nfcli.cli.outcome import described, in_words, say_what_next
from nfcli.config import TrainConfig, read_settings
from nfcli.errors import DivergedError, NFError, UsageError
from nfcli.limits import setting
from nfcli.presets import PRESETS
from nfcli.process.cluster import Cluster, joined
from nfcli.process.collectives import exchange, is_first, losses_are_errors, together
from nfcli.runs import RunDir
from nfcli.runs.pretrained import PREFIX, find_pretrained, folder_of, list_pretrained
from nfcli.training.reporter import Reporter, TrainResult


@dataclass(frozen=True)
class TrainOptions:
    """What `nf train` may be told besides the settings of a training."""

    seeds: str | None = setting(
        None, "Train one run after the other with these seeds, named NAME-seedN.", metavar="N,N,..."
    )
    config: Path | None = setting(
        None,
        "Take preset, settings and name from this config.json of a run, or of pretrained:NAME; other options win over "
        "it.",
        metavar="FILE",
    )
    dry_run: bool = setting(False, "Print the effective configuration and write nothing.")
    tensorboard: bool = setting(False, "Write TensorBoard events too; needs tensorboardX.")


def train(
    context: typer.Context,
    preset: Annotated[
        str | None,
        argument(
            "PRESET", "simple, vardeq, multiscale or mixture; or a .toml file that describes a model.", complete_preset
        ),
    ] = None,
    *,
    options: TrainOptions,
    cluster: Cluster,
    console: Console,
    **settings: Any,
) -> None:
    """Train a model; the same command again continues an unfinished run.

    A preset may bring settings of its own in place of the defaults below, as mixture does: --dry-run shows what holds.

    A run is a folder: runs/NAME/ with config.json, metrics.jsonl and checkpoints. Raising --epochs extends a finished
    run; any other changed setting is refused.

    Examples:

        nf train simple --smoke

        nf train multiscale --epochs 200

        nf train vardeq --dataset photos/ --crop 128 --resize 32 --name photos --max-minutes 230

        nf train mixture --init pretrained:mixture --dataset tfds:kmnist --epochs 20

        nf train --config runs/vardeq/config.json --seed 43 --name vardeq-43

        nf train my_flow.toml --seeds 1,2,3

        srun nf train multiscale --distributed
    """
    settings = {"preset": preset, **settings}
    # On the command line or in the environment; by name: Typer brings its own parser, whose types it does not show.
    sources = {name: getattr(context.get_parameter_source(name), "name", "") for name in settings}
    given = {name: settings[name] for name, source in sources.items() if source not in ("DEFAULT", "DEFAULT_MAP")}
    if options.config is not None and sources["dataset"] == "ENVIRONMENT":
        del given["dataset"]  # what the file says was meant for this training
    effective = _effective(given, options.config)
    if effective.schedule == "cosine" and "learning_rate_decay" in given:
        raise UsageError("--learning-rate-decay says nothing to --schedule cosine", hint="leave one of them out")
    configs, several = [effective], options.seeds is not None
    if options.seeds is not None:
        if "seed" in given:
            raise UsageError("--seed and --seeds exclude each other", hint="give one of them")
        configs = [replace(effective, seed=seed, name_suffix=f"-seed{seed}") for seed in _numbers(options.seeds)]
    runtime.prepare(effective.devices)
    if options.dry_run:
        contents, texts = zip(*(described(each, console) for each in configs), strict=True)
        console.result(contents if several else contents[0], "\n\n".join(texts))
        return
    with joined(cluster, console.message, console.mute):
        _train_all(configs, console, tensorboard=options.tensorboard, several=several)


def _numbers(text: str) -> list[int]:
    """What --seeds names."""
    words = text.split(",")
    if not all(word.strip().isdecimal() and len(word) < 20 for word in words) or len({*map(int, words)}) < len(words):
        raise UsageError(f"--seeds {text[:40]} is no list of different seeds", hint="for example --seeds 1,2,3")
    return [int(word) for word in words]


def _effective(given: dict[str, Any], file: Path | None) -> TrainConfig:
    """The preset's recipe, overridden by --smoke, that by the file, and that by what the user gives."""
    known: dict[str, Any] = {}
    if file is not None:
        shipped = str(file).startswith(PREFIX)  # its name stands for its file
        known = read_settings(find_pretrained(str(file), RUNS_DIR).path / "config.json" if shipped else file)
    if "preset" in given:
        known.pop("custom", None)
    settings = {**known, **given}
    preset = settings.get("preset")
    if preset is None:
        raise UsageError("missing argument 'PRESET'", hint="nf train --help")
    # What ships is trained already, and a run of the user's must not share the folder of its pictures.
    if preset.startswith(PREFIX):
        hint = f"nf train {preset.removeprefix(PREFIX)} trains that preset anew"
        raise UsageError(f"'{preset}' ships with nf and cannot be trained", hint=hint)
    name = settings.get("name") or Path(preset).stem
    kept = {*PRESETS, *(run.path.name for run in list_pretrained(RUNS_DIR))}
    if name.startswith(PREFIX) or name in map(folder_of, kept):
        raise UsageError(f"--name {name} is kept for what ships with nf", hint="give this run another name")
    return TrainConfig.of_preset(**settings)


@losses_are_errors()
def _train_all(configs: list[TrainConfig], console: Console, *, tensorboard: bool, several: bool) -> None:
    """Train one run after the other within --max-minutes; one that diverges does not keep the others from theirs."""
    results: list[TrainResult] = []
    diverged: list[DivergedError] = []
    end = time.monotonic() + 60 * (configs[0].max_minutes or math.inf)
    for config in configs:
        # No process may begin a run that another one has no time for.
        left = min(exchange((end - time.monotonic()) / 60))
        if (results or diverged) and left <= 0:
            break
        if several:
            console.message(f"seed {config.seed}:")
            config = replace(config, max_minutes=None if left == math.inf else max(left, 1e-9))
        try:
            results.append(_trained(config, console, tensorboard=tensorboard))
        except DivergedError as error:
            if not several:
                raise
            console.warning(f"seed {config.seed}: {error.message}")
            diverged.append(error)
    if is_first() and results:
        console.result(results if several else results[0], in_words(results))
        say_what_next(results, len(configs) - len(diverged), console)
    if diverged:
        raise NFError(f"training diverged with {len(diverged)} of {len(configs)} seeds", hint=diverged[-1].hint)


def _trained(config: TrainConfig, console: Console, *, tensorboard: bool) -> TrainResult:
    """One run, with its learning curve drawn."""
    from nfcli.training.loop import train as run_training
    from nfcli.training.tensorboard import EventWriter

    with ExitStack() as stack:
        reporter: Reporter = stack.enter_context(TrainingProgress(console))
        with together():
            if tensorboard and is_first():
                reporter = stack.enter_context(EventWriter(reporter))
        result = run_training(config, reporter)
    if is_first():
        _draw_curve(RunDir(Path(result.path)), console)
    return result


def _draw_curve(run: RunDir, console: Console) -> None:
    """Draw the learning curve, unless nothing was trained since it was drawn last."""
    curve, metrics = run.figures / "learning-curve.png", run.path / "metrics.jsonl"
    if curve.exists() and curve.stat().st_mtime_ns >= metrics.stat().st_mtime_ns:
        return
    from nfcli.drawing.learning_curves import draw_learning_curve

    try:
        drawn = draw_learning_curve(run)
        console.detail(f"learning curve in {drawn}" if drawn else "no learning curve before the second epoch")
    except (NFError, OSError) as error:  # the run itself is safe
        console.warning(f"no learning curve: {error}")
