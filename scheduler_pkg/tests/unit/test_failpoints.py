"""Fail points: one table of names, armed by the environment, silent otherwise."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import placer
from placer import failpoints
from placer.errors import InvalidInput

SOURCES = Path(placer.__file__).parent


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.arm({})


def test_every_place_in_the_code_is_in_the_table() -> None:
    """A name that is not in the table could never be armed; one that is nowhere never reached."""
    used = {
        name
        for path in SOURCES.rglob("*.py")
        for name in re.findall(r'failpoints\.reach\("([^"]+)"\)', path.read_text())
    }
    # The decision's own name is put together in one place.
    used |= {"writeset.committed", "writeset.aborted"}
    assert used == failpoints.POINTS.keys()


@pytest.mark.parametrize(
    "value",
    [
        pytest.param("claim.nowhere", id="a name that is not there"),
        pytest.param("claim.after_lwt:0", id="the zeroth time"),
        pytest.param("claim.after_lwt:soon", id="a count that is no number"),
    ],
)
def test_wrong_fail_point_is_refused_at_start(value: str) -> None:
    """A typing error must not turn a test of recovery into one of nothing."""
    with pytest.raises(InvalidInput) as caught:
        failpoints.arm({failpoints.VARIABLE: value})
    assert value.split(":")[-1] in str(caught.value)


def test_nothing_happens_unless_armed() -> None:
    """Without the variable every place is passed."""
    failpoints.arm({})
    for name in failpoints.POINTS:
        failpoints.reach(name)


def test_process_dies_at_the_given_time() -> None:
    """Killed by SIGKILL when it reaches the place the second time, not before."""
    code = (
        "import os; from placer import failpoints as f; f.arm(os.environ)\n"
        "f.reach('claim.after_lwt'); print('once', flush=True); f.reach('claim.after_lwt')\n"
        "print('twice', flush=True)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(SOURCES.parent), failpoints.VARIABLE: "claim.after_lwt:2"},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (ended.stdout, ended.returncode) == (b"once\n", -9)
