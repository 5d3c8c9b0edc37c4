"""Runs that ship with the package: `pretrained:NAME` is read like any other run, and never written to.

nfcli/pretrained/NAME/
    config.json, metrics.jsonl, results.json, per-image/     as everywhere; config.json has `training`, see `TRAINING`
    checkpoints/                                             the best one, without what only training needs
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nfcli.errors import REINSTALL, RunError
from nfcli.files import real_path
from nfcli.runs.directory import RunDir
from nfcli.runs.schema import Count, Index, Number, Positive, Text, check_fields

PREFIX = "pretrained:"

BEST = "mixture"
"""Of the presets; it is suggested where any would do."""

MOST_BYTES = 40_000_000
"""That all of them may take together."""

TRAINING = {
    "training.hardware": Text,
    "training.epochs": Positive,
    "training.steps": Count,
    "training.best_step": Index,
    "training.best_val_bpd": Number,
    "training.best_val_stderr": Positive | None,
    "training.seconds": Positive,
    "training.train_seconds": Positive,
    "training.train_images": Count,
}
"""What config.json of a run that ships says besides: what it took to train it."""


def pretrained_dir() -> Path:
    """The folder of the runs that ship."""
    return Path(__file__).resolve().parents[1] / "pretrained"


@dataclass(frozen=True)
class PretrainedRun(RunDir):
    """A run in the package; what is drawn of it goes to a folder beside the user's runs.

    Attributes:
        runs_dir: Where the user's runs live.
    """

    pretrained = True
    runs_dir: Path

    @property
    def name(self) -> str:
        return PREFIX + self.path.name

    @property
    def figures(self) -> Path:
        return self.runs_dir / folder_of(self.path.name) / "figures"


def list_pretrained(runs_dir: Path) -> list[PretrainedRun]:
    """The runs that ship, by name; none where there is nothing to read.

    Args:
        runs_dir: Where the user's runs live.
    """
    # A name with a dot in front is of one that is being written.
    configs = sorted(pretrained_dir().glob("[!.]*/config.json"))
    return [PretrainedRun(config.parent, runs_dir) for config in configs]


def find_pretrained(name: str, runs_dir: Path) -> PretrainedRun:
    """The run of a name with `PREFIX`.

    Raises:
        RunError: None of that name ships.
    """
    pretrained = {run.name: run for run in list_pretrained(runs_dir)}
    if name in pretrained:
        return pretrained[name]
    known = "there are: " + ", ".join(pretrained) if pretrained else "none do in this version; train one with nf train"
    raise RunError(f"no run '{name}' ships with nf", hint=known)


def is_inside(place: Path) -> bool:
    """Whether a place is among the runs that ship, where nothing is ever written."""
    return real_path(place).is_relative_to(pretrained_dir())


def folder_of(name: str) -> str:
    """The folder, beside the user's runs, for what is drawn of the run that ships as `name`."""
    return PREFIX.replace(":", "-") + name


def training_in_words(config: dict[str, Any]) -> str:
    """What it took to train a run that ships: `200 epochs of 50,000 images in 65 minutes, on NVIDIA H100`.

    And from whose weights, if it did not begin with fresh ones.

    Args:
        config: Its config.json.

    Raises:
        RunError: It does not say so.
    """
    try:
        check_fields(config, {**TRAINING, **({"init.run": Text} if "init" in config else {})})
    except ValueError as error:
        raise RunError(
            f"config.json of pretrained run '{config.get('run')}' is damaged: {error}", hint=REINSTALL
        ) from error
    training = config["training"]
    count = round(training["epochs"], 1)
    epochs = f"{count:g} epoch{'' if count == 1 else 's'}"
    start = f", from the weights of {config['init']['run']}" if "init" in config else ""
    return (
        f"{epochs} of {config['data']['train_images']:,} images "
        f"in {training['seconds'] / 60:,.0f} minutes, on {training['hardware']}{start}"
    )


def suggestion(runs_dir: Path, preset: str | None = None) -> str:
    """What to say where a run is missing: `, or use pretrained:NAME, which ships with nf`; empty if none does.

    Args:
        runs_dir: Where the user's runs live.
        preset: Of the run that was asked for; None for whichever is best.
    """
    known = [run.name for run in list_pretrained(runs_dir)]
    best = PREFIX + BEST if PREFIX + BEST in known else next(iter(known), None)
    wanted = best if preset is None else PREFIX + preset
    return f", or use {wanted}, which ships with nf" if wanted in known else ""
