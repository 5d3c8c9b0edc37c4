"""Rewrite README's table of pretrained weights from the files that ship: `python -m tests.cli.make_readme`."""

from __future__ import annotations

import re
from pathlib import Path

from nfcli.presets import PRESETS
from nfcli.runs.comparison import Row, compare
from nfcli.runs.pretrained import list_pretrained, training_in_words

README = Path(__file__).resolve().parents[2] / "README.md"

WEIGHTS = re.compile(r"(<!-- pretrained: begin -->\n)(.*?)(<!-- pretrained: end -->\n)", re.DOTALL)
"""The table of what ships."""

HEAD = """\
| weights | training | validation bpd, K = 8 | test bpd, K = 8 | test bpd, K = 1 | published test bpd, K = 8 |
|---|---|---|---|---|---|
"""


def table_of_weights() -> str:
    """What ships, the presets in their order."""
    runs = sorted(list_pretrained(Path()), key=lambda run: list(PRESETS).index(run.config()["model"]["preset"]))
    if not runs:
        return "None ship with this version.\n"
    rows = {row.run: row for row in compare([run.name for run in runs], Path(), importance_samples=8).rows}
    return HEAD + "".join(line_of(rows[run.name], run.config()) for run in runs)


def line_of(row: Row, config: dict) -> str:
    """A run's line of the table."""
    cells = [
        f"`{row.run}`",
        training_in_words(config),
        "–" if row.val_bpd is None else f"{row.val_bpd:.4f}",
        f"{row.test_bpd:.4f} ± {row.test_bpd_stderr:.4f}",
        f"{row.test_elbo_bpd:.4f}",
        "–" if row.published_test_bpd is None else f"{row.published_test_bpd:.3f}",
    ]
    return f"| {' | '.join(cells)} |\n"


def renewed(text: str) -> str:
    """The text of a README with its table as it is now."""
    return WEIGHTS.sub(lambda match: match[1] + table_of_weights() + match[3], text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
