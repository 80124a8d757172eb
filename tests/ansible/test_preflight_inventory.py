"""Every check of an inventory, each with a case that makes it speak."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from roles.preflight.filter_plugins.inventory_checks import inventory_problems, real, truth, whole
from roles.preflight.lookup_plugins.preflight_variables import declared

Groups = dict[str, list[str]]
Hosts = dict[str, dict[str, Any]]
Change = Callable[[Groups, Hosts], None]

KNOWN: dict[str, dict[str, Any]] = {
    name: {}
    for name in (
        "cassandra_broadcast_address",
        "cassandra_code_cache_mib",
        "cassandra_direct_memory_max_mib",
        "cassandra_heap_mib",
        "cassandra_image_archive",
        "cassandra_listen_address",
        "cassandra_memory_mib",
        "cassandra_metaspace_max_mib",
        "cassandra_rack",
        "placer_cell",
        "placer_cell_index",
        "placer_deployment",
        "placer_machine",
        "placer_machine_dir",
        "placer_net_base",
        "placer_network_mode",
        "placer_plugins",
        "placer_region",
        "placer_run_dir",
        "wan_enabled",
        "wan_rtt_ms",
    )
}
KNOWN |= {
    "placer_history": {"type": "bool"},
    "placer_replication_max": {"type": "int"},
    "wan_backend": {"type": "str", "choices": ["auto", "netem", "nfqueue"]},
    "wan_directions": {"type": "list"},
}
SITE = {
    "placer_deployment": "trial",
    "placer_run_dir": "/tmp/run",
    "placer_machine_dir": "/tmp/run",
}


def bridge() -> tuple[Groups, Hosts]:
    """Two cells of one node each in two regions, all on one machine."""
    groups: Groups = {"machines": ["box"], "cassandra": [], "placer": []}
    hosts: Hosts = {"box": dict(SITE)}
    for index, (cell, region) in enumerate((("nyc1", "nyc"), ("ams1", "ams")), 1):
        node, service = f"{cell}-r1", f"{cell}-s1"
        groups[cell] = [node, service]
        groups["cassandra"].append(node)
        groups["placer"].append(service)
        for host in (node, service):
            hosts[host] = {
                **SITE,
                "placer_cell": cell,
                "placer_region": region,
                "placer_cell_index": index,
                "placer_machine": "box",
                "placer_network_mode": "bridge",
                "placer_net_base": 90,
                "wan_rtt_ms": {"nyc-ams": 80},
            }
    return groups, hosts


def droplets() -> tuple[Groups, Hosts]:
    """One cell of three machines, each a node and a place for services."""
    names = ["nyc1-r1", "nyc1-r2", "nyc1-r3"]
    groups: Groups = {group: list(names) for group in ("machines", "cassandra", "placer", "nyc1")}
    hosts: Hosts = {
        name: {
            **SITE,
            "placer_cell": "nyc1",
            "placer_region": "nyc",
            "placer_cell_index": 1,
            "placer_machine": name,
            "placer_network_mode": "host",
            "cassandra_rack": f"r{number}",
            "cassandra_listen_address": f"10.10.1.1{number}",
            "cassandra_broadcast_address": f"203.0.113.1{number}",
        }
        for number, name in enumerate(names, 1)
    }
    return groups, hosts


def problems(site: tuple[Groups, Hosts], change: Change | None = None) -> list[str]:
    groups, hosts = copy.deepcopy(site)
    if change:
        change(groups, hosts)
    return inventory_problems(hosts, groups, KNOWN, {"placer_wan": "use wan_rtt_ms"})


def everywhere(**variables: Any) -> Change:
    """Set variables on all hosts, as group_vars/all does."""

    def change(_: Groups, hosts: Hosts) -> None:
        for host in hosts.values():
            host.update(variables)

    return change


def on(*names: str, **variables: Any) -> Change:
    """Set variables on some hosts."""

    def change(_: Groups, hosts: Hosts) -> None:
        for name in names:
            hosts[name].update(variables)

    return change


def without(group: str, *members: str) -> Change:
    """Take hosts out of a group."""

    def change(groups: Groups, _: Hosts) -> None:
        groups[group] = [host for host in groups[group] if host not in members]

    return change


@pytest.mark.parametrize(
    "site", [pytest.param(bridge, id="bridge"), pytest.param(droplets, id="host")]
)
def test_a_right_inventory_has_no_problems(site: Callable[[], tuple[Groups, Hosts]]) -> None:
    """Neither on one machine nor on several."""
    assert problems(site()) == []


AMS1 = ("ams1-r1", "ams1-s1")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            without("machines", "box"), "group machines is missing or empty", id="no machine"
        ),
        pytest.param(
            on("nyc1-r1", placer_machine="bax"),
            "nyc1-r1: placer_machine is bax",
            id="a machine misspelt",
        ),
        pytest.param(
            on("nyc1-r1", placer_region=None),
            "nyc1-r1 has no placer_region",
            id="a node without region",
        ),
        pytest.param(
            on("nyc1-r1", placer_cell=None), "nyc1-r1 has no placer_cell", id="a node without cell"
        ),
        pytest.param(
            on("nyc1-r1", placer_region="lon"),
            "different placer_region (lon, nyc)",
            id="a cell in two regions",
        ),
        pytest.param(
            on(*AMS1, placer_cell_index=1),
            "nyc1 and ams1 both have placer_cell_index 1",
            id="an index used twice",
        ),
        pytest.param(
            on(*AMS1, placer_cell_index=100), "placer_cell_index is 100", id="an index out of range"
        ),
        pytest.param(
            on(*AMS1, placer_cell_index=True),
            "placer_cell_index is True",
            id="an index that is no number",
        ),
        pytest.param(
            on(*AMS1, placer_cell_index=79),
            "nyc1's Placement API and cell ams1's native API would both have port 8779",
            id="ports that meet",
        ),
        pytest.param(
            everywhere(placer_api_port_base=65535),
            "would have port 65536",
            id="a port that is none",
        ),
        pytest.param(
            without("cassandra", "ams1-r1"), "cell ams1 has no node", id="a cell without node"
        ),
        pytest.param(
            without("placer", "ams1-s1"),
            "cell ams1 has no host for services",
            id="a cell without services",
        ),
        pytest.param(
            on(*AMS1, placer_cell="Ams_1"),
            "placer_cell is Ams_1",
            id="a cell's name that is no name",
        ),
        pytest.param(
            on(*AMS1, placer_cell="a" * 42),
            "has 49 characters, 48 at most",
            id="a keyspace's name too long",
        ),
        pytest.param(
            on(*AMS1, placer_cell="lon1"),
            "cell lon1 has no group of this name",
            id="a cell without group",
        ),
        pytest.param(
            everywhere(placer_deployment="My_Demo"),
            "placer_deployment is My_Demo",
            id="a deployment's name",
        ),
        pytest.param(
            everywhere(placer_deployment=""),
            "placer_deployment is not set",
            id="no deployment's name",
        ),
        pytest.param(
            on("nyc1-r1", placer_deployment="other"),
            "placer_deployment differs between hosts (other, trial)",
            id="two deployments in one inventory",
        ),
        pytest.param(
            everywhere(placer_network_mode=None),
            "placer_network_mode is not set",
            id="no network mode",
        ),
        pytest.param(
            everywhere(placer_net_base=255), "placer_net_base is 255", id="networks past 10.255"
        ),
        pytest.param(
            everywhere(wan_rtt_ms={}),
            "no round-trip times for ams and nyc",
            id="a pair of regions without RTT",
        ),
        pytest.param(
            everywhere(wan_rtt_ms={"nyc-ams": 80, "ams-nyc": 80}),
            "two round-trip times for ams and nyc",
            id="a pair of regions with two RTTs",
        ),
        pytest.param(
            everywhere(wan_rtt_ms={"nyc-ams": 80, "nyc-spg": 230}),
            "nyc-spg, which is no pair of the regions ams, nyc",
            id="an RTT misspelt",
        ),
        pytest.param(
            everywhere(wan_rtt_ms={"nyc-ams": "80ms"}),
            "wan_rtt_ms[nyc-ams] is '80ms'",
            id="an RTT with a unit",
        ),
        pytest.param(everywhere(wan_rtt_ms=80), "wan_rtt_ms is 80", id="an RTT that is no mapping"),
        pytest.param(
            everywhere(placer_scheduler_count=0), "placer_scheduler_count is 0", id="no scheduler"
        ),
        pytest.param(
            everywhere(cassandra_memory_mib=400, cassandra_heap_mib=192),
            "cassandra_memory_mib is 400, too little for cassandra_heap_mib 192",
            id="a heap that fills its container",
        ),
        pytest.param(
            everywhere(
                cassandra_memory_mib=380,
                cassandra_heap_mib=160,
                cassandra_metaspace_max_mib=96,
                cassandra_code_cache_mib=32,
                cassandra_direct_memory_max_mib=96,
            ),
            "what a node needs beside it: give it 416",
            id="a small node that fills its container all the same",
        ),
        pytest.param(
            everywhere(cassandra_image_archive="/nowhere/cassandra.tar"),
            "cassandra_image_archive is /nowhere/cassandra.tar, and there is no such file",
            id="an archive that is not there",
        ),
        pytest.param(
            everywhere(cassandra_admin_password="cassandra"),
            "cassandra_admin_password is a secret that everybody knows",
            id="the default password",
        ),
        pytest.param(
            everywhere(placer_api_token="x1y2z3"), "fewer than 16 characters", id="a short secret"
        ),
        pytest.param(
            everywhere(placer_plugins=["plugins/mine"]),
            "plugins/mine, which is no absolute path: begin it with {{ inventory_dir }}",
            id="a plug-in by a relative path",
        ),
        pytest.param(
            everywhere(placer_plugins=["/nowhere/mine.whl"]),
            "/nowhere/mine.whl, and there is nothing: name a wheel",
            id="a plug-in that is not there",
        ),
        pytest.param(
            everywhere(placer_plugins=[str(Path(__file__).parent)]),
            "which is no package: name a wheel, or a folder with a pyproject.toml",
            id="a plug-in that is no package",
        ),
        pytest.param(
            everywhere(cassandra_raack="r1"),
            "did you mean cassandra_rack?",
            id="a variable misspelt",
        ),
        pytest.param(
            everywhere(placer_wan=True),
            "placer_wan is no longer a variable: use wan_rtt_ms",
            id="a variable removed",
        ),
        pytest.param(
            everywhere(placer_history="flase"),
            "placer_history is 'flase': give true or false",
            id="a bool misspelt",
        ),
        pytest.param(
            everywhere(placer_replication_max=2.5),
            "placer_replication_max is 2.5",
            id="half a replica",
        ),
        pytest.param(
            everywhere(wan_directions="nyc"),
            "wan_directions is 'nyc': give a list",
            id="a list that is none",
        ),
        pytest.param(
            everywhere(wan_backend="tc"),
            "wan_backend is tc: choose from auto, netem, nfqueue",
            id="no such choice",
        ),
    ],
)
def test_a_problem_on_one_machine_is_named(change: Change, said: str) -> None:
    """With its value; most say what to do after a colon."""
    found = problems(bridge(), change)
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("change", "said"),
    [
        pytest.param(
            on("nyc1-r2", cassandra_listen_address="10.10.1.11"),
            "nyc1-r1 and nyc1-r2 both have the address 10.10.1.11 in region nyc",
            id="a private address used twice",
        ),
        pytest.param(
            on("nyc1-r2", cassandra_broadcast_address="203.0.113.11"),
            "nyc1-r1 and nyc1-r2 both have the address 203.0.113.11 in the cluster",
            id="a broadcast address used twice",
        ),
        pytest.param(
            on("nyc1-r2", cassandra_listen_address=None),
            "nyc1-r2 has no cassandra_listen_address",
            id="no address",
        ),
        pytest.param(
            on("nyc1-r2", cassandra_listen_address="db2.example.org"),
            "is db2.example.org, which is no IPv4 address",
            id="a name for an address",
        ),
        pytest.param(
            on("nyc1-r2", cassandra_broadcast_address="127.0.0.1"),
            "is 127.0.0.1, which other nodes cannot reach",
            id="a loopback address",
        ),
        pytest.param(
            on("nyc1-r2", placer_machine="nyc1-r1"),
            "nyc1-r1 and nyc1-r2 share machine nyc1-r1",
            id="two nodes on one machine",
        ),
        pytest.param(
            on("nyc1-r3", cassandra_rack="r2"),
            "3 nodes in two racks (r1, r2)",
            id="two racks for three nodes",
        ),
        pytest.param(
            on("nyc1-r3", cassandra_rack="R 3"), "cassandra_rack is R 3", id="a rack's name"
        ),
    ],
)
def test_a_problem_on_several_machines_is_named(change: Change, said: str) -> None:
    """Addresses come from the inventory there, so they are checked there."""
    found = problems(droplets(), change)
    assert any(said in problem for problem in found), found


def test_two_regions_may_use_the_same_private_addresses() -> None:
    """Broadcast addresses are what the cluster knows nodes by."""
    groups, hosts = droplets()
    for number in (1, 2, 3):
        name = f"ams1-r{number}"
        for group in ("machines", "cassandra", "placer"):
            groups[group].append(name)
        hosts[name] = hosts[f"nyc1-r{number}"] | {
            "placer_cell": "ams1",
            "placer_region": "ams",
            "placer_cell_index": 2,
            "placer_machine": name,
            "cassandra_broadcast_address": f"198.51.100.1{number}",
        }
    groups["ams1"] = [f"ams1-r{number}" for number in (1, 2, 3)]
    assert problems((groups, hosts)) == []


def test_values_of_the_command_line_are_strings_and_right() -> None:
    """-e wan_enabled=false -e placer_net_base=94 -e placer_history=no"""
    values = everywhere(
        placer_net_base="94",
        placer_history="no",
        wan_backend="netem",
        wan_enabled="false",
        wan_rtt_ms={},
    )
    assert problems(bridge(), values) == []


def test_what_all_hosts_share_is_said_once() -> None:
    """A group's variable reaches each of its hosts; one's own names it."""
    assert problems(bridge(), everywhere(wan_backend="tc")) == [
        "wan_backend is tc: choose from auto, netem, nfqueue"
    ]
    assert problems(bridge(), on("nyc1-r1", wan_backend="tc"))[0].startswith("nyc1-r1: ")
    assert problems(bridge(), on(*AMS1, wan_backend="tc"))[0].startswith("ams1-r1 and 1 more: ")


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        pytest.param(whole, "94", 94, id="a number as text"),
        pytest.param(whole, True, None, id="a truth value is no number"),
        pytest.param(whole, 2.0, None, id="a fraction is not whole"),
        pytest.param(real, "1.5", 1.5, id="a fraction as text"),
        pytest.param(real, "x", None, id="no number"),
        pytest.param(truth, "No", False, id="a word for false"),
        pytest.param(truth, "maybe", None, id="no truth value"),
    ],
)
def test_values_are_read_as_ansible_would(
    read: Callable[[Any], Any], value: Any, expected: Any
) -> None:
    """None is: it does not read as that."""
    assert read(value) == expected


def test_known_variables_are_read_from_the_roles(tmp_path: Path) -> None:
    """Defaults give names, argument specifications types and choices."""
    for file, text in {
        "roles/a/defaults/main.yml": "a_size: 1\na_name: x\n",
        "roles/a/meta/argument_specs.yml": "argument_specs: {main: {options: {a_size: {type: int, choices: [1, 2]}}}}",
        "playbooks/group_vars/all/x.yml": "a_map: {}\n",
    }.items():
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).write_text(text)
    assert declared(tmp_path) == {
        "a_size": {"type": "int", "choices": [1, 2]},
        "a_name": {},
        "a_map": {},
    }
