"""Rewrite `completions/` from what the program itself prints: `python -m tests.cli.make_completions`."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "completions"

FILES = {"bash": "nf.bash", "zsh": "_nf", "fish": "nf.fish"}

ZSH_REGISTRATION = "compdef _nf_completion nf\n"

# A file of `fpath` is run as the function `_nf` at the first TAB, which then has to be answered, not only registered.
ZSH_ANSWER = """\
if [[ $funcstack[1] == _nf ]]; then
  _nf_completion "$@"
else
  compdef _nf_completion nf
fi
"""


def script(shell: str) -> str:
    """The completion script for a shell; zsh needs its `#compdef` on the very first line."""
    environment = {**os.environ, "_NF_COMPLETE": f"source_{shell}"}
    command = [sys.executable, "-m", "nfcli"]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    text = done.stdout.strip("\n") + "\n"
    if shell == "zsh":
        assert text.endswith(ZSH_REGISTRATION)
        text = text.removesuffix(ZSH_REGISTRATION) + ZSH_ANSWER
    return text


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name_of_shell, name in FILES.items():
        (FOLDER / name).write_text(script(name_of_shell))
