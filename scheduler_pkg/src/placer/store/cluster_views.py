"""The cluster as each of its nodes sees it: the health gate's evidence.

A port that answers proves little. Each node is asked over CQL for its own gossip table
(``system_views.gossip_info``) several times. A peer is up in a node's view when its status is NORMAL
and its heartbeat advanced since the first look. The cluster is whole when every node sees every
expected node up and all name one schema version. It needs no JMX and no tool in the node's image.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from cassandra import ConsistencyLevel
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import EXEC_PROFILE_DEFAULT, Cluster, ExecutionProfile
from cassandra.policies import WhiteListRoundRobinPolicy
from msgspec import Struct

#: Gossip rounds run once a second, each with one peer or two: between two looks, and how long the
#: heartbeat of a live node may take to come round.
_PAUSE_S: Final = 1.0
_ROUND_S: Final = 10.0
_TIMEOUT_S: Final = 10.0
_SILENT: Final = "silent"
#: ``status_with_port``, not ``status``: the latter is null for every node but the one asked (5.0.9).
_GOSSIP: Final = (
    'SELECT address, heartbeat, status_with_port, "schema", dc, rack FROM system_views.gossip_info'
)


class Node(Struct, frozen=True):
    """A node that is expected: where to ask it, and the address that others know it by."""

    name: str
    contact: str
    address: str


class NodeState(Struct, frozen=True):
    """What became of a node. ``seen_by``: how many nodes see it up; ``schema``: in its own view."""

    name: str
    address: str
    dc: str
    rack: str
    status: str
    seen_by: int
    schema: str


class ClusterState(Struct, frozen=True):
    """The answer of the gate: all well when ``problems`` is empty."""

    nodes: list[NodeState]
    nodes_up: int
    problems: list[str]


class _Gossip(Struct, frozen=True):
    heartbeat: int
    status: str
    schema: str
    dc: str
    rack: str


def look(nodes: Sequence[Node], credentials: Sequence[tuple[str, str]]) -> ClusterState:
    """Ask every node for its view of every other; ``credentials`` are tried in order."""
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        views = list(pool.map(lambda node: _ask(node, nodes, credentials), nodes))
    return judge(nodes, views)


def judge(
    nodes: Sequence[Node],
    views: Iterable[tuple[dict[str, _Gossip], dict[str, _Gossip]] | str],
) -> ClusterState:
    """Pure: the state from each node's first and last look, or why it could not be asked."""
    problems: list[str] = []
    seen_by = dict.fromkeys((node.address for node in nodes), 0)
    own: dict[str, _Gossip] = {}
    schemas: set[str] = set()
    answered = 0
    for node, view in zip(nodes, views, strict=True):
        if isinstance(view, str):
            problems.append(f"{node.name} does not answer: {view}")
            continue
        answered += 1
        before, after = view
        for peer in nodes:
            trouble = _trouble(before.get(peer.address), after.get(peer.address))
            if trouble:
                problems.append(f"{node.name} sees {peer.name} {trouble}")
            else:
                seen_by[peer.address] += 1
        schemas |= {state.schema for address, state in after.items() if address in seen_by}
        if node.address in after:
            own[node.address] = after[node.address]
    if len(schemas) > 1:
        problems.append(f"{len(schemas)} schema versions: {', '.join(sorted(schemas))}")
    states = [_state(node, own.get(node.address), seen_by[node.address]) for node in nodes]
    up = sum(1 for state in states if state.status == "NORMAL" and state.seen_by == answered)
    return ClusterState(nodes=states, nodes_up=up, problems=problems)


def _trouble(before: _Gossip | None, after: _Gossip | None) -> str:
    if before is None or after is None:
        return "not at all"
    if after.status != "NORMAL":
        return f"as {after.status or 'without status'}"
    if after.heartbeat <= before.heartbeat:
        return _SILENT
    return ""


def _state(node: Node, own: _Gossip | None, seen_by: int) -> NodeState:
    return NodeState(
        name=node.name,
        address=node.address,
        dc=own.dc if own else "",
        rack=own.rack if own else "",
        status=own.status if own else "DOWN",
        seen_by=seen_by,
        schema=own.schema if own else "",
    )


def _ask(
    node: Node, peers: Sequence[Node], credentials: Sequence[tuple[str, str]]
) -> tuple[dict[str, _Gossip], dict[str, _Gossip]] | str:
    """What ``node`` saw first and last: it is asked until nobody is silent, at most for a round."""
    error = "no credentials"
    for username, password in credentials:
        cluster = Cluster(
            contact_points=[node.contact],
            protocol_version=5,
            auth_provider=PlainTextAuthProvider(username, password),
            execution_profiles={
                EXEC_PROFILE_DEFAULT: ExecutionProfile(
                    # This node and no other: its own view is what is asked for.
                    load_balancing_policy=WhiteListRoundRobinPolicy([node.contact]),
                    consistency_level=ConsistencyLevel.ONE,
                    request_timeout=_TIMEOUT_S,
                )
            },
            connect_timeout=_TIMEOUT_S,
            control_connection_timeout=_TIMEOUT_S,
            schema_metadata_enabled=False,
            token_metadata_enabled=False,
        )
        try:
            session = cluster.connect()
            before = _gossip(session.execute(_GOSSIP))
            for _ in range(round(_ROUND_S / _PAUSE_S)):
                time.sleep(_PAUSE_S)
                after = _gossip(session.execute(_GOSSIP))
                seen = [_trouble(before.get(p.address), after.get(p.address)) for p in peers]
                if _SILENT not in seen:
                    break
            return before, after
        except Exception as failed:
            error = str(failed).splitlines()[0]
        finally:
            cluster.shutdown()
    return error


def _gossip(rows: Iterable[Any]) -> dict[str, _Gossip]:
    return {
        str(row.address): _Gossip(
            heartbeat=row.heartbeat or 0,
            status=(row.status_with_port or "").partition(",")[0],
            schema=str(row.schema or ""),
            dc=row.dc or "",
            rack=row.rack or "",
        )
        for row in rows
    }
