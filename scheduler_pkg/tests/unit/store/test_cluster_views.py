"""The health gate's judgement: every node's own view of every other, never a port."""

from __future__ import annotations

import pytest

from placer.store.cluster_views import Node, _Gossip, judge

NODES = [Node(f"n{i}", f"10.0.0.{i}", f"192.0.2.{i}") for i in (1, 2, 3)]
Views = tuple[dict[str, _Gossip], dict[str, _Gossip]]


def seen(heartbeat: int, status: str = "NORMAL", schema: str = "a") -> _Gossip:
    return _Gossip(heartbeat=heartbeat, status=status, schema=schema, dc="dc1", rack="r1")


def whole() -> Views:
    """A node that sees all three alive, two gossip rounds apart."""
    return (
        {node.address: seen(10) for node in NODES},
        {node.address: seen(12) for node in NODES},
    )


def test_whole_cluster_has_no_problems() -> None:
    """All nodes NORMAL and alive in every view, one schema version."""
    state = judge(NODES, [whole(), whole(), whole()])
    assert state.problems == []
    assert state.nodes_up == 3


@pytest.mark.parametrize(
    ("after", "problem"),
    [
        pytest.param(seen(10), "n1 sees n3 silent", id="heartbeat stands still"),
        pytest.param(seen(12, status="LEFT"), "n1 sees n3 as LEFT", id="node that left"),
        pytest.param(seen(12, status=""), "n1 sees n3 as without status", id="no status yet"),
        pytest.param(seen(12, schema="b"), "2 schema versions: a, b", id="schemas differ"),
        pytest.param(None, "n1 sees n3 not at all", id="unknown to one node"),
    ],
)
def test_one_bad_view_is_enough(after: _Gossip | None, problem: str) -> None:
    """A problem in a single node's view fails the gate and is named."""
    before, now = whole()
    if after is None:
        del now["192.0.2.3"]
    else:
        now["192.0.2.3"] = after
    state = judge(NODES, [(before, now), whole(), whole()])
    assert problem in state.problems


def test_node_that_does_not_answer_is_named_and_not_up() -> None:
    """The others' views do not make up for a node that cannot be asked."""
    state = judge(NODES, [whole(), whole(), "connection refused"])
    assert state.problems == ["n3 does not answer: connection refused"]
    assert state.nodes_up == 2
    assert [node.status for node in state.nodes] == ["NORMAL", "NORMAL", "DOWN"]
