"""What a training run is told, as one dataclass. No jax here."""

import dataclasses
import os
from dataclasses import dataclass
from inspect import formatannotation
from pathlib import Path
from typing import Any

from nfcli.errors import UsageError
from nfcli.files import read_json
from nfcli.limits import BELOW_ONE, POSITIVE, SEED, SHARE, check_settings, fits, number, setting, settings_of, whole
from nfcli.presets import PRESETS, Preset, get_preset

SMOKE = {"epochs": 2, "batch_size": 32, "eval_every": 1, "train_size": 2560, "val_size": 256}
"""Settings of --smoke, wherever the user said nothing else."""

SMOKE_FITS = {"train_size", "val_size", "batch_size", "warmup_steps"}
"""Of its settings and the preset's, those that give way to data of fewer images, where the user did not choose them."""

SMOKE_WARM_UP = 0.2
"""Share of an epoch that a warm-up takes at most then."""

OPTIMIZERS, SCHEDULES, DTYPES = ("adam", "muon"), ("exponential", "cosine"), ("auto", "float32", "bfloat16")

RECIPE = (
    *("epochs", "batch_size", "optimizer", "learning_rate", "schedule", "learning_rate_decay", "learning_rate_floor"),
    *("warmup_steps", "weight_decay", "ema_decay", "clip_norm", "eval_every", "network_dtype", "remat", "accumulate"),
)
"""Settings that a preset may bring along: how it wants to be trained."""

RENAMED = {"average_decay": "ema_decay"}
"""Settings that config.json of earlier runs has under another name."""

ANY_PROGRAM: dict[str, Any] = {"decides_program": False}
"""Of settings that the compiled training step does not depend on."""

OPERATIONAL: dict[str, Any] = {**ANY_PROGRAM, "operational": True}
"""Of settings that have no part in the result."""

OWN: dict[str, Any] = {**OPERATIONAL, "local": True}
"""Of those that are each process's own."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that a training is told: the reference recipe by default.

    Each setting is declared here and nowhere else; `Setting` says what is declared. The options of `nf train` are made
    from this, in this order.
    """

    preset: str
    dataset: str = setting(
        "mnist",
        "mnist; tfds:NAME; a folder of IDX, PNG or JPEG files, or that TFDS prepared; or an .npz file.",
        # The images may lie elsewhere on another machine; their fingerprint says whether they are the same.
        local=True,
        envvar="NF_DATASET",
        **ANY_PROGRAM,
    )
    crop: str | None = setting(None, "Cut the middle out of every image first.", metavar="HxW")
    resize: str | None = setting(None, "Rescale every image, after --crop.", metavar="HxW")
    levels: int = setting(256, "Number of values of a pixel, 2 to 256: 32 trains on 5-bit images.")
    epochs: int = setting(200, "Passes over the training images.", whole(), **ANY_PROGRAM)
    batch_size: int = setting(128, "Images a step.", whole())
    optimizer: str = setting(
        "adam", "adam, or muon: for kernels of 16 rows and columns or more; the rest by Adam.", choices=OPTIMIZERS
    )
    learning_rate: float = setting(1e-3, "Of the optimizer, at the start or after the warm-up.", POSITIVE)
    schedule: str = setting("exponential", "exponential, or cosine: half a wave over all epochs.", choices=SCHEDULES)
    learning_rate_decay: float = setting(0.99, "Factor an epoch, applied at every step; of exponential.", SHARE)
    learning_rate_floor: float = setting(1e-5, "The decay ends here.", POSITIVE)
    warmup_steps: int = setting(0, "Steps over which the learning rate rises.", whole(0))
    # Decoupled from the gradient; times the learning rate at every step.
    weight_decay: float = setting(0.0, "Of the networks' kernels.", BELOW_ONE)
    ema_decay: float = setting(
        0.0,
        "Measure and save an exponential moving average of the weights, such as 0.999; 0 for none.",
        BELOW_ONE,
        names=("--ema-decay", "--average-decay"),
    )
    # In bits per dimension.
    clip_norm: float = setting(1.0, "Longest gradient that is not shortened.", POSITIVE)
    eval_every: int = setting(5, "Epochs between validations.", whole(), **ANY_PROGRAM)
    train_size: int | None = setting(None, "Use the first N training images; all by default.", whole(), **ANY_PROGRAM)
    val_size: int | None = setting(None, "Use the first N validation images; all by default.", whole(), **ANY_PROGRAM)
    init: str | None = setting(
        None,
        "Start from the weights of this run of the same model, or of pretrained:NAME; with --conditional, also of one "
        "that knows no labels.",
        metavar="RUN",
        **ANY_PROGRAM,
    )
    conditional: bool = setting(False, "Learn the images given their labels: nf sample --label 7.")
    seed: int = setting(42, "Of everything random.", SEED, **ANY_PROGRAM)
    name: str | None = setting(None, "Of the run; made from preset and dataset by default.", **OWN)
    runs_dir: Path = setting(Path("runs"), "Where run directories live.", envvar="NF_RUNS_DIR", **OWN)
    data_dir: Path | None = setting(
        None, "Where TFDS keeps its data; its own default otherwise.", envvar="NF_DATA_DIR", **OWN
    )
    smoke: bool = setting(False, "Try the whole path in about a minute: narrow networks, few images.")
    overwrite: bool = setting(False, "Delete a run of the same name first.", **OPERATIONAL)
    checkpoint_minutes: float = setting(
        5.0, "Minutes between checkpoints, besides those at validations.", POSITIVE, **OWN
    )
    max_minutes: float | None = setting(
        None, "Stop cleanly after this long, with exit code 0.", number("positive", lambda value: value > 0), **OWN
    )
    devices: int | None = setting(
        None, "How many devices share a batch; automatic by default.", whole(), envvar="NF_DEVICES", **OWN
    )
    # "auto" stays off with --smoke, and a run keeps what it became. Every evaluation is float32.
    network_dtype: str = setting(
        "auto",
        "Of the coupling networks in training: float32, bfloat16, or auto, which is bfloat16 on NVIDIA GPUs from "
        "Ampere on and CPUs that are fast in it. All else is float32.",
        choices=DTYPES,
    )
    remat: bool = setting(
        False, "Less memory, more time: compute the networks again in the backward pass.", operational=True
    )
    accumulate: int = setting(
        1, "Less memory: take a batch's gradient in so many slices, one after the other.", whole(), operational=True
    )
    steps_per_dispatch: int | None = setting(
        None, "Steps that the host asks for at a time; 1 on CPU, 50 on a GPU by default.", whole(), **OPERATIONAL
    )
    # The preset of a file of the user's, whose name is then `preset`.
    custom: Preset | None = setting(None, **OWN)
    # To the run's name, where one command trains several.
    name_suffix: str = setting("", **OWN)
    # Names of settings that nobody chose, and that `fitted` may make smaller.
    adaptable: frozenset[str] = setting(frozenset(), **OWN)

    def __post_init__(self) -> None:
        self.model_preset()
        check_settings(self)
        if self.learning_rate_floor > self.learning_rate:
            raise UsageError(
                f"--learning-rate-floor {self.learning_rate_floor} is not possible",
                hint=f"it must be at most the --learning-rate of {self.learning_rate:g}",
            )

    @classmethod
    def of_preset(cls, preset: str, **settings: Any) -> "TrainConfig":
        """The recipe that a preset wants, with what the user said otherwise.

        Args:
            preset: Name of the model, or the path of a preset file, which ends in .toml.
            settings: Fields of this class; they win. Those that `smoke=True` brings win over the recipe alone.

        Raises:
            UsageError: A setting or the preset makes no sense.
        """
        if preset.endswith(".toml") and settings.get("custom") is None:
            from nfcli.presets.definition import read_preset

            settings["custom"] = read_preset(Path(preset), taken=PRESETS)
        found = settings.get("custom") or get_preset(preset)
        quick = {**SMOKE, "adaptable": SMOKE_FITS - settings.keys()} if settings.get("smoke") else {}
        return cls(**{**found.recipe, **quick, **settings, "preset": found.name})

    def model_preset(self) -> Preset:
        """What the model is made of."""
        found = self.custom or get_preset(self.preset)
        return found.smoke_twin() if self.smoke else found

    def fitted(self, train_images: int, val_images: int) -> "TrainConfig":
        """The same for data of so many images, with what is adaptable made smaller until it fits."""
        most = {"train_size": train_images, "val_size": val_images}
        sizes: dict[str, Any] = {name: min(getattr(self, name), most[name]) for name in most.keys() & self.adaptable}
        images = sizes.get("train_size") or self.train_size or train_images
        batch, warm_up = self.batch_size, self.warmup_steps
        # By halves, so that what divides the whole batch mostly divides the smaller one.
        while "batch_size" in self.adaptable and batch > images:
            batch //= 2
        if "warmup_steps" in self.adaptable:
            warm_up = min(warm_up, int(SMOKE_WARM_UP * (images // batch)))
        return dataclasses.replace(self, **sizes, batch_size=batch, warmup_steps=warm_up)

    def run_name(self, dataset_name: str) -> str:
        """The run's name: the user's, or preset, dataset (but for mnist), `conditional` and `smoke`."""
        if self.name is not None:
            return self.name + self.name_suffix
        kinds = [name for name in ("conditional", "smoke") if getattr(self, name)]
        return "-".join([self.preset, *([] if dataset_name == "mnist" else [dataset_name]), *kinds]) + self.name_suffix

    def settings(self) -> dict[str, Any]:
        """The settings that decide the result, for config.json; `init` only where there is one."""
        found = {name: getattr(self, name) for name, of in settings_of(self).items() if not of.operational}
        return found if self.init is not None else {name: found[name] for name in found if name != "init"}

    def program_settings(self) -> dict[str, Any]:
        """Those that decide what the compiled training step computes."""
        # A cosine knows its end.
        end = {"epochs": self.epochs} if self.schedule == "cosine" else {}
        return {name: getattr(self, name) for name, of in settings_of(self).items() if of.decides_program} | end


def renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a config.json, also of an earlier version, under the names of today."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def with_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a config.json; one that is newer than the run has its default, under which the run was trained."""
    return {**TrainConfig("simple", network_dtype="float32").settings(), **settings}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a run from its config.json, for `TrainConfig(**settings)`.

    Raises:
        RunError: The file is missing or damaged.
        UsageError: It is no config.json of a run, or holds settings that nf does not know.
    """
    match {"model": {}, "device": {}, **read_json(path, kind="configuration", pipe=True)}:
        case {
            "run": str(name),
            "settings": dict(given),
            "data": dict(data),
            "model": dict(model),
            "device": dict(device),
        }:
            settings = renamed(given)
        case _:
            raise UsageError(f"{path} is no config.json of a run", hint="for example runs/multiscale/config.json")
    declared = settings_of(TrainConfig)
    types = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
    for key, value in settings.items():
        if key not in declared or declared[key].operational:
            raise UsageError(f"{path} has an unknown setting '{key}'", hint="it was written by another version of nf")
        if not fits(value, types[key]):
            kind = formatannotation(types[key])
            raise UsageError(f"{path}: {key} is {value!r}, not {kind}", hint="it was changed by hand")
    source = data.get("source")
    # What was typed may be relative to another folder.
    if isinstance(source, str) and os.path.lexists(source):
        settings = {**settings, "dataset": source}
    definition = model.get("definition")
    custom = None if definition is None else get_preset(str(settings.get("preset")), definition=definition)
    # Without them it may not fit into memory.
    memory = {each: device[each] for each in ("remat", "accumulate") if fits(device.get(each), types[each])}
    return {**settings, **memory, "name": name, "custom": custom}
