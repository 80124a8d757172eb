"""The role placer: which processes run where, what they are given, what the image is made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from ansible.errors import AnsibleFilterError, AnsibleLookupError

from placer.agents.division import HostPart
from placer.replay import fleet
from roles.cassandra_schema.filter_plugins import cassandra_schema_rebuilds as schema_plugin
from roles.placer.filter_plugins import placer_processes as plugin
from roles.placer.library import placer_files as files_module
from roles.placer.lookup_plugins import placer_checksum as checksum_plugin

ROOT = Path(__file__).resolve().parents[2]
COUNTS = {"api": 1, "scheduler": 2, "agent": 1}


def cell(name: str, region: str, services: int = 1, *, bridge: bool = True) -> dict[str, Any]:
    """A cell as the topology filter gives it: two nodes, addresses for two of each kind."""
    number = {"nyc": 1, "ams": 2}[region]
    node = f"10.90.{number}.11", f"10.91.{number}.11"
    made: dict[str, Any] = {
        "name": name,
        "region": region,
        "index": number,
        "datacenter": name,
        "nodes": [
            {"name": f"{name}-r1", "listen_address": node[0], "broadcast_address": node[1]},
            {"name": f"{name}-r2", "listen_address": "10.0.0.9", "broadcast_address": "10.1.0.9"},
        ],
        "services": [
            {"name": f"{name}-s{i}", "address": f"10.10.{number}.{i}"}
            for i in range(1, services + 1)
        ],
    }
    if bridge:
        made["addresses"] = {
            kind: {
                "private": [f"10.90.{number}.{first + i}" for i in range(2)],
                "wan": [f"10.91.{number}.{first + i}" for i in range(2)],
            }
            for kind, first in (("api", 31), ("scheduler", 35), ("agent", 41))
        }
    return made


def test_in_bridge_mode_each_process_has_its_own_addresses() -> None:
    """One port for a kind, and the addresses that the plan has for it."""
    found = plugin.placer_processes([cell("nyc1", "nyc")], COUNTS)
    assert [(p["name"], p["address"], p["wan_address"], p["port"]) for p in found] == [
        ("nyc1-api-1", "10.90.1.31", "10.91.1.31", 8700),
        ("nyc1-scheduler-1", "10.90.1.35", "10.91.1.35", 8790),
        ("nyc1-scheduler-2", "10.90.1.36", "10.91.1.36", 8790),
        ("nyc1-agent-1", "10.90.1.41", "10.91.1.41", 0),
    ]
    assert {p["host"] for p in found} == {"nyc1-s1"}


def test_what_is_new_starts_at_once() -> None:
    """Nobody is served yet, so nobody waits for one after the other."""
    found = plugin.placer_processes([cell("nyc1", "nyc"), cell("ams1", "ams")], COUNTS)
    assert plugin.placer_batches(found, in_use=False) == [[p["name"] for p in found]]


def test_what_is_in_use_goes_by_numbers_and_agents_go_last() -> None:
    """Each cell has a scheduler at all times; what has no second one goes with the first batch."""
    found = plugin.placer_processes([cell("nyc1", "nyc"), cell("ams1", "ams")], COUNTS)
    assert plugin.placer_batches(found, in_use=True) == [
        ["nyc1-api-1", "nyc1-scheduler-1", "ams1-api-1", "ams1-scheduler-1"],
        ["nyc1-scheduler-2", "nyc1-agent-1", "ams1-scheduler-2", "ams1-agent-1"],
    ]


def test_in_host_mode_a_second_process_on_a_machine_has_the_next_port() -> None:
    """Three schedulers on two hosts, on from where the API is: one each, then the second host's second port."""
    cells = [cell("nyc1", "nyc", services=2, bridge=False)]
    found = plugin.placer_processes(cells, {"api": 1, "scheduler": 3, "agent": 0})
    assert [(p["host"], p["address"], p["port"]) for p in found] == [
        ("nyc1-s1", "10.10.1.1", 8700),
        ("nyc1-s2", "10.10.1.2", 8790),
        ("nyc1-s1", "10.10.1.1", 8790),
        ("nyc1-s2", "10.10.1.2", 8791),
    ]


@pytest.mark.parametrize(
    ("bridge", "services", "expected"),
    [
        pytest.param(
            True,
            1,
            [
                ("nyc1-api-1", 0, []),
                (
                    "nyc1-scheduler-1",
                    8890,
                    ["URI:placer://nyc1/scheduler/nyc1-scheduler-1", "IP:10.90.1.35"],
                ),
                (
                    "nyc1-scheduler-2",
                    8890,
                    ["URI:placer://nyc1/scheduler/nyc1-scheduler-2", "IP:10.90.1.36"],
                ),
                (
                    "nyc1-agent-1",
                    0,
                    ["URI:placer://nyc1/agent/nyc1-agent-1", "URI:placer://nyc1/host/nyc1-h*"],
                ),
                (
                    "nyc1-docker-1",
                    0,
                    [
                        "URI:placer://nyc1/agent/nyc1-docker-1",
                        "URI:placer://nyc1/host/nyc1-docker-1-h*",
                    ],
                ),
            ],
            id="each scheduler at an address of its own",
        ),
        pytest.param(
            False,
            1,
            [
                ("nyc1-api-1", 0, []),
                (
                    "nyc1-scheduler-1",
                    8890,
                    ["URI:placer://nyc1/scheduler/nyc1-scheduler-1", "DNS:box.example"],
                ),
                (
                    "nyc1-scheduler-2",
                    8891,
                    ["URI:placer://nyc1/scheduler/nyc1-scheduler-2", "DNS:box.example"],
                ),
                (
                    "nyc1-agent-1",
                    0,
                    ["URI:placer://nyc1/agent/nyc1-agent-1", "URI:placer://nyc1/host/nyc1-h*"],
                ),
                (
                    "nyc1-docker-1",
                    0,
                    [
                        "URI:placer://nyc1/agent/nyc1-docker-1",
                        "URI:placer://nyc1/host/nyc1-docker-1-h*",
                    ],
                ),
            ],
            id="two schedulers on one machine whose address is a name",
        ),
    ],
)
def test_what_certificates_say(
    bridge: bool, services: int, expected: list[tuple[str, int, list[str]]]
) -> None:
    """Where agents reach a scheduler, and which hosts an agent may serve."""
    one = cell("nyc1", "nyc", services, bridge=bridge)
    one["services"][0]["address"] = "box.example"
    found = plugin.placer_processes([one], {**COUNTS, "docker": 1})
    assert [(p["name"], p["agents_port"], p["names"]) for p in found] == expected


def test_patterns_of_certificates_fit_the_hosts() -> None:
    """Hosts are named by the workload (simulated ones) and by the role (those of an engine)."""
    found = plugin.placer_processes([cell("nyc1", "nyc")], {**COUNTS, "docker": 1})
    prefixes = {
        p["driver"]: p["names"][1].removeprefix("URI:placer://nyc1/host/").removesuffix("*")
        for p in found
        if p["driver"]
    }
    simulated = fleet.built_in(["nyc1"], 3, 1)["nyc1"]
    assert all(host.name.startswith(prefixes["sim"]) for host in simulated)
    parts = plugin.placer_docker_host_parts({"name": "nyc1-docker-1"}, 2, 0.1, 4)
    assert all(part["name"].startswith(prefixes["docker"]) for part in parts)
    assert not any(part["name"].startswith(prefixes["sim"]) for part in parts)


def test_three_small_machines_share_a_cells_services() -> None:
    """With one process of each kind, no machine has two of them."""
    cells = [cell("nyc1", "nyc", services=3, bridge=False)]
    found = plugin.placer_processes(cells, {"api": 1, "scheduler": 1, "agent": 1})
    assert [(p["kind"], p["host"]) for p in found] == [
        ("api", "nyc1-s1"),
        ("scheduler", "nyc1-s2"),
        ("agent", "nyc1-s3"),
    ]


@pytest.mark.parametrize(
    ("services", "bridge", "agents", "expected"),
    [
        pytest.param(
            1,
            True,
            1,
            [
                ("nyc1-agent-1", "sim", "nyc1-s1", "10.90.1.41"),
                ("nyc1-docker-1", "docker", "nyc1-s1", "10.90.1.42"),
            ],
            id="beside the simulated hosts, at the next address",
        ),
        pytest.param(
            2,
            False,
            0,
            [
                ("nyc1-docker-1", "docker", "nyc1-s1", "10.10.1.1"),
                ("nyc1-docker-2", "docker", "nyc1-s2", "10.10.1.2"),
            ],
            id="one for each machine's engine",
        ),
    ],
)
def test_agents_of_containers(
    services: int, bridge: bool, agents: int, expected: list[tuple[str, ...]]
) -> None:
    """They come with the engines, not by count."""
    counts = {"api": 1, "scheduler": 1, "agent": agents, "docker": 2}
    found = plugin.placer_processes([cell("nyc1", "nyc", services, bridge=bridge)], counts)
    got = [(p["name"], p["driver"], p["host"], p["address"]) for p in found if p["driver"]]
    assert got == expected


def test_hosts_of_an_agent_of_containers() -> None:
    """As the agent reads them (placer.agents.division)."""
    parts = plugin.placer_docker_host_parts({"name": "nyc1-docker-1"}, 2, 0.1, 4)
    read = msgspec.convert(parts, tuple[HostPart, ...])
    assert [(p.name, p.share, p.ratios) for p in read] == [
        ("nyc1-docker-1-h1", 0.1, {"VCPU": 4.0}),
        ("nyc1-docker-1-h2", 0.1, {"VCPU": 4.0}),
    ]


@pytest.mark.parametrize(
    ("one", "counts", "words"),
    [
        pytest.param(cell("nyc1", "nyc", services=0), COUNTS, "no service host", id="no host"),
        pytest.param(
            cell("nyc1", "nyc"), {**COUNTS, "scheduler": 3}, "placer_scheduler_count", id="no room"
        ),
    ],
)
def test_what_cannot_be_laid_out_is_refused(
    one: dict[str, Any], counts: dict[str, int], words: str
) -> None:
    """The message names what to change."""
    with pytest.raises(AnsibleFilterError, match=words):
        plugin.placer_processes([one], counts)


def test_schedulers_are_reached_by_private_addresses_inside_their_region_only() -> None:
    """From another region: by WAN addresses, and not at all where there are none."""
    cells = [cell("nyc1", "nyc"), cell("ams1", "ams")]
    processes = plugin.placer_processes(cells, {"api": 1, "scheduler": 1, "agent": 0})
    assert plugin.placer_scheduler_urls(processes, "nyc") == {
        "nyc1": ["http://10.90.1.35:8790"],
        "ams1": ["http://10.91.2.35:8790"],
    }
    apart = [cell("nyc1", "nyc", bridge=False), cell("ams1", "ams", bridge=False)]
    processes = plugin.placer_processes(apart, {"api": 1, "scheduler": 1, "agent": 0})
    assert plugin.placer_scheduler_urls(processes, "nyc") == {"nyc1": ["http://10.10.1.1:8790"]}


def test_agents_know_the_schedulers_of_their_own_cell() -> None:
    """By private addresses, on the port for agents."""
    found = plugin.placer_processes([cell("nyc1", "nyc"), cell("ams1", "ams")], COUNTS)
    assert plugin.placer_agents_urls(found, "ams1") == [
        "wss://10.90.2.35:8890",
        "wss://10.90.2.36:8890",
    ]


def test_the_gate_asks_each_node_where_it_can_be_reached() -> None:
    """By its private address inside the region, else by the WAN; those to skip are left out."""
    arguments = plugin.placer_gate_arguments(
        [cell("nyc1", "nyc"), cell("ams1", "ams")], "nyc", ["nyc1-r2", "ams1-r2"]
    )
    assert arguments == [
        *("--node", "nyc1-r1=10.90.1.11,10.91.1.11"),
        *("--node", "ams1-r1=10.91.2.11,10.91.2.11"),
    ]


@pytest.mark.parametrize(
    ("racks", "chosen"),
    [
        ("a", "0"),
        ("aa", "01"),
        ("abc", "012"),
        ("aabbcc", "024"),
        ("aaab", "031"),
        ("abcd", "012"),
    ],
)
def test_a_process_knows_three_nodes_of_other_racks(racks: str, chosen: str) -> None:
    """Those that come later, in racks that are there, change nothing."""
    nodes = [
        {
            "rack": rack,
            "listen_address": f"10.0.0.{number}",
            "broadcast_address": f"192.0.2.{number}",
        }
        for number, rack in enumerate(racks)
    ]
    assert plugin.placer_contact_points(nodes, near=True) == [f"10.0.0.{one}" for one in chosen]
    assert plugin.placer_contact_points(nodes, near=False) == [f"192.0.2.{one}" for one in chosen]


def test_seconds_of_the_phases() -> None:
    """A phase ends at its mark; one that ends twice counts for both."""
    marks = [("begin", 100.0), ("image", 130.5), ("cluster", 140.5), ("services", 150.0)]
    again = [("image", 151.0), ("replay", 161.0)]
    listed = [{"phase": phase, "at": at} for phase, at in marks + again]
    assert plugin.placer_seconds(listed) == {
        "image": 31.5,
        "cluster": 10.0,
        "services": 9.5,
        "replay": 10.0,
        "total": 61.0,
    }
    assert plugin.placer_seconds([]) == {}


def test_a_checksum_sees_names_and_contents_and_no_leftovers(tmp_path: Path) -> None:
    """Compiled files and hidden folders do not count; a moved file does."""
    lookup = checksum_plugin.LookupModule()
    folder = tmp_path / "src"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.py").write_text("1")
    first = lookup.run([str(folder)])
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/a.pyc").write_text("x")
    (folder / ".cache").mkdir()
    (folder / ".cache/b").write_text("x")
    assert lookup.run([str(folder)]) == first
    (folder / "a.py").rename(folder / "inner/a.py")
    moved = lookup.run([str(folder)])
    assert moved != first
    (folder / "inner/a.py").write_text("2")
    assert lookup.run([str(folder)]) not in (first, moved)
    with pytest.raises(AnsibleLookupError, match="neither a file nor a folder"):
        lookup.run([str(tmp_path / "nowhere")])


def test_a_new_datacenter_streams_from_an_old_one() -> None:
    """Each node of the new one, keyspace by keyspace."""
    cells = [cell("nyc1", "nyc"), cell("ams1", "ams")]
    rebuild = {"system_auth": ["ams1"], "placer_global": ["ams1"]}
    rounds = schema_plugin.cassandra_schema_rebuilds(cells, rebuild, 3)
    assert [[(s["keyspace"], s["node"]["name"], s["source"]) for s in one] for one in rounds] == [
        [("placer_global", "ams1-r1", "nyc1"), ("placer_global", "ams1-r2", "nyc1")],
        [("system_auth", "ams1-r1", "nyc1"), ("system_auth", "ams1-r2", "nyc1")],
    ]
    near = [cell("nyc1", "nyc"), cell("ams1", "ams"), cell("ams2", "ams")]
    (one,) = schema_plugin.cassandra_schema_rebuilds(near, {"placer_global": ["ams2"]}, 3)
    assert {step["source"] for step in one} == {"ams1"}, "the WAN need not be crossed"
    in_turn = schema_plugin.cassandra_schema_rebuilds(cells, rebuild, 1)
    assert in_turn == [[step] for one in rounds for step in one]
    with pytest.raises(AnsibleFilterError, match="every datacenter"):
        schema_plugin.cassandra_schema_rebuilds(cells, {"placer_global": ["ams1", "nyc1"]}, 3)
    with pytest.raises(AnsibleFilterError, match="use 1 or more"):
        schema_plugin.cassandra_schema_rebuilds(cells, rebuild, 0)


def run_files(tmp_path: Path, *options: str, **arguments: Any) -> dict[str, Any]:
    """The module placer_files by itself, as Ansible runs it on a machine."""
    given = {"ANSIBLE_MODULE_ARGS": {**arguments, "_ansible_check_mode": "check" in options}}
    script = ROOT / "roles/placer/library/placer_files.py"
    ended = subprocess.run(
        [sys.executable, str(script)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
        cwd=tmp_path,
    )
    result: dict[str, Any] = json.loads(ended.stdout)
    return result


def test_files_are_written_once_and_with_their_mode(tmp_path: Path) -> None:
    """The second run changes nothing; check mode writes nothing; a changed mode is put right."""
    folder = tmp_path / "services/secrets"
    wanted = {"path": str(folder), "files": {"token": "x\n"}, "mode": "0400"}
    assert run_files(tmp_path, "check", **wanted)["changed"]
    assert not folder.exists()
    assert run_files(tmp_path, **wanted)["written"] == ["token"]
    assert (folder / "token").read_text() == "x\n"
    assert (folder / "token").stat().st_mode & 0o777 == 0o400
    assert not run_files(tmp_path, **wanted)["changed"]
    (folder / "token").chmod(0o444)
    assert run_files(tmp_path, **wanted)["written"] == ["token"]
    assert sorted(path.name for path in folder.iterdir()) == ["token"]


def test_hosts_that_share_a_machine_may_write_the_same_file_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One writes the whole file while another is about to: neither fails, and nothing of theirs stays behind."""
    path, chmod, others = tmp_path / "ca.crt", os.chmod, ["second\n"]

    def overtaken(part: str, mode: int) -> None:
        if others:
            files_module.write(str(path), others.pop(), 0o400, os.geteuid())
            assert path.read_text() == "second\n"
        chmod(part, mode)

    monkeypatch.setattr(os, "chmod", overtaken)
    files_module.write(str(path), "first\n", 0o400, os.geteuid())
    assert path.read_text() == "first\n"
    assert [one.name for one in tmp_path.iterdir()] == ["ca.crt"]
