"""Completion of names and choices in the shell: no import of jax, and silence when something is wrong."""

import os
import re
from collections.abc import Callable, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path

import typer

from nfcli.errors import NFError
from nfcli.limits import SPLITS
from nfcli.presets import PRESETS
from nfcli.runs.lookup import list_runs
from nfcli.runs.pretrained import PREFIX, list_pretrained

AFTER_COLON = "_NF_AFTER_COLON"
"""Set when bash keeps `pretrained:` and wants what follows it alone."""


def mend_words(around: MutableMapping[str, str]) -> None:
    """Undo what bash does to a colon and an equals sign, by default: `pretrained:NAME`, `--split=val` are three words.

    Where that is the word to complete, bash replaces what follows the sign, so only that is left for an answer.

    Args:
        around: The environment, changed where it asks for completion in bash.
    """
    current = around.get("COMP_CWORD", "")
    if around.get("_NF_COMPLETE") != "complete_bash" or not current.isdecimal():
        return
    words = [*around.get("COMP_WORDS", "").split("\n"), ""][: int(current) + 1]
    text = re.sub(r"^(--[\w-]+)\n=(\n|\Z)", r"\1\n", "\n".join(words), flags=re.MULTILINE)
    words = text.split("\n")
    mended = re.sub(rf"^{PREFIX[:-1]}\n:(\n|$)", PREFIX, text, flags=re.MULTILINE).split("\n")
    if mended[-1] != words[-1]:
        mended[-1] = mended[-1].removeprefix(PREFIX)
        around[AFTER_COLON] = "1"
    around["COMP_WORDS"], around["COMP_CWORD"] = "\n".join(mended), str(len(mended) - 1)


def complete_run(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of runs that begin with `incomplete`: in the `--runs-dir` of the command line, and those that ship."""
    runs_dir = ctx.params["runs_dir"]
    names = [run.name for run in list_pretrained(runs_dir)]
    if AFTER_COLON in os.environ:
        names = [name.removeprefix(PREFIX) for name in names]
    else:
        with suppress(NFError, OSError):
            names = [*(run.name for run in list_runs(runs_dir)), *names]
    return [name for name in names if name.startswith(incomplete)]


def complete_preset(incomplete: str) -> list[tuple[str, str]]:
    """Names of presets that begin with `incomplete`, with what they are, and preset files."""
    names = [(name, preset.summary) for name, preset in PRESETS.items() if name.startswith(incomplete)]
    before = incomplete[: incomplete.rfind("/") + 1]  # as it was typed: pathlib would drop the ./
    files = sorted(f"{before}{path.name}" for path in Path(before).glob("*.toml"))
    return [*names, *((path, "preset file") for path in files if path.startswith(incomplete))]


def complete_one_of(choices: Sequence[str]) -> Callable[[str], list[str]]:
    """A function that completes one of these."""
    return lambda incomplete: [choice for choice in choices if choice.startswith(incomplete)]


def complete_splits(incomplete: str) -> list[str]:
    """Names of splits with commas between them; the last one is completed."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in SPLITS if name.startswith(last) and name not in before.split(",")]


def complete_format(incomplete: str) -> list[str]:
    """Formats of tables that begin with `incomplete`."""
    from nfcli.cli.tables import formats

    return complete_one_of(formats())(incomplete)
