"""A Docker Engine to test with: the one that runs, or the stopped one, started for as long as it is needed."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from deployment import ROOT

SCRIPTS = ROOT / "roles/docker/files"
START_S = 60


@contextlib.contextmanager
def running(folder: Path) -> Iterator[None]:
    """An engine answers. ``folder`` takes the notes of one that is started here, over the data that is there."""
    asked = subprocess.run(
        ["docker", "version"], capture_output=True, text=True, timeout=60, check=False
    )
    if asked.returncode == 0:
        yield
        return
    mark = str(folder / "dockerd.pid")
    _script("start-dockerd.sh", mark, str(folder / "dockerd.log"), str(START_S))
    try:
        yield
    finally:
        _script("stop-dockerd.sh", mark, str(START_S))


def _script(name: str, *arguments: str) -> None:
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
