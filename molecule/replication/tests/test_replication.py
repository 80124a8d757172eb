"""Where rows are, by each node's own account, and how a node comes by what it missed."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from cassandra import ConsistencyLevel
from cassandra.cluster import NoHostAvailable, Session
from cassandra.policies import FallthroughRetryPolicy
from cassandra.query import SimpleStatement

from client import Api
from deployment import Deployment, cql, docker, racks, session_on
from faults import Cluster
from lab import until
from load import claimed
from operate import three_nodes_a_cell

testinfra_hosts = ["ansible://machines"]

REPLICAS = 3
#: Hints are sent by a timer of each node, after it has seen that the other is back.
HINTED_S = 120
#: What is to be handed over is written to files now and then.
FLUSHED_S = 60
#: A write to the home of a global row is one way of the WAN away from everywhere.
EVERYWHERE_S = 15
#: Several times what a process waits between two tries to reach a node (store.reconnect_s).
REFUSED_S = 3
REQUESTS = 12
READS_MAX = 3


@pytest.fixture(autouse=True)
def _three_nodes_a_cell(deployment: Deployment) -> None:
    three_nodes_a_cell(deployment)


def keyspace(cell: str) -> str:
    return f"placer_{cell.replace('-', '_')}"


def wan_address(deployment: Deployment, node: str) -> str:
    """What other nodes know a node by."""
    networks = deployment.containers[node]["NetworkSettings"]["Networks"]
    return str(networks[f"{deployment.name}-wan"]["IPAddress"])


def test_every_node_knows_the_same_cells_and_racks(
    deployment: Deployment, cluster: Cluster
) -> None:
    """Each node's own tables name every node with the data centre and rack that it is configured with."""
    expected = {wan_address(deployment, node): place for node, place in racks(deployment).items()}
    for node in deployment.nodes:
        with session_on(deployment, node) as session:
            own = session.execute(
                "SELECT broadcast_address AS peer, data_center, rack FROM system.local"
            )
            peers = session.execute("SELECT peer, data_center, rack FROM system.peers_v2")
            seen = {str(row.peer): (row.data_center, row.rack) for row in [*own, *peers]}
        assert seen == expected, f"as {node} sees it"


def test_replicas_are_at_home_one_a_rack(deployment: Deployment, cluster: Cluster) -> None:
    """A row of a cell has its replicas in its own data centre, on as many racks; so say the tables of every node, and a
    node of each cell when it is asked where a row belongs."""
    places = {wan_address(deployment, node): place for node, place in racks(deployment).items()}
    for node in deployment.nodes:
        with session_on(deployment, node) as session:
            rows = session.execute("SELECT keyspace_name, replication FROM system_schema.keyspaces")
            replication = {row.keyspace_name: dict(row.replication) for row in rows}
        for settings in replication.values():
            settings.pop("class")
        for cell in deployment.cells:
            assert replication[keyspace(cell)] == {cell: str(REPLICAS)}, f"as {node} sees it"
        everywhere = dict.fromkeys(deployment.cells, str(REPLICAS))
        assert replication["placer_global"] == everywhere, f"as {node} sees it"
        assert replication["system_auth"] == everywhere, f"as {node} sees it"
    for asked, cell in zip(
        deployment.cells[1:] + deployment.cells[:1], deployment.cells, strict=True
    ):
        node = deployment.nodes_of(asked)[0]
        said = docker("exec", node, "nodetool", "getendpoints", keyspace(cell), "host", "any")
        replicas = [places[line.strip()] for line in said.splitlines() if line.strip()]
        assert len(replicas) == REPLICAS
        assert {datacenter for datacenter, _ in replicas} == {cell}, f"as {node} sees it"
        assert len({rack for _, rack in replicas}) == REPLICAS


def test_rows_of_a_cell_are_on_its_own_nodes_only(
    deployment: Deployment, api: Api, cluster: Cluster
) -> None:
    """After requests everywhere, a node has files of its own cell's keyspace and not one of another's."""
    for cell in deployment.cells:
        api.ask(cell, {"resources": {"VCPU": 1}, "cell": cell})
    for node in deployment.nodes:
        docker("exec", node, "nodetool", "flush")
        listed = docker("exec", node, "find", "/var/lib/cassandra/data", "-name", "*-Data.db")
        # .../data/KEYSPACE/TABLE-ID/FILE
        has = {line.split("/")[-3] for line in listed.splitlines()}
        own = {keyspace(cell) for cell in deployment.cells} & has
        assert own == {keyspace(deployment.cell_of(node))}, node


def test_global_rows_are_everywhere(deployment: Deployment, api: Api, cluster: Cluster) -> None:
    """What is built in one cell is in the tables of every node of every other."""
    for cell in deployment.cells:
        request = api.ask(cell, {"resources": {"VCPU": 1}, "cell": cell, "name": "everywhere"})
        built = api.reaches(cell, request["id"], "built")
        listed = api.get(cell, f"/v1/instances?name=everywhere&cell={cell}")["instances"]
        instance = next(one["id"] for one in listed if one["request"] == built["id"])
        for node in deployment.nodes:
            with session_on(deployment, node) as session:
                until(
                    partial(has, session, "placer_global.instance_by_id", instance),
                    seconds=EVERYWHERE_S,
                    what=f"{node} has the instance that {cell} built",
                )


class ReadAgain(FallthroughRetryPolicy):  # type: ignore[misc]  # the driver has no types
    """A node that has just started may take another for nearer than itself, until that one did not answer."""

    def on_read_timeout(self, *_: Any, retry_num: int, **__: Any) -> tuple[int, int | None]:
        return (self.RETRY, None) if retry_num < READS_MAX else (self.RETHROW, None)


def has(session: Session, table: str, key: str) -> bool:
    """Whether the node of ``session`` gives a row without asking another."""
    query = SimpleStatement(
        f"SELECT id FROM {table} WHERE id = %s",
        consistency_level=ConsistencyLevel.ONE,
        retry_policy=ReadAgain(),
    )
    return session.execute(query, (key,)).one() is not None


@contextlib.contextmanager
def alone(deployment: Deployment, node: str) -> Iterator[Session]:
    """A session on ``node`` while the others of its cell answer nothing: what it reads is its own."""
    others = [one for one in deployment.nodes_of(deployment.cell_of(node)) if one != node]
    with session_on(deployment, node) as session:
        # Who may read what is asked of a quorum and then kept for a while.
        session.execute("SELECT id FROM placer_global.instance_by_id LIMIT 1")
        docker("pause", *others)
        try:
            yield session
        finally:
            docker("unpause", *others)
            # It took them for dead meanwhile, and would refuse what needs a quorum.
            Cluster(deployment).wait_healthy()


def missing(deployment: Deployment, node: str, table: str, keys: list[str]) -> list[str]:
    """Those of ``keys`` that are not in the node's own data."""
    with alone(deployment, node) as session:
        return [key for key in keys if not has(session, table, key)]


def written(api: Api, cell: str) -> list[str]:
    """Ids of requests that were placed in ``cell``."""
    ids = []
    for _ in range(REQUESTS):
        done = api.ask(cell, {"resources": {"VCPU": 1}, "cell": cell})
        assert done["stage"] in ("placed", "built"), done
        ids.append(done["id"])
    return ids


def hints_for(deployment: Deployment, host_id: str) -> int:
    """Files with hints for a node that other nodes have. Cassandra's own table leaves out those that are being written."""
    total = 0
    for other in deployment.look_again().nodes:
        listed = docker(
            *("exec", other, "find", "/var/lib/cassandra/hints", "-name", f"{host_id}-*.hints"),
            check=False,  # of a node that is down
        )
        total += len(listed.split())
    return total


def test_node_that_was_down_catches_up_by_hints(
    deployment: Deployment, api: Api, cluster: Cluster
) -> None:
    """Claims go on without it; others keep what it misses and hand it over when it is back, with no repair."""
    cell = deployment.cells[-1]
    node = deployment.nodes_of(cell)[-1]
    name = f"missed-{uuid.uuid4().hex[:8]}"
    host_id = str(cql(deployment, node, "SELECT host_id FROM system.local")[0].host_id)
    docker("stop", node)
    try:
        for _ in range(REQUESTS):
            assert claimed(api, cell, cell, name)
        until(
            lambda: hints_for(deployment, host_id),
            seconds=FLUSHED_S,
            what=f"others hold hints for {node}",
        )
        listed = api.get(cell, f"/v1/instances?name={name}&cell={cell}")["instances"]
    finally:
        docker("start", node)
    assert len(listed) == REQUESTS
    cluster.wait_healthy()
    began = time.monotonic()
    until(
        lambda: not hints_for(deployment, host_id),
        seconds=HINTED_S,
        what=f"nobody holds hints for {node} any more",
    )
    print(f"hints handed over {time.monotonic() - began:.1f} s after the cluster was whole")
    ids = [one["id"] for one in listed]
    assert missing(deployment, node, "placer_global.instance_by_id", ids) == []


def test_node_that_lost_its_rows_gets_them_back_by_repair(
    deployment: Deployment, api: Api, cluster: Cluster
) -> None:
    """Without its cell's files it has none of the rows, which the quorum hides from everybody; a repair brings them all."""
    cell = deployment.cells[0]
    node = deployment.nodes_of(cell)[0]
    table = f"{keyspace(cell)}.request"
    ids = written(api, cell)
    docker("exec", node, "nodetool", "flush", keyspace(cell))
    docker("stop", node)
    image = deployment.containers[node]["Config"]["Image"]
    gone = "rm -rf /var/lib/cassandra/data/$0/*/*.db /var/lib/cassandra/commitlog/*"
    docker(
        *("run", "--rm", "--volumes-from", node, "--entrypoint", "sh", image),
        *("-c", gone, keyspace(cell)),
    )
    docker("start", node)
    cluster.wait_healthy()
    assert set(missing(deployment, node, table, ids)) == set(ids)
    for one in ids:
        assert api.request(cell, one)["stage"] in ("placed", "built")
    began = time.monotonic()
    docker("exec", node, "nodetool", "repair", "--full", keyspace(cell), seconds=300)
    print(f"repaired in {time.monotonic() - began:.1f} s")
    assert missing(deployment, node, table, ids) == []


def refuses_logins(deployment: Deployment, node: str) -> bool:
    """Whether ``node`` takes connections and refuses the right password."""
    try:
        cql(deployment, node, "SELECT key FROM system.local")
    except PermissionError:
        return True
    except NoHostAvailable:
        pass
    return False


def test_cell_whose_nodes_come_back_one_by_one_is_used_whole(
    deployment: Deployment, api: Api, cluster: Cluster
) -> None:
    """The first of them refuses every login, as it cannot ask the others who may log in; no process gives it up for that."""
    cell = deployment.cells[0]
    nodes = deployment.nodes_of(cell)
    first = nodes[0]
    docker("stop", *nodes, seconds=120)
    try:
        docker("start", first)
        until(
            partial(refuses_logins, deployment, first),
            seconds=120,
            what=f"{first} is up and refuses logins",
        )
        time.sleep(REFUSED_S)
        assert refuses_logins(deployment, first)
    finally:
        docker("start", *nodes)
    cluster.wait_healthy()
    cluster.wait_ready()
    assert api.unused_nodes(cell) == {}
    assert claimed(api, cell, cell, "used-again")
