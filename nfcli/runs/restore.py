"""A trained model from its run directory."""

import os
import secrets
from dataclasses import dataclass
from typing import Any

from nfcli.config import TrainConfig
from nfcli.data import ImageDataset, Transform, label_number, listed, load_dataset
from nfcli.data.reading import shown
from nfcli.errors import REINSTALL, CheckpointError, DataError, NFError, RunError, Say, UsageError
from nfcli.flows import FlowModel, Parameters, build
from nfcli.presets import get_preset
from nfcli.presets.definition import define
from nfcli.runs import CheckpointMeta, Checkpoints, RunDir
from nfcli.runs.arrays import load_tree
from nfcli.versions import versions

NO_LABELS = "it needs a run trained with --conditional"


@dataclass(frozen=True)
class TrainedModel:
    """A model with the weights that did best on validation.

    Attributes:
        run: Where it comes from.
        config: The run's config.json.
        model: What was trained.
        parameters: The weights.
        checkpoint: Where training stood when they were saved.
    """

    run: RunDir
    config: dict[str, Any]
    model: FlowModel
    parameters: Parameters
    checkpoint: CheckpointMeta

    @property
    def transform(self) -> Transform:
        """What was done to the images that it was trained on.

        Raises:
            RunError: config.json says something impossible.
        """
        settings = self.config["settings"]
        try:
            return Transform.parse(settings.get("crop"), settings.get("resize"), self.model.levels)
        except (TypeError, AttributeError, UsageError) as error:
            raise RunError(f"run '{self.run.name}' has an impossible transform in its config.json: {error}") from error

    @property
    def label_names(self) -> list[str]:
        """A word for each label of a class-conditional model; empty where they are just numbers."""
        return list(self.config["data"]["label_names"])

    def label(self, said: str) -> int:
        """The number of a label that a user says.

        Raises:
            UsageError: The model does not know it.
        """
        number, classes = label_number(said, self.label_names), self.model.classes
        if number is None or number >= classes:
            known = f"it knows {listed(range(classes), self.label_names)}" if classes else NO_LABELS
            raise UsageError(f"run '{self.run.name}' knows no label {shown(said)}", hint=known)
        return number

    def dataset(self) -> ImageDataset:
        """The images that the run was trained on.

        Raises:
            DataError: They cannot be read, or are not the same any more.
            RunError: config.json names images or a transform that cannot be.
        """
        # `source` is the same place from any working directory; what the user typed may be found where the whole
        # project was moved. The fingerprint decides whether these are the images.
        source, typed = self.config["data"]["source"], self.config["settings"]["dataset"]
        if not os.path.lexists(source) and os.path.lexists(typed):
            source = typed
        try:
            dataset = load_dataset(source, self.transform)
            classes = dataset.classes() if self.model.classes else 0
        except UsageError as error:
            raise RunError(f"run '{self.run.name}' was trained on '{source}': {error.message}") from error
        # Runs of earlier versions do not say which labels.
        labels = classes, self.config["data"].get("labels", dataset.labels_fingerprint)
        for kind, then, now in (
            ("images", self.config["data"]["fingerprint"], dataset.fingerprint),
            ("labels", labels, (self.model.classes, dataset.labels_fingerprint)),
        ):
            if then != now:
                raise DataError(
                    f"{dataset.source} holds other {kind} than run '{self.run.name}' was trained on",
                    hint=f"bring the old {kind} back, or train a new run on these",
                )
        return dataset


def description(
    name: str, config: TrainConfig, model: FlowModel, dataset: ImageDataset, device: dict[str, Any]
) -> dict[str, Any]:
    """What config.json of a new run holds; `continued` lists versions and devices of later starts, where they changed.

    Args:
        name: Of the run.
        config: What it is told.
        model: What is trained.
        dataset: On what.
        device: All that may change when the run is continued, and then changes rounding.
    """
    # They can be drawn, and mean nothing, where labels begin at 1, for example.
    used = dataset.train.first(config.train_size).labels
    unused = sorted({*range(model.classes)}.difference([] if used is None else used.tolist()))
    labels = {"labels": dataset.labels_fingerprint, "unused_labels": unused, "label_names": list(dataset.label_names)}
    return {
        "run": name,
        # Tells a run from one that replaced it under the same name and with the same settings.
        "id": secrets.token_hex(8),
        "settings": config.settings(),
        "model": {
            "preset": config.preset,
            "smoke": config.smoke,
            "shape": list(model.shape),
            "levels": model.levels,
            "alpha": model.alpha,
            "classes": model.classes,
            "parameters": model.num_parameters,
            # A run must not need the file of a preset of the user's any more.
            **({} if config.custom is None else {"definition": define(config.custom)}),
        },
        "data": {
            "name": dataset.name,
            "source": dataset.source,
            "fingerprint": dataset.fingerprint,
            **(labels if model.classes else {}),
            "train_images": len(dataset.train.first(config.train_size)),
            "val_images": len(dataset.val.first(config.val_size)),
            "test_images": len(dataset.test),
        },
        "versions": versions(),
        "device": device,
        "continued": [],
    }


def restore(run: RunDir, warn: Say = lambda _: None) -> TrainedModel:
    """Load the best checkpoint of a run.

    Raises:
        RunError: config.json is missing or damaged.
        CheckpointError: There is no whole checkpoint.
    """
    config = run.config()
    described = config["model"]
    try:
        preset = get_preset(described["preset"], smoke=described["smoke"], definition=described.get("definition"))
        numbers = {name: described[name] for name in ("levels", "alpha", "classes")}
        model = build(preset, tuple(described["shape"]), **numbers)
        if model.num_parameters != described["parameters"]:
            raise ValueError(f"it says {described['parameters']} parameters, the preset has {model.num_parameters}")
    except (TypeError, ValueError, OverflowError, MemoryError, NFError) as error:
        raise RunError(
            f"run file {run.path / 'config.json'} does not describe a model: {error}",
            hint="it was changed by hand, or written by another version of nf",
        ) from error
    try:
        meta, parameters = _load_best(run, model, warn)
    except CheckpointError as error:
        if run.pretrained:
            raise CheckpointError(error.message, hint=REINSTALL) from error
        raise
    return TrainedModel(run, config, model, parameters, meta)


def _load_best(run: RunDir, model: FlowModel, warn: Say) -> tuple[CheckpointMeta, Parameters]:
    """The best checkpoint; again when training replaced it between finding and reading it."""
    while True:
        said: list[str] = []
        checkpoints = Checkpoints(run.checkpoints, said.append)
        before = checkpoints.steps()
        try:
            meta, path = checkpoints.best()
            parameters = load_tree(path / "parameters", model.parameter_shapes())
        except CheckpointError:
            if checkpoints.steps() != before:
                continue
            _tell(said, warn)
            raise
        if meta.step == meta.best_step or checkpoints.steps() == before:
            _tell(said, warn)
            return meta, parameters


def _tell(said: list[str], warn: Say) -> None:
    for text in said:
        warn(text)
