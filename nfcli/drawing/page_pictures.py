"""The pictures on the page: those there are, where they are what the page wants, and else drawn for it."""

import base64
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from nfcli.data import listed
from nfcli.drawing.config import LOOK, InspectDequantConfig, PictureConfig, SampleConfig
from nfcli.drawing.dequantization import inspect_dequantization, options_of
from nfcli.drawing.dequantization_figure import Panels, save_dequantization_figure
from nfcli.drawing.learning_curves import Curves, learning_curves, save_learning_curves
from nfcli.drawing.output import Drawn
from nfcli.drawing.page_tables import note, section
from nfcli.drawing.samples import sample
from nfcli.errors import CheckpointError, NFError, RunError, Say
from nfcli.files import read_json, scratch_folder
from nfcli.runs import Checkpoints, RunDir
from nfcli.runs.directory import known_labels

PHONE = "(max-width: 40rem)"
"""Where a picture has little room."""

WIDE, NARROW = (9.0, 4.2), (4.2, 3.6)
"""Inches of the learning curves on a screen, and on a phone."""

SAMPLES = 36

Config = TypeVar("Config", bound=PictureConfig)


def curves_section(runs: dict[str, RunDir], warn: Say) -> str:
    """Bits per dimension while training: a plot for each data set, and for labels given and not, which do not compare.

    Args:
        runs: By name.
        warn: Called with a sentence for each run that cannot be shown.
    """
    plots: dict[tuple[str, bool], tuple[str, Curves, Curves]] = {}
    for name, run in runs.items():
        try:
            found, config = learning_curves(run), run.config()
        except NFError as error:
            warn(f"no learning curve of '{name}': {error.message}")
            continue
        data, conditional = config["data"], bool(config["model"]["classes"])
        words = f"{data['name']} (fingerprint {data['fingerprint'][:12]})" + ", given labels" * conditional
        _, *curves = plots.setdefault((data["fingerprint"], conditional), (words, {}, {}))
        batch = config["settings"]["batch_size"]
        for (steps, values), of_plot in zip(found, curves, strict=True):
            if np.isfinite(values).any():
                of_plot[name] = (steps * batch, values)
    parts = []
    for words, *curves in plots.values():
        if any(curves):
            parts += [f"<h3>{escape(words)}</h3>"] * (len(plots) > 1) + [_plot(*curves)]
    if parts:
        parts.append(note("Lines: mean of an epoch in training. Markers: validation, one noise draw."))
    return section("Learning curves", *parts or [note("Nothing was trained for a whole epoch yet.")])


def _plot(training: Curves, validation: Curves) -> str:
    wide, narrow = BytesIO(), BytesIO()
    for buffer, size in ((wide, WIDE), (narrow, NARROW)):
        save_learning_curves(buffer, training, validation, x_label="Training images seen", size=size)
    alt = "Bits per dimension while training, of " + ", ".join(dict.fromkeys([*training, *validation]))
    return f"<figure>{_picture(wide.getvalue(), alt, PHONE, narrow.getvalue())}</figure>"


def samples_figure(run: RunDir, runs_dir: Path, message: Say, warn: Say) -> str:
    """Images drawn from a run's model, as HTML; `message` and `warn` are called with sentences."""
    config, labels = SampleConfig(run=run.name, runs_dir=runs_dir, num=SAMPLES), known_labels(run.config())
    options = config.options([labels[index % len(labels)] for index in range(SAMPLES)] if labels else None)
    try:
        drawn, _ = _drawn(run, "samples.png", config, options, partial(sample, warn=warn), message)
    except NFError as error:
        return _missing(run, "samples.png", "Samples", error, warn)
    caption = f"Samples at temperature {config.temperature:g}, seed {config.seed}"
    caption += f"; labels {listed(labels, run.config()['data']['label_names'])} in turn" if labels else ""
    return _figure(_picture(drawn, f"Samples of {run.name}"), caption, "samples")


def dequantization_figure(run: RunDir, runs_dir: Path, layout: str, message: Say, warn: Say) -> str:
    """What a run's dequantization does, as HTML; `layout` is a media query for where there is little room."""
    name, narrow = "dequantization.png", BytesIO()
    config, known = InspectDequantConfig(run=run.name, runs_dir=runs_dir), run.config()
    options, model = options_of(config), known["model"]
    if known["settings"].get("val_size") is None:  # otherwise config.json does not say how many there are to draw
        options["images"] = min(config.images, known["data"]["val_images"])
    try:
        drawn, numbers = _drawn(run, name, config, options, partial(inspect_dequantization, warn=warn), message)
        try:
            panels = Panels.of(numbers)
            save_dequantization_figure(narrow, panels, alpha=model["alpha"], data_levels=model["levels"], narrow=True)
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"the numbers beside {name} of '{run.name}' cannot be drawn: {error}") from error
    except NFError as error:
        return _missing(run, name, "Dequantization", error, warn)
    picture = _picture(drawn, f"Dequantization of {run.name}", layout, narrow.getvalue())
    return _figure(picture, "Dequantization: how integers become real numbers")


def _drawn(
    run: RunDir, name: str, config: Config, options: dict[str, Any], draw: Callable[[Config], Drawn], message: Say
) -> tuple[bytes, dict[str, Any]]:
    """A picture and the numbers beside it, drawn first unless the one in the run's figures is it.

    Args:
        run: Whose.
        name: Of its file.
        config: What to draw, into the run's figures.
        options: What the numbers beside it say, but for the weights, when it was drawn for a page.
        draw: Draws it.
        message: Called with a sentence before it is drawn.
    """
    path = run.figures / name
    with scratch_folder() as folder:
        if not path.exists():
            message(f"drawing {path}")
            draw(config)
        elif other := _differs(run, name, options):
            message(f"drawing {name} of '{run.name}' for the page: the one in {run.figures} {other}")
            path = folder / name
            draw(replace(config, output=path))
        return path.read_bytes(), read_json(path.with_suffix(".json"), kind="file")


def _differs(run: RunDir, name: str, options: dict[str, Any]) -> str | None:
    """How the picture in the run's figures is none of the weights that did best with the options of a page."""
    try:
        said = read_json((run.figures / name).with_suffix(".json"), kind="file")
        weights = Checkpoints(run.checkpoints).best()[0].step
    except (RunError, CheckpointError):
        return "cannot be told from others"
    wanted = {"picture": name, "checkpoint_step": weights, **dict.fromkeys(LOOK), **options}
    known = [(name, said.get(name), value) for name, value in wanted.items()]
    other = ", ".join(f"{name} {has} instead of {value}" for name, has, value in known if has != value)
    return f"has {other}" if other else None


def _missing(run: RunDir, name: str, title: str, error: NFError, warn: Say) -> str:
    warn(f"no {name} of run '{run.name}': {error.message}")
    return note(f"{title}: cannot be drawn ({error.message}).")


def _figure(picture: str, caption: str, kind: str = "") -> str:
    return f'<figure class="{kind}">{picture}<figcaption>{escape(caption)}</figcaption></figure>'


def _picture(png: bytes, alt: str, layout: str = "", narrow: bytes = b"") -> str:
    """A PNG as HTML, with another one where `layout`, a media query, says that there is little room."""
    source = f'<source media="{layout}" srcset="{_address(narrow)}">' if narrow else ""
    return f'<picture>{source}<img src="{_address(png)}" alt="{escape(alt)}"></picture>'


def _address(png: bytes) -> str:
    """A PNG as the address of itself."""
    return "data:image/png;base64," + base64.b64encode(png).decode()
