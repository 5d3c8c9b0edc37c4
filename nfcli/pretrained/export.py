"""`export(config)`: a trained and measured run becomes one that ships with the package."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nfcli.errors import CheckpointError, RunError, UsageError
from nfcli.files import STAGING, remove_tree, write_error
from nfcli.pretrained.portable import check_portable
from nfcli.runs import CheckpointMeta, Checkpoints, RunDir, find_run
from nfcli.runs.directory import CURVES
from nfcli.runs.per_image import keep_per_image, load_per_image
from nfcli.runs.pretrained import MOST_BYTES, pretrained_dir
from nfcli.runs.restore import TrainedModel, restore
from nfcli.runs.results import Evaluation, load_evaluations, load_timing, record


@dataclass(frozen=True)
class ExportConfig:
    """What to export, and where to.

    Attributes:
        run: Name of the run.
        runs_dir: Where runs live.
        target: The folder of what ships; None for the package's own.
        hardware: What the run was trained on, in words; None for what its config.json says.
        importance_samples: K of the measurement that a run must have, and that is compared by default.
        other_data: Accept other images than the MNIST that ships too.
        smoke: Accept the narrow twin of a preset.
    """

    run: str
    runs_dir: Path = Path("runs")
    target: Path | None = None
    hardware: str | None = None
    importance_samples: int = 8
    other_data: bool = False
    smoke: bool = False


@dataclass(frozen=True)
class ExportResult:
    """What was written, and how many bytes it takes and all that ships."""

    name: str
    path: str
    bytes: int
    bytes_of_all: int


def export(config: ExportConfig) -> ExportResult:
    """Write the folder that ships; one of the same preset is replaced.

    Raises:
        UsageError: The run is none that should ship.
        InputError: It is missing or damaged, or not measured as it must be.
        WriteError: The folder cannot be written.
    """
    run, target = find_run(config.run, config.runs_dir), config.target or pretrained_dir()
    if run.pretrained:
        raise UsageError(f"'{run.name}' ships already", hint="name a run of your own")
    final = target / run.config()["model"]["preset"]
    staged = RunDir(target / f"{STAGING}{final.name}")
    try:
        with run.lock():
            remove_tree(staged.path)
            _write(staged, final.name, restore(run, _refuse_damage), config)
        check_portable(staged.path, [run.path.parent.absolute(), target.absolute(), Path.home()])
        _check_size(staged.path, final)
        remove_tree(final)
        staged.path.rename(final)
    except OSError as error:
        raise write_error(final, error) from error
    finally:
        shutil.rmtree(staged.path, ignore_errors=True)
    return ExportResult(final.name, str(final), _size(final), _size_of_all(target))


def _write(staged: RunDir, name: str, trained: TrainedModel, config: ExportConfig) -> None:
    run = trained.run
    evaluations = _evaluations(trained, config.importance_samples)
    content = _config(trained, name, config)
    staged.path.mkdir(parents=True)
    staged.write_config(content)
    staged.write_metrics(run.metrics(CURVES))
    for evaluation in evaluations:
        if evaluation.split == "test":  # what paired comparisons look at
            keep_per_image(staged, evaluation, load_per_image(run, evaluation))
    record(staged, content, evaluations, load_timing(run))
    (staged.path / ".results.lock").unlink()
    staged.write_results({**(staged.results() or {}), "run": name})  # not the name of the folder it is made in
    _write_weights(staged, trained)
    again = restore(staged, _refuse_damage).parameters
    if not jax.tree.all(jax.tree.map(np.array_equal, again, trained.parameters)):
        raise CheckpointError(f"the weights in {staged.path} are not those of run '{run.name}'")


def _write_weights(staged: RunDir, trained: TrainedModel) -> None:
    checkpoints = Checkpoints(staged.checkpoints)
    checkpoints.save({"parameters": trained.parameters}, trained.checkpoint)
    # Orbax notes where it wrote to; that the note is there is all that it reads of it.
    for note in staged.checkpoints.rglob("commit_success.txt"):
        note.write_text("written\n", encoding="utf-8")
    checkpoints.seal(trained.checkpoint.step)


def _refuse_damage(what: str) -> None:
    raise CheckpointError(what, hint="only a run whose checkpoints are whole can ship")


def _config(trained: TrainedModel, name: str, config: ExportConfig) -> dict[str, Any]:
    """config.json as it ships: the same anywhere, and with what the training took."""
    content, run = trained.config, trained.run
    settings, data = content["settings"], content["data"]
    if content["model"]["smoke"] and not config.smoke:
        raise UsageError(f"run '{run.name}' is a narrow twin of its preset (--smoke), not the model")
    source = data["source"]
    if source != "mnist":
        if not config.other_data:
            raise UsageError(
                f"run '{run.name}' was trained on {source}, which does not ship with nf", hint="--other-data accepts it"
            )
        source = settings["dataset"]
    found = Checkpoints(run.checkpoints, _refuse_damage).latest()
    latest = trained.checkpoint if found is None else found[0]
    return {
        **content,
        "run": name,
        "data": {**data, "source": source},
        "training": _training(content, latest, config.hardware),
    }


def _training(content: dict[str, Any], latest: CheckpointMeta, hardware: str | None) -> dict[str, Any]:
    devices = [entry["device"] for entry in (content, *content["continued"])]
    return {
        "hardware": hardware or ", then ".join(dict.fromkeys(map(_in_words, devices))),
        "epochs": latest.step / latest.steps_per_epoch,
        "steps": latest.step,
        "best_step": latest.best_step,
        "best_val_bpd": latest.best_val_bpd,
        "best_val_stderr": latest.best_val_stderr,
        "seconds": latest.seconds,
        "train_seconds": latest.train_seconds,
        "train_images": latest.train_images,
    }


def _in_words(device: dict[str, Any]) -> str:
    count, kind = device.get("count", 1), device.get("kind", "an unknown device")
    if device.get("platform") == "cpu":
        return f"{count} CPU core{'s' if count > 1 else ''}"
    return f"{count} x {kind}" if count > 1 else str(kind)


def _evaluations(trained: TrainedModel, importance_samples: int) -> list[Evaluation]:
    """Measurements of whole splits with the weights that ship; those that `nf compare` shows by default come last."""
    data, step = trained.config["data"], trained.checkpoint.step
    whole = [
        evaluation
        for evaluation in load_evaluations(trained.run)
        if evaluation.checkpoint_step == step and evaluation.images == data.get(f"{evaluation.split}_images")
    ]
    asked = {(evaluation.split, evaluation.importance_samples) for evaluation in whole}
    if ("test", importance_samples) not in asked:
        raise RunError(
            f"run '{trained.run.name}' has no measurement of all its test images with K = {importance_samples} and the "
            f"best weights, those of step {step}",
            hint=f"nf eval {trained.run.name} -k {importance_samples}",
        )
    return sorted(whole, key=lambda evaluation: evaluation.importance_samples == importance_samples)


def _check_size(staged: Path, final: Path) -> None:
    target = final.parent
    together = _size_of_all(target) - _size(final) + _size(staged)
    if together > MOST_BYTES:
        raise UsageError(
            f"with this, what ships would take {together / 1e6:.1f} MB, and may take {MOST_BYTES / 1e6:.0f} MB",
            hint=f"delete a folder of {target} first",
        )


def _size_of_all(target: Path) -> int:
    return sum(_size(config.parent) for config in target.glob("[!.]*/config.json"))


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
