"""`write_page(config)`: runs side by side on one HTML page that needs nothing but itself."""

from dataclasses import dataclass
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template

from nfcli import __version__
from nfcli.drawing.page_pictures import PHONE, curves_section, dequantization_figure, samples_figure
from nfcli.drawing.page_tables import options, results_section, section, settings_section
from nfcli.errors import Say, UsageError
from nfcli.files import check_place, write_text
from nfcli.runs import RunDir, find_run
from nfcli.runs.comparison import Comparison, Row, compare
from nfcli.runs.outputs import SIGNATURE, check_output
from nfcli.runs.pretrained import training_in_words

TWO_COLUMNS = "(min-width: 60rem)"
"""Where page.html puts several runs in two columns."""


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
        UsageError: The page would replace something else, or a name is no name of a run.
        RunError: There is no run, or a named one is missing or damaged.
        WriteError: The page cannot be written.
    """
    check_output("--html", config.output)
    check_place(config.output)
    comparison = compare(list(config.runs), config.runs_dir, importance_samples=config.importance_samples, warn=warn)
    runs = {row.run: find_run(row.run, config.runs_dir) for row in comparison.rows}
    several = len(runs) > 1
    layout = f"{PHONE}, {TWO_COLUMNS}" if several else PHONE
    cards = [_card(row, runs[row.run], config.runs_dir, layout, message, warn) for row in comparison.rows]
    sections = [
        results_section(comparison),
        curves_section(runs, warn),
        section("Run" + "s" * several, f'<div class="runs{" several" * several}">', *cards, "</div>"),
        settings_section({name: run.config() for name, run in runs.items()}),
    ]
    names = ", ".join(escape(name) for name in runs)
    page = Template(files("nfcli.drawing").joinpath("page.html").read_text(encoding="utf-8")).substitute(
        title=f"Comparison of {len(runs)} runs" if several else f"Run {names}",
        about=f"{names}. " * several + f"Made by nf {__version__}.",
        mark=SIGNATURE,
        body="\n".join(sections),
    )
    write_text(config.output, page)
    return comparison


def _card(row: Row, run: RunDir, runs_dir: Path, layout: str, message: Say, warn: Say) -> str:
    config = run.config()
    data = config["data"]
    facts: dict[str, str | list[str]] = {
        "data": f"{data['name']}, {data['train_images']:,} images to train, fingerprint {data['fingerprint'][:12]}",
        "settings": options(config["settings"]),
        "measured": "not yet"
        if row.images is None
        else f"weights of step {row.checkpoint_step:,}, {row.images:,} test images, K = {row.importance_samples}",
        "device": f"{config['device'].get('count', '?')} x {config['device'].get('kind', '?')}",
        **({"training": training_in_words(config)} if run.pretrained else {}),
        "versions": ", ".join(f"{name} {version}" for name, version in config["versions"].items()),
    }
    listing = "".join(f"<dt>{escape(name)}</dt><dd>{_words(text)}</dd>" for name, text in facts.items())
    pictures = samples_figure(run, runs_dir, message, warn), dequantization_figure(run, runs_dir, layout, message, warn)
    head = f'<article class="run"><h3>{escape(row.run)}</h3>'
    return "\n".join([head, f"<dl>{listing}</dl>", *pictures, "</article>"])


def _words(fact: str | list[str]) -> str:
    """A fact as HTML; the parts of a list are not broken across lines."""
    if isinstance(fact, str):
        return escape(fact)
    return " ".join(f'<span class="whole">{escape(part)}</span>' for part in fact)
