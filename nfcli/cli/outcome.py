"""What `nf train` says of a run before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nfcli.cli.console import Console, duration, speed
from nfcli.config import TrainConfig

if TYPE_CHECKING:
    from nfcli.training.reporter import TrainResult


def described(config: TrainConfig, console: Console) -> tuple[dict[str, Any], str]:
    """What --dry-run prints, for programs and for people."""
    from nfcli.training.setup import policy_in_words, prepare_job

    job = prepare_job(config, console.message, console.warning)
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
    nothing = {"train_size": "all", "val_size": "all"}
    lines += [(key.replace("_", "-"), nothing.get(key, "none") if value is None else value) for key, value in settings]
    lines += [("networks", policy_in_words(job.policy))]
    lines += [("data", f"{described['data']['source']}, {len(job.train):,} train, {len(job.val):,} validation")]
    lines += [("shape", f"{' x '.join(map(str, job.model.shape))} (height x width x channels)")]
    return content, _columns(lines)


def in_words(results: list[TrainResult]) -> str:
    """What became of one run, or of several, with the spread of their best validations."""
    if len(results) > 1:
        return _table(results)
    (result,) = results
    best = "none yet" if result.best_val_bpd is None else f"{result.best_val_bpd:.4f} bpd at step {result.best_step:,}"
    lines: list[tuple[str, Any]] = [
        ("run", result.path),
        ("parameters", f"{result.parameters:,}"),
        ("epochs", _done(result)),
        ("best validation", f"{best} (one noise draw)" if result.best_step is not None else best),
        ("speed", "none yet" if result.images_per_second is None else speed(result.images_per_second)),
        ("time", duration(result.seconds)),
    ]
    return _columns(lines)


def _table(results: list[TrainResult]) -> str:
    from statistics import mean, stdev

    from tabulate import tabulate

    rows = [
        [
            result.run,
            _done(result),
            "none yet" if result.best_val_bpd is None else f"{result.best_val_bpd:.4f} bpd",
            duration(result.seconds),
        ]
        for result in results
    ]
    table = str(tabulate(rows, ["run", "epochs", "best validation", "time"], disable_numparse=True))
    known = [result.best_val_bpd for result in results if result.best_val_bpd is not None]
    if len(known) < 2:
        return table
    spread = f"{mean(known):.4f} bpd, std over {len(known)} seeds {stdev(known):.4f}"
    return f"{table}\nbest validation, one noise draw: {spread}"


def _done(result: TrainResult) -> str:
    return f"{result.epochs} ({result.steps:,} step{'s' * (result.steps != 1)})"


def say_what_next(results: list[TrainResult], wanted: int, console: Console) -> None:
    """Tell how to go on."""
    several = "s" if wanted > 1 else ""
    if len(results) == wanted and all(result.finished for result in results):
        measures = "measures one of them" if several else "measures it"
        console.hint(f"nf eval {results[0].run} {measures} on the test images")
    else:
        console.hint(f"time is up and everything is saved; the same command continues the run{several}")


def _columns(lines: list[tuple[str, Any]]) -> str:
    from nfcli.data.reading import shown

    width = max(len(label) for label, _ in lines) + 2
    return "\n".join(f"{label:<{width}}{shown(str(value))}" for label, value in lines)
