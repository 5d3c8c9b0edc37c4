"""`write_page(config)`: runs side by side on one HTML page that needs nothing but itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

import numpy as np

from nfcli import __version__
from nfcli.errors import NFError, UsageError
from nfcli.figures import save_learning_curves
from nfcli.figures.curves import Curve
from nfcli.inspection.learning import learning_curves
from nfcli.inspection.page_pictures import PHONE, Say, embedded, figure, noise_of, samples_of
from nfcli.inspection.page_tables import results_section, section, settings_section
from nfcli.runs import RunDir, find_run
from nfcli.runs.comparison import Comparison, Row, compare
from nfcli.runs.files import check_place, scratch_folder, write_text
from nfcli.runs.shipped import training_in_words

WIDE, NARROW = (9.0, 4.2), (4.2, 3.6)
"""Inches of the learning curves on a screen, and on a phone."""


@dataclass(frozen=True)
class PageConfig:
    """What the page shows.

    Attributes:
        output: The HTML file.
        runs: Names; none for all.
        runs_dir: Where runs live.
        importance_samples: Only measurements with this K; None for each run's best one.
    """

    output: Path
    runs: tuple[str, ...] = ()
    runs_dir: Path = Path("runs")
    importance_samples: int | None = None

    def __post_init__(self) -> None:
        if self.output.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"{self.output} is no name of a page", hint="give a file that ends in .html")


def write_page(config: PageConfig, *, message: Say = lambda _: None, warn: Say = lambda _: None) -> Comparison:
    """Write the page: results with errors, learning curves, samples, dequantization, settings that differ.

    Pictures that a run does not have yet are drawn into its figures first. Those there are used if they were drawn with
    the same weights and options; others are the user's own, and are drawn anew for the page alone.

    Returns:
        What it compares.

    Raises:
        RunError: There is no run, or a named one is missing or damaged.
        WriteError: The page cannot be written.
    """
    check_place(config.output)
    comparison = compare(list(config.runs), config.runs_dir, importance_samples=config.importance_samples, warn=warn)
    runs = {row.name: find_run(row.name, config.runs_dir) for row in comparison.rows}
    cards = [_card(row, runs[row.name], config.runs_dir, message, warn) for row in comparison.rows]
    sections = [
        results_section(comparison),
        _curves(runs, warn),
        section("Runs", _div("runs", cards)),
        settings_section({name: run.config() for name, run in runs.items()}),
    ]
    names = ", ".join(escape(name) for name in runs)
    page = Template(files("nfcli.inspection").joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=f"Comparison of {len(runs)} runs" if len(runs) != 1 else f"Run {names}",
        about=f"{names}. Made by nf {__version__}.",
        body="\n".join(sections),
    )
    write_text(config.output, page)
    return comparison


def _div(name: str, content: Iterable[str]) -> str:
    return "\n".join([f'<div class="{name}">', *content, "</div>"])


def _curves(runs: dict[str, RunDir], warn: Say) -> str:
    training: dict[str, Curve] = {}
    validation: dict[str, Curve] = {}
    for name, run in runs.items():
        try:
            found, batch = learning_curves(run), run.config()["settings"]["batch_size"]
        except NFError as error:
            warn(f"no learning curve of '{name}': {error.message}")
            continue
        for (steps, values), curves in zip(found, (training, validation), strict=True):
            if np.isfinite(values).any():
                curves[name] = (steps * batch / 1000, values)
    if not training and not validation:
        return section("Learning curves", '<p class="note">Nothing was trained for a whole epoch yet.</p>')
    with scratch_folder() as folder:
        pictures = []
        for number, size in enumerate((WIDE, NARROW)):
            path = folder / f"{number}.png"
            save_learning_curves(
                path, training, validation=validation, x_label="Training images seen (thousands)", size=size
            )
            pictures.append(embedded(path))
    return section(
        "Learning curves",
        f'<figure><picture><source media="{PHONE}" srcset="{pictures[1]}">'
        f'<img src="{pictures[0]}" alt="Bits per dimension while training, of every run"></picture>'
        "<figcaption>Lines: mean of an epoch in training. Markers: validation, one noise draw.</figcaption></figure>",
    )


def _card(row: Row, run: RunDir, runs_dir: Path, message: Say, warn: Say) -> str:
    config = run.config()
    data, settings = config["data"], config["settings"]
    facts = {
        "data": f"{data['name']}, {data['train_images']:,} images to train, fingerprint {data['fingerprint'][:12]}",
        "settings": f"--epochs {settings['epochs']} --batch-size {settings['batch_size']} --seed {settings['seed']}",
        "measured": "not yet"
        if row.images is None
        else f"weights of step {row.checkpoint_step:,}, {row.images:,} test images, K = {row.importance_samples}",
        "device": f"{config['device'].get('count', '?')} x {config['device'].get('kind', '?')}",
        **({"training": training_in_words(config)} if run.shipped else {}),
        "versions": ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
    }
    listing = "".join(f"<dt>{escape(name)}</dt><dd>{escape(str(text))}</dd>" for name, text in facts.items())
    pictures = [figure(picture, message, warn) for picture in (samples_of(run, runs_dir), noise_of(run, runs_dir))]
    return "\n".join(
        [f'<article class="run"><h3>{escape(row.name)}</h3>', f"<dl>{listing}</dl>", *pictures, "</article>"]
    )
