"""An engine to ask what is left, also where ``./demo down`` stopped the one that it had started by hand."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployment import ROOT

SCRIPTS = ROOT / "roles/docker/files"
START_S = 60


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The engine that runs, or the stopped one started over the same data for as long as the tests look at it."""
    asked = subprocess.run(
        ["docker", "version"], capture_output=True, text=True, timeout=60, check=False
    )
    if asked.returncode == 0:
        yield
        return
    folder = tmp_path_factory.mktemp("engine")
    mark = str(folder / "dockerd.pid")
    script("start-dockerd.sh", mark, str(folder / "dockerd.log"), str(START_S))
    yield
    script("stop-dockerd.sh", mark, str(START_S))


def script(name: str, *arguments: str) -> None:
    """Run one of the role's scripts; what it says is the failure's text."""
    done = subprocess.run(
        ["sh", str(Path(SCRIPTS, name)), *arguments],
        # A pipe would stay open as long as the daemon that the script leaves running.
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        timeout=2 * START_S,
        check=False,
    )
    assert done.returncode == 0, f"{name}: {done.stderr.strip()}"
