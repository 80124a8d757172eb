"""Every check of a machine, each with a case that makes it speak, and the reading of the kernel's tables."""

from __future__ import annotations

from typing import Any

import pytest

from roles.preflight.filter_plugins.machine_checks import judge, needs, version
from roles.preflight.library.preflight_machine import limits, listening, memory, routes

SIZES: dict[str, Any] = {
    "mode": "bridge",
    "net_base": "90",
    "node_memory_mib": 512,
    "service_memory_mib": 128,
    "wan_memory_mib": 64,
    "api_bind": "127.0.0.1",
    "api_port_base": 8700,
    "counts": {"api": 1, "scheduler": 2, "agent": 1},
}
BOUNDS: dict[str, Any] = {
    "engine_version_min": "20.10",
    "memory_reserve_mib": 500,
    "disk_images_mib": 3000,
    "disk_node_mib": 600,
    "disk_reserve_mib": 1000,
    "map_count_min": 65530,
    "map_count_wanted": 1048575,
    "nofile_min": 8192,
    "nofile_wanted": 100000,
    "memlock_bytes_min": 0,
    "memlock_bytes_wanted": -1,
}


def cell(name: str, index: int, machine: str | None = "box") -> dict[str, Any]:
    """A cell of two nodes and one host for services."""
    return {
        "name": name,
        "index": index,
        "nodes": [
            {"name": f"{name}-r{n}", "machine": machine, "listen_address": f"10.10.{index}.{n}"}
            for n in (1, 2)
        ],
        "services": [{"name": f"{name}-s1", "machine": machine, "address": f"10.10.{index}.1"}],
    }


HOSTS: dict[str, dict[str, Any]] = {f"{name}-r{n}": {} for name in ("nyc1", "ams1") for n in (1, 2)}
NEED = needs([cell("nyc1", 1), cell("ams1", 2)], HOSTS, "box", SIZES)


def machine(**changes: Any) -> dict[str, Any]:
    """A machine that carries both cells with ease."""
    return {
        "root": True,
        "engine_installed": True,
        "memory": {"total_mib": 8000, "available_mib": 7000},
        "disks": [{"path": "/var/lib/docker", "free_mib": 20_000}],
        "listening": [],
        "routes": [],
        "limits": {"nofile": -1, "memlock_bytes": -1},
        "map_count_max": 1048575,
        **changes,
    }


def engine(**changes: Any) -> dict[str, Any]:
    """An engine that has nothing of the deployment yet."""
    return {
        "answers": True,
        "version": "20.10.24+dfsg1",
        "containers": [],
        "networks": [],
        **changes,
    }


OWN = "a" * 64
RUNNING = engine(
    containers=[
        {"Id": OWN, "Ports": [{"IP": "127.0.0.1", "PrivatePort": 8700, "PublicPort": 8701}]}
    ],
    networks=[{"Name": "demo-wan"}],
)


def taken(port: int, address: str = "127.0.0.1", **owner: str) -> dict[str, Any]:
    return {"address": address, "port": port, "inode": "1", **owner}


# --- needs -----------------------------------------------------------------------------------------


def test_a_machine_carries_all_that_is_on_it() -> None:
    """4 nodes of 512, 2 cells of 4 processes of 128, the WAN's 64: 2048 + 1024 + 64."""
    assert NEED["memory_mib"] == 3136
    assert (NEED["nodes"], NEED["services"]) == (4, 8)
    assert [port["port"] for port in NEED["ports"]] == [8701, 8702]
    assert NEED["networks"] == ["10.90.0.0/16", "10.91.0.0/16"]


def test_a_nodes_own_memory_counts() -> None:
    """As the inventory gives it."""
    hosts = HOSTS | {"nyc1-r1": {"cassandra_memory_mib": "1024"}}
    need = needs([cell("nyc1", 1), cell("ams1", 2)], hosts, "box", SIZES)
    assert need["memory_mib"] == 3136 + 512


def test_several_machines_share_the_needs() -> None:
    """A node's ports are its own addresses'; processes go round the service hosts, each kind on from where the last one ended."""
    droplets = {
        "name": "nyc1",
        "index": 1,
        "nodes": [
            {"name": f"nyc1-r{n}", "machine": None, "listen_address": f"10.10.1.1{n}"}
            for n in (1, 2)
        ],
        "services": [
            {"name": f"nyc1-r{n}", "machine": None, "address": f"10.10.1.1{n}"} for n in (1, 2)
        ],
    }
    first, second = (
        needs([droplets], HOSTS, f"nyc1-r{n}", SIZES | {"mode": "host"}) for n in (1, 2)
    )
    assert [(port["address"], port["port"]) for port in first["ports"]] == [
        ("10.10.1.11", 7000),
        ("10.10.1.11", 9042),
        ("127.0.0.1", 7199),
        ("10.10.1.11", 8700),
        ("10.10.1.11", 8790),
        ("10.10.1.11", 8890),
    ]
    assert first["memory_mib"] == second["memory_mib"] == 512 + 2 * 128
    assert second["ports"][-1] == {
        "address": "10.10.1.12",
        "port": 8890,
        "user": "the scheduler of cell nyc1",
    }
    assert first["networks"] == []


def test_a_node_with_two_addresses_takes_clients_on_all() -> None:
    """Other regions reach it by the broadcast address, its own by the listen address."""
    apart = cell("nyc1", 1, machine=None)
    apart["nodes"][0]["broadcast_address"] = "192.0.2.11"
    need = needs([apart], HOSTS, "nyc1-r1", SIZES | {"mode": "host"})
    addresses = {port["port"]: port["address"] for port in need["ports"]}
    assert addresses[9042] == "0.0.0.0"
    assert addresses[7000] == "10.10.1.1"


# --- verdict ---------------------------------------------------------------------------------------


def test_a_machine_that_carries_it_all_passes() -> None:
    """Without a word."""
    assert judge(NEED, machine(), engine(), BOUNDS) == {"problems": [], "warnings": []}


@pytest.mark.parametrize(
    ("found", "docker", "said"),
    [
        pytest.param(
            {"memory": {"total_mib": 3000, "available_mib": 2900}},
            engine(),
            "memory: 3636 MiB needed (4 nodes and 8 service processes: 3136 MiB, and 500 MiB for the rest), the machine has 3000 MiB",
            id="too little memory",
        ),
        pytest.param(
            {"memory": {"total_mib": 8000, "available_mib": 3000}},
            engine(),
            "3000 MiB of 8000 MiB are free: end other programs",
            id="memory in use by others",
        ),
        pytest.param(
            {"disks": [{"path": "/var/lib/docker", "free_mib": 5399}]},
            engine(),
            "disk: 5400 MiB needed on the file system of /var/lib/docker, 5399 MiB are free",
            id="a small disk",
        ),
        pytest.param(
            {"disks": [{"path": "/d", "free_mib": 9000}, {"path": "/run/x", "free_mib": 999}]},
            engine(),
            "disk: 1000 MiB needed on the file system of /run/x",
            id="a small second disk",
        ),
        pytest.param(
            {"disks": [{"path": "/d", "free_mib": 999}]},
            RUNNING,
            "disk: 1000 MiB needed",
            id="a disk that has filled up",
        ),
        pytest.param(
            {"listening": [taken(8702, pid="42", process="nginx", container="")]},
            engine(),
            "port 8702 on 127.0.0.1, wanted by the api of cell ams1, is taken by nginx (pid 42)",
            id="a port in use",
        ),
        pytest.param(
            {"listening": [taken(8702, "0.0.0.0")]},
            engine(),
            "taken by a process of another user",
            id="a port in use on all addresses by somebody who cannot be seen",
        ),
        pytest.param(
            {"listening": [taken(8702, "::", pid="42", process="java", container="b" * 64)]},
            RUNNING,
            "taken by java (pid 42)",
            id="a port in use by a container of another deployment",
        ),
        pytest.param(
            {"routes": [{"network": "10.91.0.0/16", "interface": "wg0"}]},
            engine(),
            "networks 10.90.0.0/16 and 10.91.0.0/16 are wanted, in use is 10.91.0.0/16 on interface wg0: choose",
            id="a network in use",
        ),
        pytest.param(
            {"routes": [{"network": "10.0.0.0/8", "interface": "tun0"}]},
            engine(),
            "in use is 10.0.0.0/8 on interface tun0",
            id="a larger network in use",
        ),
        pytest.param(
            {},
            engine(version="19.03.15"),
            "Docker Engine is 19.03.15, 20.10 is needed",
            id="an old engine",
        ),
        pytest.param(
            {"root": False},
            engine(answers=False),
            "Docker Engine does not answer this user",
            id="neither root nor in group docker",
        ),
        pytest.param(
            {"root": False, "engine_installed": False},
            engine(answers=False),
            "Docker Engine is not installed, and this user may not install it",
            id="no engine and no right to install one",
        ),
        pytest.param(
            {"map_count_max": 4096},
            engine(),
            "vm.max_map_count is 4096, 65530 is needed",
            id="few maps",
        ),
        pytest.param(
            {"limits": {"nofile": 1024, "memlock_bytes": -1}},
            engine(),
            "limit of open files is 1024, 8192 is needed",
            id="few open files",
        ),
    ],
)
def test_a_machine_that_cannot_carry_it_is_refused(
    found: dict[str, Any], docker: dict[str, Any], said: str
) -> None:
    """With what it has, what is needed, and nothing else."""
    verdict = judge(NEED, machine(**found), docker, BOUNDS)
    assert len(verdict["problems"]) == 1, verdict
    assert said in verdict["problems"][0]


@pytest.mark.parametrize(
    ("found", "docker"),
    [
        pytest.param(
            {
                "memory": {"total_mib": 8000, "available_mib": 100},
                "disks": [{"path": "/d", "free_mib": 1000}],
                "listening": [taken(8701, pid="9", process="docker-proxy", container="")],
                "routes": [{"network": "10.91.0.0/16", "interface": "plw90"}],
            },
            RUNNING,
            id="in bridge mode",
        ),
        pytest.param(
            {"listening": [taken(8702, "0.0.0.0", pid="9", process="java", container=OWN)]},
            engine(containers=[{"Id": OWN, "HostConfig": {"NetworkMode": "host"}}]),
            id="on the machine's own network",
        ),
        pytest.param(
            {"root": False, "listening": [taken(8702)]},
            engine(containers=[{"Id": OWN, "HostConfig": {"NetworkMode": "host"}}]),
            id="on the machine's own network, seen without root",
        ),
    ],
)
def test_a_running_deployment_passes_again(found: dict[str, Any], docker: dict[str, Any]) -> None:
    """Its own memory, disk, ports and networks are not held against it."""
    assert judge(NEED, machine(**found), docker, BOUNDS)["problems"] == []


@pytest.mark.parametrize(
    ("found", "docker"),
    [
        pytest.param({}, engine(answers=False), id="root, before the engine is installed"),
        pytest.param({"root": False}, engine(), id="no root, but the engine answers"),
        pytest.param(
            {"listening": [taken(8702, "10.1.1.1", pid="4", process="x", container="")]},
            engine(),
            id="the port of another address",
        ),
        pytest.param(
            {"routes": [{"network": "10.94.0.0/16", "interface": "br0"}]},
            engine(),
            id="another network",
        ),
    ],
)
def test_what_is_no_problem_is_not_called_one(
    found: dict[str, Any], docker: dict[str, Any]
) -> None:
    """A gate that fires too often gets switched off."""
    assert judge(NEED, machine(**found), docker, BOUNDS)["problems"] == []


def test_low_limits_are_warned_of() -> None:
    """Cassandra runs with them, only less well; machines without a node need none of it."""
    found = machine(map_count_max=65530, limits={"nofile": 20_000, "memlock_bytes": 8_388_608})
    verdict = judge(NEED, found, engine(), BOUNDS)
    assert verdict["problems"] == []
    assert [warning.partition(" is ")[0] for warning in verdict["warnings"]] == [
        "vm.max_map_count",
        "the engine's limit of open files",
        "the engine's limit of locked memory in bytes",
    ]
    assert "sysctl -w vm.max_map_count=1048575" in verdict["warnings"][0]
    assert judge({**NEED, "nodes": 0}, found, engine(), BOUNDS)["warnings"] == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("20.10.24+dfsg1", (20, 10, 24), id="Debian's"),
        pytest.param("28.2.2", (28, 2, 2), id="upstream's"),
        pytest.param("20.10.0-rc1", (20, 10, 0), id="a candidate"),
        pytest.param("", (), id="none"),
    ],
)
def test_versions_compare_as_numbers(text: str, expected: tuple[int, ...]) -> None:
    """So that 9 is older than 20."""
    assert version(text) == expected


# --- the kernel's tables ---------------------------------------------------------------------------


def test_memory_is_read_in_mib() -> None:
    """The kernel's kB are KiB."""
    table = (
        "MemTotal:  24683520 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\nHugePages_Total:       0\n"
    )
    assert memory(table) == {"total_mib": 24105, "available_mib": 2}


def test_listening_sockets_are_read() -> None:
    """Port 0x21FD is 8701; state 01 is a connection; the table is in the byte order of a PC."""
    head = "  sl  local_address rem_address st tx:rx tr:tm retr uid timeout inode\n"
    rows = (
        "0: 0100007F:21FD 00000000:0000 0A 0:0 0:0 0 0 0 4711 1\n"
        "1: 0100007F:21FD 0100007F:C001 01 0:0 0:0 0 0 0 4712 1\n"
    )
    assert listening(head + rows) == [{"address": "127.0.0.1", "port": 8701, "inode": "4711"}]
    row6 = f"0: {'0' * 24}01000000:2352 {'0' * 32}:0000 0A 0:0 0:0 0 0 0 4713 1\n"
    assert listening(head + row6) == [{"address": "::1", "port": 9042, "inode": "4713"}]


def test_routes_are_read_without_the_default_one() -> None:
    """0000FFFF is 255.255.0.0."""
    table = (
        "Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n"
        "eth0 00000000 0102A8C0 0003 0 0 0 00000000 0 0 0\n"
        "plw90 00005B0A 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
    )
    assert routes(table) == [{"network": "10.91.0.0/16", "interface": "plw90"}]


def test_hard_limits_are_read() -> None:
    """The second number; no limit is -1."""
    table = (
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max open files            1024                 20000                files\n"
        "Max locked memory         8388608              unlimited            bytes\n"
    )
    assert limits(table) == {"nofile": 20_000, "memlock_bytes": -1}
