"""Three small machines with an engine each: what runs where, what it takes, who can reach it, and one claim from end to end."""

from __future__ import annotations

import json
from typing import Any

import httpx
from droplets import (
    DEPLOYMENT,
    HOSTS,
    MEMORY_MIB,
    PORTS,
    PRIVATE,
    PUBLIC,
    RUN_DIR,
    SERVICES,
    answers,
)
from testinfra.host import Host

from lab import until

testinfra_hosts = HOSTS

MIB = 1 << 20
BUILT_S = 30.0
CGROUP = "/sys/fs/cgroup/memory"


def name_of(host: Host) -> str:
    """The machine's name in the inventory."""
    return str(host.check_output("hostname"))


def containers(host: Host) -> dict[str, dict[str, Any]]:
    """Name -> what the machine's own engine says of it."""
    names = host.check_output("docker ps --all --format '{{.Names}}'").split()
    found = json.loads(host.check_output(f"docker inspect {' '.join(names)}"))
    return {item["Name"].removeprefix("/"): item for item in found}


def test_a_machine_runs_its_share(host: Host) -> None:
    """A node and one service, under its own engine; nothing was restarted or killed for memory."""
    name = name_of(host)
    found = containers(host)
    assert set(found) == {f"{DEPLOYMENT}-{name}", f"{DEPLOYMENT}-nyc1-{SERVICES[name]}"}
    for container, item in found.items():
        assert item["State"]["Running"], f"{container} is {item['State']['Status']}"
        assert not item["State"]["OOMKilled"], container
        assert item["RestartCount"] == 0, container


def test_it_fits_into_a_small_machine(host: Host) -> None:
    """Engine, node, service and the rest of the machine share 512 MiB, and the kernel had to kill nothing.

    The kernel counts what the inner engine starts against the machine: its group lies below the machine's.
    """
    assert int(host.file(f"{CGROUP}/memory.limit_in_bytes").content_string) == MEMORY_MIB * MIB
    inner = host.check_output(f"ls -d {CGROUP}/docker/*/").split()
    assert len(inner) == 2, "the containers' groups are not below the machine's"
    stat = dict(
        line.split() for line in host.file(f"{CGROUP}/memory.stat").content_string.splitlines()
    )
    held = int(stat["total_rss"]) // MIB
    assert 0 < held < MEMORY_MIB, f"{held} MiB held"
    assert "oom_kill 0" in host.file(f"{CGROUP}/memory.oom_control").content_string


def test_it_listens_where_it_must(host: Host) -> None:
    """SSH for everybody; Cassandra, the API and the schedulers on the private address alone."""
    name = name_of(host)
    rows = [line.split() for line in host.check_output("ss -Hltn").splitlines()]
    local = {row[3].rpartition(":")[::2] for row in rows}
    open_ports = {(address, int(port)) for address, port in local}
    beyond = {pair for pair in open_ports if not pair[0].strip("[]").startswith(("127.", "::1"))}
    private = {7000, 9042} | PORTS[SERVICES[name]]
    assert {pair for pair in beyond if pair[1] != 22} == {(PRIVATE[name], port) for port in private}
    for port in (7000, 7199, 8700, 8790, 8890, 9042, 2375):
        assert not answers(PUBLIC[name], port), f"{port} is open on the public address"
    assert answers(PUBLIC[name], 22)


def test_each_node_saw_three_up() -> None:
    """In each node's own eyes, as the gate of the last deployment asked them: there is no room for nodetool's JVM."""
    said = json.loads((RUN_DIR / "parts" / "cluster.json").read_text())
    assert {
        (node["name"], node["address"], node["dc"], node["rack"]) for node in said["nodes"]
    } == {(name, address, "nyc1", name.removeprefix("nyc1-")) for name, address in PRIVATE.items()}
    assert {(node["status"], node["seen_by"]) for node in said["nodes"]} == {("NORMAL", 3)}
    assert len({node["schema"] for node in said["nodes"]}) == 1


def test_secrets_are_for_the_services_alone(host: Host) -> None:
    """The user who deploys cannot read them without becoming root."""
    folder = f"/var/lib/placer/{DEPLOYMENT}/services/secrets"
    files = host.check_output(f"ls {folder}").split()
    assert files
    for file in files:
        found = host.file(f"{folder}/{file}")
        assert (found.mode, found.uid) == (0o400, 10001), file


def test_a_claim_from_end_to_end(api: httpx.Client) -> None:
    """Asked of the API on one machine, claimed by the scheduler on the second, built by the agent on the third, and gone again."""
    answer = api.post("/v1/requests", params={"wait": "30s"}, json={"resources": {"VCPU": 1}})
    assert answer.status_code == 200, answer.text
    request = answer.json()
    assert request["stage"] in ("placed", "built"), request
    place = f"/v1/requests/{request['id']}"
    built = until(
        lambda: stage(api, place, "built"), seconds=BUILT_S, what=f"{request['id']} is built"
    )
    assert built["placements"][0]["cell"] == "nyc1"
    assert api.delete(place).status_code in (200, 202)
    until(lambda: stage(api, place, "cancelled"), seconds=BUILT_S, what=f"{request['id']} is gone")


def stage(api: httpx.Client, path: str, wanted: str) -> dict[str, Any] | None:
    """The request, if it is at this stage."""
    found: dict[str, Any] = api.get(path).json()
    return found if found["stage"] == wanted else None
