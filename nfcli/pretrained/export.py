"""`export(run)`: a trained and measured run becomes one that ships with the package."""

import re
import shutil
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nfcli.errors import CheckpointError, RunError, UsageError
from nfcli.files import STAGING, remove_tree, write_error
from nfcli.runs import CheckpointMeta, Checkpoints, RunDir, find_run
from nfcli.runs.directory import CURVES
from nfcli.runs.per_image import keep_per_image, load_per_image
from nfcli.runs.pretrained import MOST_BYTES, pretrained_dir
from nfcli.runs.restore import TrainedModel, restore
from nfcli.runs.results import Evaluation, load_results, record

IMPORTANCE_SAMPLES = 8
"""K of the measurement that a run must have, and that is compared by default."""

SHORTEST = 4
"""A name of fewer letters could be in a file by chance."""

ABSOLUTE = re.compile(rb'(?:^|(?<=["\s]))(?:/|\\\\|[A-Za-z]:[\\/])[^"\s]*')
"""A path, of Unix or of Windows, at the start of a text of JSON or of a word."""


def export(
    run: str,
    runs_dir: Path,
    *,
    to: Path | None = None,
    hardware: str | None = None,
    other_data: bool = False,
    smoke: bool = False,
) -> Path:
    """Write the folder that ships, in the place of an old one: PRESET, or PRESET-conditional where it knows labels.

    Args:
        run: Name of the run.
        runs_dir: Where runs live.
        to: The folder of what ships; None for the package's own.
        hardware: What the run was trained on, in words; None for what its config.json says.
        other_data: Accept other images than the MNIST that ships too.
        smoke: Accept the narrow twin of a preset.

    Returns:
        The folder.

    Raises:
        UsageError: The run is none that should ship.
        InputError: It is missing or damaged, or not measured as it must be.
        WriteError: The folder cannot be written.
    """
    source, target = find_run(run, runs_dir), to or pretrained_dir()
    if source.pretrained:
        raise UsageError(f"'{source.name}' ships already", hint="name a run of your own")
    model = source.config()["model"]
    final = target / f"{model['preset']}{'-conditional' if model['classes'] else ''}"
    staging = target / f"{STAGING}{final.name}"
    staged = RunDir(staging / final.name)
    try:
        with source.lock():
            remove_tree(staging)
            trained = restore(source, _refuse_damage)
            _check_ships(trained, other_data, smoke)
            _write(staged, trained, hardware)
        check_portable(staged.path, [source.path.parent.absolute(), target.absolute(), Path.home()])
        together = size_of_all(target) - size_of(final) + size_of(staged.path)
        if together > MOST_BYTES:
            raise UsageError(
                f"with this, what ships would take {together / 1e6:.1f} MB, and may take {MOST_BYTES / 1e6:.0f} MB",
                hint=f"delete a folder of {target} first",
            )
        remove_tree(final)
        staged.path.rename(final)
    except OSError as error:
        raise write_error(final, error) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return final


def _check_ships(trained: TrainedModel, other_data: bool, smoke: bool) -> None:
    source = trained.config["data"]["source"]
    if trained.config["model"]["smoke"] and not smoke:
        raise UsageError(f"run '{trained.run.name}' is a narrow twin of its preset (--smoke), not the model")
    if source != "mnist" and not other_data:
        raise UsageError(
            f"run '{trained.run.name}' was trained on {source}, which does not ship with nf",
            hint="--other-data accepts it",
        )


def _write(staged: RunDir, trained: TrainedModel, hardware: str | None) -> None:
    run, evaluations = trained.run, _evaluations(trained)
    latest, _ = Checkpoints(run.checkpoints, _refuse_damage).latest() or (trained.checkpoint, None)
    data, settings = trained.config["data"], trained.config["settings"]
    content = {
        **trained.config,
        "run": staged.name,
        # The same anywhere, as only what was typed is.
        "data": {**data, "source": "mnist" if data["source"] == "mnist" else settings["dataset"]},
        "training": _training(trained.config, latest, hardware),
    }
    staged.path.mkdir(parents=True)
    staged.write_config(content)
    staged.write_metrics(run.metrics(CURVES))
    for evaluation in evaluations:
        if evaluation.split == "test":  # what paired comparisons look at
            keep_per_image(staged, evaluation, load_per_image(run, evaluation))
    record(staged, content, evaluations, load_results(run).timing)
    (staged.path / ".results.lock").unlink()
    checkpoints = Checkpoints(staged.checkpoints)
    checkpoints.save({"parameters": trained.parameters}, trained.checkpoint)
    # Orbax notes where it wrote to; that the note is there is all that it reads of it.
    for note in staged.checkpoints.rglob("commit_success.txt"):
        note.write_text("written\n", encoding="utf-8")
    checkpoints.seal(trained.checkpoint.step)
    again = restore(staged, _refuse_damage).parameters
    if not jax.tree.all(jax.tree.map(np.array_equal, again, trained.parameters)):
        raise CheckpointError(f"the weights in {staged.path} are not those of run '{run.name}'")


def _refuse_damage(what: str) -> None:
    raise CheckpointError(what, hint="only a run whose checkpoints are whole can ship")


def _training(content: dict[str, Any], latest: CheckpointMeta, hardware: str | None) -> dict[str, Any]:
    """What the training took, see `nfcli.runs.pretrained.TRAINING`."""
    devices = [entry["device"] for entry in (content, *content["continued"])]
    copied = ("best_step", "best_val_bpd", "best_val_stderr", "seconds", "train_seconds", "train_images")
    return {
        "hardware": hardware or ", then ".join(dict.fromkeys(map(_in_words, devices))),
        "epochs": latest.step / latest.steps_per_epoch,
        "steps": latest.step,
        **{name: getattr(latest, name) for name in copied},
    }


def _in_words(device: dict[str, Any]) -> str:
    count, kind = device.get("count", 1), device.get("kind", "an unknown device")
    if device.get("platform") == "cpu":
        return f"{count} CPU core{'s' if count > 1 else ''}"
    return f"{count} x {kind}" if count > 1 else str(kind)


def _evaluations(trained: TrainedModel) -> list[Evaluation]:
    """Measurements of whole splits with the weights that ship; those that `nf compare` shows by default come last."""
    # Of the data, not of config.json: training may have validated on the first few.
    data, step, name = trained.dataset(), trained.checkpoint.step, trained.run.name
    whole = [
        entry
        for entry in load_results(trained.run).evaluations
        if entry.checkpoint_step == step and entry.images == len(data.split(entry.split))
    ]
    if not any((entry.split, entry.importance_samples) == ("test", IMPORTANCE_SAMPLES) for entry in whole):
        raise RunError(
            f"run '{name}' has no measurement of all its test images with K = {IMPORTANCE_SAMPLES} and the "
            f"best weights, those of step {step}",
            hint=f"nf eval {name} -k {IMPORTANCE_SAMPLES}",
        )
    return sorted(whole, key=lambda entry: entry.importance_samples == IMPORTANCE_SAMPLES)


def check_portable(folder: Path, places: Iterable[Path]) -> None:
    """See that what ships says nothing of the machine that it comes from.

    Args:
        folder: What should ship; no JSON and no text in it may hold an absolute path.
        places: Folders that no file may name, nor this machine.

    Raises:
        RunError: Something of the kind is there.
    """
    names = [*map(str, places), socket.gethostname()]
    words = b"|".join(re.escape(name.encode()) for name in names if len(name) >= SHORTEST)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        data = path.read_bytes()
        found = re.search(rb"(?<!\w)(?:" + words + rb")(?!\w)", data) if words else None
        if found is None and path.suffix in (".json", ".jsonl", ".txt"):
            found = ABSOLUTE.search(data)
        if found is not None:
            text = found[0].decode(errors="replace")
            raise RunError(f"{path.relative_to(folder)} names '{text}', which means something on this machine alone")


def size_of_all(target: Path) -> int:
    """Bytes of all runs in a folder of what ships."""
    return sum(size_of(config.parent) for config in target.glob("[!.]*/config.json"))


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
