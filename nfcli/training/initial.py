"""Weights to start from: those of another run of the same model, be it on other images (`nf train --init`).

A model that knows labels can start from one that does not, and says the same of all of them then.
"""

from typing import Any

import jax
import numpy as np

from nfcli.config import TrainConfig
from nfcli.errors import RunError, Say, UsageError
from nfcli.flows import Parameters
from nfcli.presets import Preset, get_preset
from nfcli.runs import RunDir, find_run, run_named
from nfcli.runs.pretrained import PREFIX
from nfcli.runs.restore import TrainedModel, restore

HINTS = {
    "preset": "train the preset of that run, or start from a run of this preset",
    "smoke": "both or none of them must be trained with --smoke",
    "shape": "--crop and --resize give images of another shape",
    "levels": "--levels must be the same",
    "classes": "train this one with --conditional too, on as many labels",
    "alpha": "it was trained by another version of nf",
    "parameters": "it was trained by another version of nf",
    "definition": "train the preset of that run, or start from a run of this preset",
}
"""What of a model must be the same, as config.json calls it, and what to do where it is not."""


def settled_init(config: TrainConfig, name: str, begun: dict[str, Any] | None) -> str | None:
    """The name of the run to start from, as config.json writes it.

    Args:
        config: What the user said.
        name: Of the run that starts.
        begun: The settings of a run that is continued, which has settled it.

    Raises:
        UsageError: It is no name, or that of the run itself.
    """
    if config.init is None:
        return (begun or {}).get("init")
    source = config.init if config.init.startswith(PREFIX) else run_named(config.init, config.runs_dir).name
    if source == name:
        raise UsageError(f"run '{name}' cannot start from its own weights", hint="give this one another --name")
    return source


def take_weights(
    config: TrainConfig, model: dict[str, Any], warn: Say, begun: RunDir | None = None
) -> TrainedModel | None:
    """Load the weights that did best on validation, of the run that the configuration names; None if it names none.

    Args:
        config: Whose `init` is settled.
        model: What config.json says of the model that is to start from them.
        warn: Called with a sentence for a checkpoint that is passed over.
        begun: A run that begins once more, as it saved nothing or diverged at once: it gets what it got, or nothing.

    Raises:
        UsageError: They are those of another model.
        InputError: The run or its checkpoint is missing or damaged.
    """
    if config.init is None:
        return None
    run = find_run(config.init, config.runs_dir)
    theirs = run.config()["model"]
    may_differ = {"classes", "parameters"} if model["classes"] > theirs["classes"] == 0 else set()
    if "definition" in theirs and is_same_model(theirs["definition"], config.custom):
        may_differ |= {"preset", "definition"}  # its name is that of a file
    for what, hint in HINTS.items():
        there, here = theirs.get(what), model.get(what)
        if there != here and what not in may_differ:
            why = f"{what} {_text(there)} there, {_text(here)} here"
            if what == "definition":
                why = "its preset file described another model"
            raise UsageError(f"cannot start from the weights of '{config.init}': {why}", hint=hint)
    source = restore(run, warn)
    if begun is not None and begun.config().get("init") != taken(source):
        raise RunError(
            f"run '{begun.name}' began from weights of '{config.init}' that are no longer there",
            hint="start it again with --overwrite",
        )
    return source


def is_same_model(definition: dict[str, Any] | None, preset: Preset | None) -> bool:
    """Whether a run's preset file, None of a preset that ships, describes this model; recipes do not count."""
    if definition is None or preset is None:
        return definition is None and preset is None
    before = get_preset(preset.name, definition=definition)
    return (before.layers, before.dequantization) == (preset.layers, preset.dequantization)


def fitted(weights: Parameters, fresh: Parameters) -> Parameters:
    """Weights in arrays of the shapes of `fresh`, which has more inputs where its networks see labels.

    Planes of labels are the last inputs of a convolution (`nfcli.flows.labels`), and count for nothing yet.
    """

    def widen(array: Any, wanted: Any) -> np.ndarray:
        return np.pad(array, [(0, more - there) for there, more in zip(array.shape, wanted.shape, strict=True)])

    return jax.tree.map(widen, weights, fresh)


def _text(value: Any) -> str:
    return "x".join(map(str, value)) if isinstance(value, list) else str(value)


def taken(source: TrainedModel) -> dict[str, Any]:
    """What config.json says of weights that were taken."""
    data = {name: source.config["data"][name] for name in ("name", "fingerprint")}
    return {"run": source.run.name, "id": source.config["id"], "step": source.checkpoint.step, "data": data}
