"""docs/proof/mutants.md names every known-wrong build of the tests, and no other."""

from __future__ import annotations

import re
import sys

import pytest

from deployment import ROOT
from suites.process import run

PAGE = ROOT / "docs" / "proof" / "mutants.md"
#: Tests of mutants by their names: all in a file of mutants, and those that say so.
MUTANT = re.compile(r"mutants\w*\.py::|::\w*(?:mutant|_notices|_is_noticed)")

#: A test's file and the mutant: the id of its parameters, or the test's own name.
Line = tuple[str, str]


def collected(node_ids: str) -> set[Line]:
    """The mutants among what pytest collected."""
    found = set()
    for node in node_ids.splitlines():
        if MUTANT.search(node):
            path, _, test = node.strip().partition("::")
            name, _, parameters = test.partition("[")
            found.add((path, parameters.removesuffix("]") or name))
    return found


def listed(page: str) -> set[Line]:
    """The mutants of a page: each section has a link to its file and a table."""
    found = set()
    for section in page.split("\n## ")[1:]:
        files = re.findall(r"\]\(\.\./\.\./(\S+\.py)\)", section)
        assert len(files) == 1, f"one test file a section, not {files}: {section[:60]!r}"
        found |= {(files[0], name) for name in re.findall(r"^\| `([^`]+)` \|", section, re.M)}
    return found


@pytest.fixture(scope="module")
def tests() -> set[Line]:
    """What pytest collects of the package's tests."""
    ended = run(
        [sys.executable, "-m", "pytest", "--collect-only", "scheduler_pkg/tests"],
        seconds=240,
    )
    assert ended.status == 0, ended.output
    return collected(ended.output)


def test_every_mutant_has_its_line(tests: set[Line]) -> None:
    """Whoever adds one says what it breaks."""
    assert tests, "no mutant was collected"
    missing = sorted(tests - listed(PAGE.read_text()))
    assert not missing, f"docs/proof/mutants.md lacks {missing}"


def test_every_line_has_its_mutant(tests: set[Line]) -> None:
    """What is claimed here is run."""
    stale = sorted(listed(PAGE.read_text()) - tests)
    assert not stale, f"docs/proof/mutants.md names what no test has: {stale}"


def test_every_line_says_what_is_broken() -> None:
    """No empty cell."""
    empty = [line for line in PAGE.read_text().splitlines() if re.match(r"\|.*\|\s*\|", line)]
    assert not empty


@pytest.mark.parametrize(
    ("page", "nodes", "missing", "stale"),
    [
        pytest.param("| `a` | x |", "f.py::test_mutant_x[a]\n", set(), set(), id="both agree"),
        pytest.param("| `a` | x |", "", set(), {("f.py", "a")}, id="a line without a test"),
        pytest.param(
            "nothing", "f.py::test_x_is_noticed\n", {("f.py", "test_x_is_noticed")}, set(),
            id="a mutant without a line",
        ),
        pytest.param(
            "| `b` | x |", "f.py::test_the_simulation_notices[a-b]\n", {("f.py", "a-b")},
            {("f.py", "b")}, id="another name",
        ),
        pytest.param("nothing", "f.py::test_what_is_right[a]\n", set(), set(), id="other tests"),
    ],
)  # fmt: skip
def test_both_ways_are_noticed(page: str, nodes: str, missing: set[Line], stale: set[Line]) -> None:
    """A mutant that is not listed, and a line whose test is gone."""
    lines = listed(f"\n## Title\n\n[f](../../f.py)\n\n{page}\n")
    assert (collected(nodes) - lines, lines - collected(nodes)) == (missing, stale)
