"""README and CHANGELOG say what the program does."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

import nfcli
from nfcli.errors import NFError
from nfcli.presets import PRESETS
from tests.cli.make_readme import README, renewed
from tests.cli.test_startup import COMMANDS

CHANGELOG = README.with_name("CHANGELOG.md")


@pytest.fixture(scope="module")
def readme():
    return README.read_text(encoding="utf-8")


def test_generated_parts_are_current(readme):
    assert "<!-- pretrained: begin -->" in readme
    assert renewed(readme) == readme, "run python -m tests.cli.make_readme"


def test_every_command_has_a_recipe(readme):
    for command in COMMANDS:
        assert f"nf {command}" in readme


def test_readme_is_short(readme):
    assert len(readme.splitlines()) <= 350


def test_parameters_are_those_of_the_presets(readme):
    for preset in PRESETS.values():
        assert re.search(rf"\| `{preset.name}` \|.*\| {preset.reference_parameters:,} \|", readme)


def test_exit_codes_are_those_of_the_errors(readme):
    (table,) = re.findall(r"\| code \| meaning \|\n\|---\|---\|\n(.*?)\n\n", readme, re.DOTALL)
    written = {int(code) for row in table.splitlines() for code in re.findall(r"\d+", row.split("|")[1])}

    def codes(kind):
        return {kind.exit_code}.union(*(codes(below) for below in kind.__subclasses__()))

    assert written == {0, 129, 130, 143} | codes(NFError)


def test_pictures_are_there(readme):
    pictures = re.findall(r"!\[.*?\]\((.*?)\)", readme)
    assert pictures
    for picture in pictures:
        assert (README.parent / picture).is_file()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
def test_shell_blocks_are_shell(readme):
    blocks = re.findall(r"```sh\n(.*?)```", readme, re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        subprocess.run(["bash", "-n"], input=block, text=True, check=True)


def test_changelog_has_the_form_and_the_version():
    text = CHANGELOG.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}", heading)[1] for heading in headings[1:]]
    # Before the first release, the version is the one that it will have.
    assert nfcli.__version__ == (released[0] if released else "0.1.0")
    kinds = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert set(re.findall(r"^### (.*)$", text, re.MULTILINE)) <= kinds


def test_packages_that_are_promised_are_declared():
    declared = Path(README.with_name("pyproject.toml")).read_text(encoding="utf-8")
    for name in ("jax", "flax", "optax", "typer", "rich", "tensorflow-datasets", "orbax-checkpoint", "tabulate"):
        assert re.search(rf'"{name}>=', declared)
