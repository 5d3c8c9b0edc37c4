"""What a training run is told, as one dataclass. No jax here."""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.errors import UsageError
from nfcli.files import read_json
from nfcli.limits import check_seed, check_whole
from nfcli.presets import get_preset

SMOKE = {"epochs": 2, "batch_size": 32, "eval_every": 1, "train_size": 2560, "val_size": 256}
"""Settings of --smoke, wherever the user said nothing else."""

SMOKE_FITS = {"train_size", "val_size", "batch_size", "warmup_steps"}
"""Of its settings and the preset's, those that give way to data of fewer images, where the user did not choose them."""

SMOKE_WARM_UP = 0.2
"""Share of an epoch that a warm-up takes at most then."""

LARGEST_FLOAT = 1e38
"""Of float32, about."""

SCHEDULES, DTYPES = ("exponential", "cosine"), ("auto", "float32", "bfloat16")

OPERATIONAL = {"epochs", "runs_dir", "data_dir", "name", "overwrite", "devices", "checkpoint_minutes", "max_minutes"}
OPERATIONAL |= {"steps_per_dispatch", "remat", "accumulate", "adaptable"}
"""Settings that may differ when a run is continued."""


RENAMED = {"average_decay": "ema_decay"}
"""Settings that config.json of earlier runs has under another name."""


@dataclass(frozen=True)
class TrainConfig:
    """The reference recipe by default.

    Attributes:
        preset: Name of the model.
        dataset: What `nfcli.data.load_dataset` understands.
        crop, resize, levels: What is done to its images, as `nfcli.data.Transform.parse` reads it.
        name: Of the run; None for one made from preset and dataset.
        init: Name of a run of the same model, or `pretrained:NAME`, whose weights training starts from.
        conditional: Tell the model each image's label, so that it learns p(image | label).
        epochs: Passes over the training images.
        batch_size: Images a step; a last partial batch is dropped.
        learning_rate: Of Adam, at the start or after the warm-up.
        schedule: "exponential", or "cosine": half a wave down to the floor over all epochs.
        learning_rate_decay: Factor an epoch, applied smoothly at every step; of the exponential schedule.
        learning_rate_floor: The decay ends here.
        warmup_steps: The learning rate rises in a straight line over the first so many steps.
        weight_decay: Of the networks' kernels, decoupled from the gradient; times the learning rate at every step.
        ema_decay: Of a moving average of the weights, which is then what is validated and saved; 0 for none.
        clip_norm: Gradients longer than this, in bits per dimension, are shortened to it.
        eval_every: Epochs between validations; the last epoch is always validated.
        train_size, val_size: Use the first N images of the split; None for all.
        network_dtype: What the networks inside coupling layers compute in, "float32" or "bfloat16"; all else is
            float32, and so is every evaluation. "auto" is bfloat16 on a CPU with matrix units, but for `smoke`, and
            float32 elsewhere; a run keeps what it became.
        remat: Compute the coupling networks once more in the backward pass instead of keeping what they computed.
        accumulate: Take the gradient of a batch in so many slices, one after the other.
        seed: Of everything random.
        smoke: Use the preset's narrow twin.
        runs_dir: Where the run directory is made.
        data_dir: Where TFDS keeps its data; None for `NF_DATA_DIR`, or else its own default.
        overwrite: Delete a run of the same name first.
        devices: How many devices share a batch; None for automatic.
        checkpoint_minutes: Minutes between checkpoints, besides the one at each validation.
        max_minutes: Stop cleanly after this long; None for never.
        steps_per_dispatch: Steps that the host asks for at a time; None for 1 on CPU and 50 elsewhere.
        adaptable: Names of settings that nobody chose, and that `fitted` may make smaller.
    """

    preset: str
    dataset: str = "mnist"
    crop: str | None = None
    resize: str | None = None
    levels: int = 256
    name: str | None = None
    init: str | None = None
    conditional: bool = False
    epochs: int = 200
    batch_size: int = 128
    learning_rate: float = 1e-3
    schedule: str = "exponential"
    learning_rate_decay: float = 0.99
    learning_rate_floor: float = 1e-5
    warmup_steps: int = 0
    weight_decay: float = 0.0
    ema_decay: float = 0.0
    clip_norm: float = 1.0
    eval_every: int = 5
    train_size: int | None = None
    val_size: int | None = None
    network_dtype: str = "auto"
    remat: bool = False
    accumulate: int = 1
    seed: int = 42
    smoke: bool = False
    runs_dir: Path = Path("runs")
    data_dir: Path | None = None
    overwrite: bool = False
    devices: int | None = None
    checkpoint_minutes: float = 5.0
    max_minutes: float | None = None
    steps_per_dispatch: int | None = None
    adaptable: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        get_preset(self.preset)
        for name in ("epochs", "batch_size", "eval_every", "accumulate", "train_size", "val_size", "devices"):
            check_whole(name, getattr(self, name))
        check_whole("steps_per_dispatch", self.steps_per_dispatch)
        check_whole("warmup_steps", self.warmup_steps, 0)
        check_seed(self.seed)
        for name in ("learning_rate", "learning_rate_floor", "clip_norm", "checkpoint_minutes"):
            value = getattr(self, name)
            _require(0 < value <= LARGEST_FLOAT, name, value, f"more than 0, and at most {LARGEST_FLOAT:g}")
        floor, rate = self.learning_rate_floor, self.learning_rate
        _require(floor <= rate, "learning_rate_floor", floor, f"at most the --learning-rate of {rate:g}")
        _require(0 < self.learning_rate_decay <= 1, "learning_rate_decay", self.learning_rate_decay, "in (0, 1]")
        _require(self.schedule in SCHEDULES, "schedule", self.schedule, " or ".join(SCHEDULES))
        for name in ("weight_decay", "ema_decay"):
            _require(0 <= getattr(self, name) < 1, name, getattr(self, name), "0 or more, and less than 1")
        _require(self.max_minutes is None or self.max_minutes > 0, "max_minutes", self.max_minutes, "positive")
        _require(self.network_dtype in DTYPES, "network_dtype", self.network_dtype, "auto, float32 or bfloat16")

    @classmethod
    def of_preset(cls, preset: str, **settings: Any) -> TrainConfig:
        """The recipe that a preset wants, with what the user said otherwise.

        Args:
            preset: Name of the model.
            settings: Fields of this class; they win. Those that `smoke=True` brings win over the recipe alone.

        Raises:
            UsageError: A setting or the preset makes no sense.
        """
        quick = {**SMOKE, "adaptable": SMOKE_FITS - settings.keys()} if settings.get("smoke") else {}
        return cls(**{**get_preset(preset).recipe, **quick, **settings, "preset": preset})

    def fitted(self, train_images: int, val_images: int) -> TrainConfig:
        """The same for data of so many images, with what is adaptable made smaller until it fits."""
        sizes: dict[str, Any] = {"train_size": train_images, "val_size": val_images}
        sizes = {name: min(getattr(self, name), most) for name, most in sizes.items() if name in self.adaptable}
        images, batch = sizes.get("train_size") or self.train_size or train_images, self.batch_size
        # By halves, so that what divides the whole batch mostly divides the smaller one.
        while "batch_size" in self.adaptable and batch > images:
            batch //= 2
        warm_up = self.warmup_steps
        if "warmup_steps" in self.adaptable:
            warm_up = min(warm_up, int(SMOKE_WARM_UP * (images // batch)))
        return dataclasses.replace(self, **sizes, batch_size=batch, warmup_steps=warm_up)

    def run_name(self, dataset_name: str) -> str:
        """The run's name: the user's, or preset, dataset (but for mnist), `conditional` and `smoke`."""
        if self.name is not None:
            return self.name
        kinds = [name for name in ("conditional", "smoke") if getattr(self, name)]
        return "-".join([self.preset, *([] if dataset_name == "mnist" else [dataset_name]), *kinds])

    def settings(self) -> dict[str, Any]:
        """The settings that decide the result, for config.json; `init` only where there is one."""
        fields = dataclasses.asdict(self)
        left_out = OPERATIONAL - {"epochs"} | ({"init"} if self.init is None else set())
        return {name: value for name, value in fields.items() if name not in left_out}


def renamed(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings of a config.json, also of an earlier version, under the names of today."""
    return {RENAMED.get(name, name): value for name, value in settings.items()}


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a run from its config.json, for `TrainConfig(**settings)`.

    Raises:
        RunError: The file is missing or damaged.
        UsageError: It is no config.json of a run, or holds settings that nf does not know.
    """
    content = read_json(path, kind="configuration")
    settings, data, name = content.get("settings"), content.get("data"), content.get("run")
    if not isinstance(settings, dict) or not isinstance(data, dict) or not isinstance(name, str):
        raise UsageError(f"{path} is no config.json of a run", hint="for example runs/multiscale/config.json")
    settings = renamed(settings)
    known = {field.name: field.type for field in dataclasses.fields(TrainConfig)}
    for key, value in settings.items():
        if key not in known or key in OPERATIONAL - {"epochs"}:
            raise UsageError(f"{path} has an unknown setting '{key}'", hint="it was written by another version of nf")
        if not _fits(value, str(known[key])):
            raise UsageError(f"{path}: {key} is {value!r}, not {known[key]}", hint="it was changed by hand")
    source = data.get("source")
    # What was typed may be relative to another folder.
    if isinstance(source, str) and os.path.lexists(source):
        settings = {**settings, "dataset": source}
    return {**settings, "name": name}


def _fits(value: Any, kind: str) -> bool:
    """Whether a value of a JSON file is of a type as TrainConfig writes it, such as `int | None`."""
    types = {"str": (str,), "bool": (bool,), "int": (int,), "float": (int, float), "None": (type(None),)}
    return type(value) in [one for name in kind.split(" | ") for one in types[name]]


def _require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise UsageError(f"--{name.replace('_', '-')} {value} is not possible", hint=f"it must be {wanted}")
