"""What a server group leaves to choose from."""

from __future__ import annotations

import msgspec
import pytest

from placer.model.groups import Place, Policy, Scope, ServerGroup
from placer.scheduler import groups
from placer.scheduler.groups import GroupFacts
from placer.settings import Cell

from ..factories import view

CELLS = [Cell(name, name[:3], name, ("x",)) for name in ("nyc1", "nyc2", "ams1")]
IN_NYC1 = Place("nyc", "nyc1", "h1")


def facts(policy: str, scope: str, *members: Place) -> GroupFacts:
    return GroupFacts(ServerGroup("nyc1.g", "g", Policy(policy), Scope(scope), "p"), members)


@pytest.mark.parametrize(
    ("known", "left"),
    [
        pytest.param(facts("affinity", "cell"), ["nyc1", "nyc2", "ams1"], id="nobody is there yet"),
        pytest.param(facts("affinity", "cell", IN_NYC1), ["nyc1"], id="together in a cell"),
        pytest.param(facts("affinity", "host", IN_NYC1), ["nyc1"], id="together on a host"),
        pytest.param(facts("affinity", "region", IN_NYC1), ["nyc1", "nyc2"], id="in a region"),
        pytest.param(facts("anti-affinity", "cell", IN_NYC1), ["nyc2", "ams1"], id="apart by cell"),
        pytest.param(facts("anti-affinity", "region", IN_NYC1), ["ams1"], id="apart by region"),
        pytest.param(
            facts("anti-affinity", "host", IN_NYC1),
            ["nyc1", "nyc2", "ams1"],
            id="another host of the same cell will do",
        ),
    ],
)
def test_cells_that_remain(known: GroupFacts, left: list[str]) -> None:
    """A cell goes only if no host of it may hold the next member."""
    assert groups.cells_left(known, CELLS) == left


@pytest.mark.parametrize(
    ("known", "members_here", "reason"),
    [
        pytest.param(facts("anti-affinity", "host"), 0, "", id="no member on this host"),
        pytest.param(facts("anti-affinity", "host"), 1, groups.ANTI_AFFINITY, id="one is here"),
        pytest.param(facts("affinity", "host"), 0, "", id="the first may be here"),
        pytest.param(
            facts("affinity", "host", Place("r1", "c1", "other")),
            0,
            groups.AFFINITY,
            id="the others are on another host",
        ),
        pytest.param(
            facts("anti-affinity", "cell", Place("r1", "c1", "other")),
            0,
            groups.ANTI_AFFINITY,
            id="the cell has a member",
        ),
    ],
)
def test_hosts_that_remain(known: GroupFacts, members_here: int, reason: str) -> None:
    """Anti-affinity of hosts is read from the host's own view, the rest from the group's row."""
    host = msgspec.structs.replace(view("h1"), groups={"nyc1.g": members_here})
    assert groups.rejects(known, host) == reason


def test_instances_of_one_request_see_each_other() -> None:
    """Each instance is chosen as if those before it had joined."""
    known = facts("anti-affinity", "cell")
    for expected in ("nyc1", "nyc2", "ams1"):
        cell = groups.cells_left(known, CELLS)[0]
        assert cell == expected
        known = known.joined(Place(cell[:3], cell, "h"))
    assert groups.cells_left(known, CELLS) == []
