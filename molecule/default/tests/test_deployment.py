"""The deployment as an operator and an intruder find it. Whatever asks Cassandra asks every node of its own view."""

from __future__ import annotations

import json
import stat

import pytest
from testinfra.host import Host

from deployment import Deployment, cql, docker, gossip_view

testinfra_hosts = ["ansible://machines"]

MIB = 1 << 20
NODE_MIB_MAX = 512
SERVICE_MIB_MAX = 256
REPLICAS_MAX = 3


def test_every_cell_has_its_containers(deployment: Deployment) -> None:
    """Nodes, an API, a scheduler and an agent a cell, all running, none restarted or killed for memory."""
    assert len(deployment.cells) >= 3
    assert len({len(deployment.nodes_of(cell)) for cell in deployment.cells}) == 1
    for cell in deployment.cells:
        for part in ("api-1", "scheduler-1", "agent-1"):
            name = f"{deployment.name}-{cell}-{part}"
            assert name in deployment.containers, f"{name} is missing"
    for name, container in deployment.containers.items():
        assert container["State"]["Running"], f"{name} is {container['State']['Status']}"
        assert not container["State"]["OOMKilled"], name
        assert container["RestartCount"] == 0, name


def test_memory_is_limited_and_kept(deployment: Deployment) -> None:
    """A node fits into 512 MiB and a service into 256; what each uses is below its limit."""
    for name, container in deployment.containers.items():
        limit = container["HostConfig"]["Memory"]
        most = NODE_MIB_MAX if name in deployment.nodes else SERVICE_MIB_MAX
        assert 0 < limit <= most * MIB, f"{name}: limit {limit // MIB} MiB"
    said = docker("stats", "--no-stream", "--format", "{{json .}}", *deployment.containers)
    for line in said.splitlines():
        usage = json.loads(line)
        assert float(usage["MemPerc"].rstrip("%")) < 100, usage["Name"]


def test_only_loopback_ports_are_published(host: Host, deployment: Deployment) -> None:
    """One port a cell, on 127.0.0.1; Cassandra's and the schedulers' are not reachable from outside."""
    published = {
        (binding["HostIp"], binding["HostPort"])
        for container in deployment.containers.values()
        for bindings in (container["NetworkSettings"]["Ports"] or {}).values()
        for binding in bindings or []
    }
    expected = {str(deployment.port_base + 1 + number) for number in range(len(deployment.cells))}
    assert published == {("127.0.0.1", port) for port in expected}
    for port in expected:
        assert host.socket(f"tcp://127.0.0.1:{port}").is_listening
        assert not host.socket(f"tcp://0.0.0.0:{port}").is_listening


@pytest.mark.parametrize(
    ("user", "password"),
    [
        pytest.param("cassandra", "cassandra", id="the default superuser"),
        pytest.param("placer_admin", "cassandra", id="our administrator with a wrong password"),
        pytest.param("placer_scheduler", "", id="a service without a password"),
        pytest.param("nobody", "nobody", id="an unknown role"),
    ],
)
def test_login_is_refused(deployment: Deployment, user: str, password: str) -> None:
    """Every node refuses every login but those with a generated secret."""
    for node in deployment.nodes:
        with pytest.raises(PermissionError):
            cql(deployment, node, "SELECT release_version FROM system.local", user, password)


def test_every_node_sees_all_nodes_normal(deployment: Deployment) -> None:
    """Membership and schema agree in each node's own eyes."""
    addresses: dict[str, set[str]] = {}
    versions = set()
    for node in deployment.nodes:
        view = gossip_view(deployment, node)
        assert set(view.values()) == {"NORMAL"}, f"{node} sees {view}"
        addresses[node] = set(view)
        rows = cql(deployment, node, "SELECT schema_version FROM system.local")
        versions |= {row.schema_version for row in rows}
    assert all(seen == addresses[deployment.nodes[0]] for seen in addresses.values())
    assert len(addresses[deployment.nodes[0]]) == len(deployment.nodes)
    assert len(versions) == 1


def test_replication_follows_the_cells(deployment: Deployment) -> None:
    """A cell's keyspace lives in its own data centre only; what all need lives in every one."""
    rows = cql(
        deployment,
        deployment.nodes[0],
        "SELECT keyspace_name, replication FROM system_schema.keyspaces",
    )
    replication = {row.keyspace_name: dict(row.replication) for row in rows}
    for settings in replication.values():
        settings.pop("class")
    everywhere = {
        cell: str(min(REPLICAS_MAX, len(deployment.nodes_of(cell)))) for cell in deployment.cells
    }
    for cell in deployment.cells:
        assert replication[f"placer_{cell}"] == {cell: everywhere[cell]}
    assert replication["placer_global"] == everywhere
    assert replication["system_auth"] == everywhere


def test_secrets_are_private(deployment: Deployment) -> None:
    """Generated, for their owner's eyes only, and in no container's environment or command line."""
    folder = deployment.run_dir / "secrets"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    secrets = {}
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path.name
        secrets[path.name] = path.read_text().strip()
        assert len(secrets[path.name]) >= 32, path.name
    assert len(set(secrets.values())) == len(secrets)
    for name, container in deployment.containers.items():
        shown = json.dumps([container["Config"], container["Args"], container["Path"]])
        for secret, value in secrets.items():
            assert value not in shown, f"{secret} shows in {name}"


def test_everything_is_labelled(deployment: Deployment) -> None:
    """Whatever bears the deployment's name bears its label, or `down` would miss it."""
    for listing in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        field = "{{.Names}}" if listing[0] == "ps" else "{{.Name}}"
        named = docker(*listing, "--format", field, "--filter", f"name={deployment.name}-")
        labelled = docker(
            *listing, "--format", field, "--filter", f"label={deployment.label}"
        ).split()
        assert labelled
        assert set(named.split()) <= set(labelled)


def test_no_root_inside(deployment: Deployment) -> None:
    """Nodes and services run as users of their own. The WAN's container shapes the host's traffic and may not."""
    for name, container in deployment.containers.items():
        if name == f"{deployment.name}-wan" or container["HostConfig"]["NetworkMode"] == "host":
            continue
        rows = docker("top", name, "-eo", "uid,pid,args").splitlines()[1:]
        owners = {row.split(maxsplit=1)[0]: row for row in rows}
        assert "0" not in owners, f"{name}: {owners.get('0')}"
        assert not container["HostConfig"]["Privileged"], name
