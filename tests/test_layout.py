"""Arrows between rooms go one way, as CONTRIBUTING.md draws them; no file outgrows a screen or three."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "nfcli"
MOST_LINES = 250


def table() -> dict[str, set[str]]:
    """What each room may import, from the table in CONTRIBUTING.md."""
    allowed: dict[str, set[str]] = {}
    for line in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        names = re.findall(r"`([a-z]+)/?`", cells[0])
        if not line.startswith("|") or not names:
            continue
        words = cells[2].split()
        above = set(allowed)
        may = above - set(words[3:]) if words[:2] == ["everything", "above"] else set(words)
        for name in names:
            allowed[name] = may | set(names)
    return allowed


def room(module: str) -> str:
    return module.split(".")[1] if "." in module else "package"


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"nfcli.{alias.name}" for alias in node.names} if node.module == "nfcli" else {node.module}
    return {name for name in found if name.split(".")[0] == "nfcli"}


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.name.startswith("__"))


def test_the_table_names_every_room():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert set(table()) == rooms


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_arrows_go_one_way(path):
    here = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    # A main module is a command of its own.
    allowed = table()["cli" if path.name == "__main__.py" else here] | {"__version__", "package"}
    assert {room(name) for name in imports(path)} - allowed == set()


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_long(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_LINES
