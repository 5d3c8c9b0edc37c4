"""Entering a run directory: a new one is made; an old one is continued if it is the same run."""

import time
from contextlib import suppress
from typing import Any

from nfcli.config import with_defaults
from nfcli.errors import RunError, Say, UsageError
from nfcli.files import remove_tree
from nfcli.process.collectives import from_first, together
from nfcli.runs import Checkpoints, RunDir
from nfcli.training.initial import is_same_model
from nfcli.training.setup import Job, began_with_onednn

SEEN_SECONDS = 10
"""A network file system may show so late what another machine wrote."""


def enter_run(job: Job, message: Say) -> bool:
    """Make the run directory, or check that the one there is the same run. Call with the lock held.

    Returns:
        Whether there is something to continue.

    Raises:
        UsageError: The run there has other settings.
        RunError: The run there is damaged, or lacks its config.json.
    """
    steps = Checkpoints(job.run.checkpoints).steps()
    if steps and not job.run.exists() and not job.config.overwrite:
        raise RunError(
            f"{job.run.path} has checkpoints and no config.json, so they cannot be continued",
            hint="bring that file back, give this run another --name, or replace what is there with --overwrite",
        )
    if job.config.overwrite and (steps or job.run.exists()):
        message(f"deleting the earlier run {job.run.path}")
        for name in ("checkpoints", "figures", "per-image", "tensorboard"):
            remove_tree(job.run.path / name)
        for name in ("results.json", "metrics.jsonl", "config.json"):
            (job.run.path / name).unlink(missing_ok=True)
    job.run.sweep()
    if not job.run.exists():
        job.run.write_config(job.description())
        return False
    known = job.run.config()
    check_same(job, known)
    now = {**known, "settings": {**known["settings"], "epochs": job.config.epochs}}
    if now != known:
        job.run.write_config(now)
    return True


def check_same(job: Job, known: dict[str, Any]) -> None:
    """Raise `UsageError` for what cannot be continued with these settings and images."""
    config, settings, run = job.config, job.config.settings(), f"run '{job.run.name}'"
    # The images are compared below: there are many names for one place.
    before = {**with_defaults(known["settings"]), "dataset": settings["dataset"]}
    changed = [name for name in settings if name != "epochs" and settings[name] != before.get(name)]
    hint = "give this one another --name, or replace the earlier run with --overwrite"
    again = f"nf train --config {job.run.path / 'config.json'} continues it; else {hint}"
    if "converted" in known:
        raise UsageError(
            f"{run} was made from a checkpoint without what training needs, and cannot be continued",
            hint=f"nf train {config.preset} --init {job.run.name} --name ANOTHER starts from its weights",
        )
    if changed:
        text = ", ".join(_change(name, before.get(name), settings[name]) for name in changed)
        raise UsageError(f"{run} was started with other settings: {text}", hint=again)
    if not is_same_model(known["model"].get("definition"), config.custom):
        raise UsageError(f"{run} was started with another model than preset '{config.preset}' is now", hint=hint)
    if known["data"]["fingerprint"] != job.dataset.fingerprint:
        raise UsageError(f"{run} was started on other images than {job.dataset.source} now holds", hint=hint)
    labels = job.dataset.labels_fingerprint
    if known["model"]["classes"] != job.model.classes or known["data"].get("labels", labels) != labels:
        raise UsageError(f"{run} was started with other labels than {job.dataset.source} now holds", hint=hint)
    if config.schedule == "cosine" and config.epochs != before["epochs"]:
        raise UsageError(
            f"the learning rate of {run} falls along a cosine over --epochs {before['epochs']}",
            hint="such a run cannot be extended: give this one another --name, or replace it with --overwrite",
        )
    if config.epochs < before["epochs"]:
        raise UsageError(f"{run} was started with --epochs {before['epochs']}, and {config.epochs} is fewer", hint=hint)


def _change(name: str, before: Any, now: Any) -> str:
    words = {repr(None): "none", repr(True): "on", repr(False): "off"}
    option = name if name == "preset" else f"--{name.replace('_', '-')}"
    return f"{option} {words.get(repr(before), before)} became {words.get(repr(now), now)}"


def check_shared(run: RunDir) -> None:
    """See that all processes have the run directory that the first one entered.

    Raises:
        UsageError: One of them has not.
    """
    identity = from_first(lambda: run.config()["id"])
    with together():
        end = time.monotonic() + SEEN_SECONDS
        while True:
            with suppress(RunError):
                if run.config()["id"] == identity:
                    return
            if time.monotonic() > end:
                raise UsageError(
                    f"{run.path} is not the folder that the first process writes",
                    hint="all processes need the same --runs-dir, on a file system that they share",
                )
            time.sleep(0.2)


def note_where(job: Job, message: Say) -> None:
    """Write down versions and devices that differ from those that trained the run last, and say so."""
    known, description = job.run.config(), job.description()
    here = {part: description[part] for part in ("versions", "device")}
    before = [known, *known["continued"]][-1]
    changed = []
    for part, values in here.items():
        # What runs of earlier versions do not say.
        earlier = {**dict.fromkeys(values, "unknown"), "processes": 1, **before[part]}
        earlier["onednn"] = began_with_onednn(before[part])
        changed += [f"{name} {earlier[name]} became {values[name]}" for name in values if earlier[name] != values[name]]
    if changed:
        where = ", ".join(changed)
        message(f"continuing elsewhere ({where}): the result will equal an undisturbed run only within rounding")
        job.run.write_config({**known, "continued": [*known["continued"], here]})
