"""Rewrite README's help blocks from what the program itself prints: `python -m tests.cli.make_readme`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

README = Path(__file__).resolve().parents[2] / "README.md"

BLOCK = re.compile(r"(<!-- help: (?P<command>[a-z-]*) -->\n```text\n)(.*?)(```\n)", re.DOTALL)
"""A marker that names a command (none for `nf` itself), and the block below it."""


def help_of(command: str) -> str:
    """What `nf COMMAND --help` prints in 80 columns."""
    words = [sys.executable, "-m", "nfcli", *([command] if command else []), "--help"]
    around = {name: value for name, value in os.environ.items() if not name.startswith("NF_")}
    done = subprocess.run(words, env={**around, "COLUMNS": "80"}, stdout=subprocess.PIPE, text=True, check=True)
    return done.stdout


def renewed(text: str) -> str:
    """The text of a README with every help block as it is now."""
    return BLOCK.sub(lambda match: match[1] + help_of(match["command"]) + match[4], text)


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
