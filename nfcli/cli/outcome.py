"""What `nf train` says of a run before and after."""

from typing import Any

from nfcli.cli.console import Console, duration, speed
from nfcli.config import TrainConfig
from nfcli.training.reporter import TrainResult


def described(config: TrainConfig, console: Console) -> tuple[dict[str, Any], str]:
    """What --dry-run prints, for programs and for people."""
    from nfcli.training.continuing import check_same
    from nfcli.training.setup import policy_in_words, prepare_job

    job = prepare_job(config, console.message, console.warning)
    if job.run.exists() and not config.overwrite:
        check_same(job, job.run.config())
    description, parameters, steps = job.description(), job.model.num_parameters, job.total_steps
    content = {"run": job.run.name, "path": str(job.run.path), "preset": config.preset, "parameters": parameters}
    nothing = {"train_size": "all", "val_size": "all"}
    settings = [
        (name.replace("_", "-"), nothing.get(name, "none") if value is None else value)
        for name, value in description["settings"].items()
    ]
    lines = [
        ("run", job.run.path),
        ("parameters", f"{parameters:,}"),
        ("steps", f"{steps:,}"),
        *settings,
        ("networks", policy_in_words(job.policy)),
        ("data", f"{description['data']['source']}, {len(job.train):,} train, {len(job.val):,} validation"),
        ("shape", f"{' x '.join(map(str, job.model.shape))} (height x width x channels)"),
    ]
    return {**content, "steps": steps, **description}, _columns(lines)


def in_words(results: list[TrainResult]) -> str:
    """What became of one run, or of several, with the spread of their best validations."""
    rows = [
        (
            result.run,
            f"{result.epochs} ({result.steps:,} step{'s' * (result.steps != 1)})",
            "none yet" if result.best_val_bpd is None else f"{result.best_val_bpd:.4f} bpd",
            duration(result.seconds),
        )
        for result in results
    ]
    if len(results) == 1:
        result, (_, epochs, best, time) = results[0], rows[0]
        at = "" if result.best_step is None else f" at step {result.best_step:,} (one noise draw)"
        lines = [
            ("run", result.path),
            ("parameters", f"{result.parameters:,}"),
            ("epochs", epochs),
            ("best validation", best + at),
            ("speed", "none yet" if result.images_per_second is None else speed(result.images_per_second)),
            ("time", time),
        ]
        return _columns(lines)
    from statistics import mean, stdev

    from tabulate import tabulate

    table = str(tabulate(rows, ["run", "epochs", "best validation", "time"], disable_numparse=True))
    known = [result.best_val_bpd for result in results if result.best_val_bpd is not None]
    if len(known) < 2:
        return table
    spread = f"{mean(known):.4f} bpd, std over {len(known)} seeds {stdev(known):.4f}"
    return f"{table}\nbest validation, one noise draw: {spread}"


def say_what_next(results: list[TrainResult], wanted: int, console: Console) -> None:
    """Tell how to go on."""
    several = "s" if wanted > 1 else ""
    if len(results) == wanted and all(result.finished for result in results):
        which = "one of them" if several else "it"
        console.hint(f"nf eval {results[0].run} --split test --limit 500 measures {which}, roughly")
    else:
        console.hint(f"time is up and everything is saved; the same command continues the run{several}")


def _columns(lines: list[tuple[str, Any]]) -> str:
    from nfcli.data.reading import shown

    width = max(len(label) for label, _ in lines) + 2
    return "\n".join(f"{label:<{width}}{shown(str(value))}" for label, value in lines)
