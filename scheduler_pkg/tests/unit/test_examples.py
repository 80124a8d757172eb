"""The example packages: each is really installed, and its own tests run against it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import placer

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("name", sorted(path.parent.name for path in EXAMPLES.glob("*/README.md")))
def test_example_works_once_installed(name: str, tmp_path: Path) -> None:
    """pip builds and installs the package outside of Placer; entry points do the rest. No network.

    ``placer plugins`` lists what it adds.
    """
    target, copy = tmp_path / "installed", tmp_path / "source"
    _copy(EXAMPLES / name, copy)
    options = "--quiet --no-index --no-deps --no-build-isolation --no-cache-dir"
    _run(["pip", "install", *options.split(), "--target", str(target), str(copy)], {})
    sources = f"{Path(placer.__file__).parents[1]}{os.pathsep}{target}"
    assert f"placer-{name.replace('_', '-')}" in _run(
        ["placer", "plugins"], {"PYTHONPATH": sources}
    )
    options = f"-q -p no:cacheprovider --import-mode=importlib -c {os.devnull}"
    tests = str(EXAMPLES / name / "tests")
    _run(["pytest", *options.split(), "--rootdir", str(tmp_path), tests], {"PYTHONPATH": sources})


def _copy(source: Path, target: Path) -> None:
    """The package's sources elsewhere, so that the build leaves nothing in the tree."""
    for path in source.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            copied = target / path.relative_to(source)
            copied.parent.mkdir(parents=True, exist_ok=True)
            copied.write_bytes(path.read_bytes())


def _run(module: list[str], environment: dict[str, str]) -> str:
    ended = subprocess.run(
        [sys.executable, "-m", *module],
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
