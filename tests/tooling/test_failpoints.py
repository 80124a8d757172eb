"""Every fail point is one at which a test kills a process, so that none is added and forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from deployment import ROOT
from placer.failpoints import POINTS

#: Here the processes are real ones and die by SIGKILL.
KILLING = ("tests/integration", "scheduler_pkg/tests/containers")


def words() -> Iterator[str]:
    """Every string of those tests' code; docstrings and comments do not name a point alone."""
    for folder in KILLING:
        for path in (ROOT / folder).glob("test_*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    yield node.value


@pytest.mark.parametrize("point", sorted(POINTS))
def test_some_process_dies_at_each_point(point: str) -> None:
    """A step whose crash nobody tried is a step whose recovery nobody saw."""
    assert point in set(words()), f"no test in {' or '.join(KILLING)} arms {point}"
