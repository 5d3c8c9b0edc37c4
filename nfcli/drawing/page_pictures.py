"""The pictures of a run on the page: those there are, where they are what the page wants, and else drawn for it."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from typing import Any

from nfcli.drawing.dequantization import InspectDequantConfig, inspect_dequantization
from nfcli.drawing.dequantization_figure import DequantizationPanels, save_dequantization_figure
from nfcli.drawing.samples import SampleConfig, sample
from nfcli.errors import CheckpointError, NFError, RunError
from nfcli.files import read_json, scratch_folder
from nfcli.runs import Checkpoints, RunDir

PHONE = "(max-width: 40rem)"

ONE_RUN, SEVERAL_RUNS = PHONE, f"{PHONE}, (min-width: 60rem)"
"""Where a picture has little room: on a phone, and where page.html puts runs in two columns."""

SAMPLES = 36

Say = Callable[[str], None]


@dataclass(frozen=True)
class Picture:
    """A picture of a run.

    Attributes:
        run: Whose.
        name: Of its file in the run's figures.
        title: What it is.
        caption: What stands below it.
        kind: Its class on the page.
        options: What the JSON beside it says, but for the weights, when it was drawn for a page.
        draw: Draws it, into the run's figures or to another place.
        draw_narrow: Draws it for little room, of the numbers beside it; None where one picture serves both.
    """

    run: RunDir
    name: str
    title: str
    caption: str
    kind: str
    options: dict[str, Any]
    draw: Callable[[Path | None, Say], object]
    draw_narrow: Callable[[Path, dict[str, Any]], None] | None = None


def samples_of(run: RunDir, runs_dir: Path) -> Picture:
    """Images drawn from a run's model."""
    config = SampleConfig(run=run.name, runs_dir=runs_dir, num=SAMPLES)
    classes = run.config()["model"].get("classes", 0)
    labels = config.labels_of(classes)
    options = {
        "labels": None if labels is None else labels.tolist(),
        "num": config.num,
        "columns": config.width,
        **{name: getattr(config, name) for name in ("temperature", "seed", "share_final_latent", "real")},
    }
    return Picture(
        run,
        "samples.png",
        "Samples",
        f"Samples at temperature {config.temperature:g}, seed {config.seed}"
        + (f"; labels 0 to {classes - 1} in turn" if classes else ""),
        "samples",
        options,
        lambda to, warn: sample(replace(config, output=to), warn=warn),
    )


def noise_of(run: RunDir, runs_dir: Path) -> Picture:
    """What a run's dequantization does."""
    config, known = InspectDequantConfig(run=run.name, runs_dir=runs_dir), run.config()
    options: dict[str, Any] = {name: getattr(config, name) for name in ("draws", "seed", "levels")}
    options |= {"prior": config.normalized_prior().tolist(), "prior_name": config.prior_name}
    if known["settings"].get("val_size") is None:  # otherwise config.json does not say how many there are to draw
        options["images"] = min(config.images, known["data"]["val_images"])
    return Picture(
        run,
        "dequantization.png",
        "Dequantization",
        "Dequantization: how integers become real numbers",
        "",
        options,
        lambda to, warn: inspect_dequantization(replace(config, output=to), warn=warn),
        lambda to, numbers: _draw_narrow_noise(to, numbers, known["model"]),
    )


def _draw_narrow_noise(to: Path, numbers: dict[str, Any], model: dict[str, Any]) -> None:
    panels = DequantizationPanels(
        edges=numbers["edges"],
        uniform_density=numbers["uniform_density"],
        learned_density=numbers["learned_density"],
        space="logit",
        alpha=model["alpha"],
        data_levels=model["levels"],
        levels=numbers["levels"],
        prior=numbers["prior"],
        prior_name=numbers["prior_name"],
    )
    save_dequantization_figure(to, panels, narrow=True)


def figure(picture: Picture, layout: str, message: Say, warn: Say) -> str:
    """A picture as HTML, drawn first unless the one in the run's figures is it.

    Args:
        picture: What to show.
        layout: Where it has little room, as a media query.
        message: Called with a sentence before it is drawn.
        warn: Called with a sentence if it cannot be.
    """
    run, path = picture.run, picture.run.figures / picture.name
    with scratch_folder() as folder:
        try:
            if not path.exists():
                message(f"drawing {path}")
                picture.draw(None, warn)
            elif not _is_drawn(picture):
                message(f"drawing {picture.name} of '{run.name}' for the page: {path} has other weights or options")
                path = folder / picture.name
                picture.draw(path, warn)
            narrow = _narrow(picture, path, folder / "narrow.png", layout)
        except NFError as error:
            warn(f"no {picture.name} of run '{run.name}': {error.message}")
            return f'<p class="note">{escape(picture.title)}: cannot be drawn ({escape(error.message)}).</p>'
        alt = escape(f"{picture.title} of {run.name}")
        return (
            f'<figure class="{picture.kind}"><picture>{narrow}<img src="{embedded(path)}" alt="{alt}"></picture>'
            f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
        )


def _narrow(picture: Picture, drawn: Path, to: Path, layout: str) -> str:
    """The source of a picture's version for little room, as HTML; empty where there is none."""
    if picture.draw_narrow is None:
        return ""
    try:
        picture.draw_narrow(to, read_json(drawn.with_suffix(".json"), kind="file"))
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"the numbers beside {drawn} cannot be drawn: {error}") from error
    return f'<source media="{layout}" srcset="{embedded(to)}">'


def _is_drawn(picture: Picture) -> bool:
    """Whether the picture in the run's figures is of the weights that did best, and has the options of a page."""
    run = picture.run
    try:
        said = read_json((run.figures / picture.name).with_suffix(".json"), kind="file")
        weights = Checkpoints(run.checkpoints).best()[0].step
    except (RunError, CheckpointError):
        return False
    wanted = {"picture": picture.name, "checkpoint_step": weights, **picture.options}
    return all(said.get(name) == value for name, value in wanted.items())


def embedded(path: Path) -> str:
    """A PNG as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
