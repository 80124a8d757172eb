"""Imports point one way: errors, settings <- model <- store <- claims <- scheduler <- api, cli."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import placer

ROOT = Path(placer.__file__).parent

#: What each part may import besides itself, errors, settings and the standard pieces below.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "settings": set(),
    "failpoints": set(),
    "tracing": set(),
    "telemetry": set(),
    "redaction": set(),
    "diagnosis": set(),
    "metrics": set(),
    "percentiles": set(),
    "logs": {"diagnosis"},
    "model": set(),
    "history": {"model"},
    "directory": {"model", "store"},
    "identity": set(),
    "http": {"logs", "metrics"},
    "store": {"model", "metrics"},
    "claims": {"model", "store", "history", "metrics"},
    "scheduler": {
        *("model", "store", "claims", "history", "metrics", "http", "logs"),
        *("directory", "diagnosis", "identity"),
    },
    "agents": {"model", "logs", "diagnosis"},
    "api": {"model", "store", "http", "logs", "metrics", "directory", "diagnosis"},
    "checker": {"model", "history", "store"},
    "replay": {"model", "percentiles", "history"},
    "report": {"percentiles"},
    "__main__": {"cli"},
    "cli": {
        *("model", "store", "scheduler", "agents", "api", "checker", "replay", "report"),
        *("http", "logs", "history", "percentiles", "diagnosis", "identity"),
    },
}
LOWEST = {"errors", "settings", "failpoints", "tracing", "redaction", "telemetry"}


def part_of(module: str) -> str:
    """The part a dotted module of the package belongs to; '' for the package itself."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """Modules of the package that ``path`` imports, wherever in the file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            if node.module == "placer":
                found |= {f"placer.{alias.name}" for alias in node.names}
            else:
                found.add(node.module)
    return {name for name in found if name.startswith("placer.")}


@pytest.mark.parametrize(
    "path", sorted(ROOT.rglob("*.py")), ids=lambda path: str(path.relative_to(ROOT))
)
def test_imports_point_one_way(path: Path) -> None:
    """No module imports from a part above its own."""
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    back = {
        name
        for name in imports(path)
        if part_of(name) not in {own, *LOWEST, *ALLOWED[own]} and name != "placer.__version__"
    }
    assert not back, f"{path.relative_to(ROOT)} imports {sorted(back)}"


@pytest.mark.parametrize("name", ["scheduler/select.py", "scheduler/filters", "scheduler/weighers"])
def test_decisions_are_pure(name: str) -> None:
    """The code that decides imports no clock, no network, no environment."""
    path = ROOT / name
    for file in [path] if path.is_file() else path.glob("*.py"):
        names = {
            alias.name
            for node in ast.walk(ast.parse(file.read_text()))
            if isinstance(node, ast.Import)
            for alias in node.names
        }
        assert names.isdisjoint({"time", "os", "asyncio", "socket", "datetime"}), file
