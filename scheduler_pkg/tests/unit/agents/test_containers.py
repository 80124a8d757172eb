"""What container a claim becomes, and how one is known again."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from placer.agents.drivers import containers
from placer.agents.drivers.base import BuildFailed, Guest, Life
from placer.agents.drivers.containers import Owner, Plan
from placer.agents.machine import Gpu, Machine, Node
from placer.model.messages import ClaimOrder
from placer.model.records import ClaimState
from placer.settings import Docker

OWNER = Owner("demo", "nyc1")
MACHINE = Machine(cpus=(0, 1, 2, 3), memory_mib=8000, disk_gib=100)
SERVER = Machine(
    cpus=(0, 1, 2, 3),
    memory_mib=8000,
    disk_gib=100,
    nodes=(Node(0, (0, 1), 4000), Node(1, (2, 3), 4000)),
    gpus=(Gpu("0000:af:00.0", "AMD", 1, ("/dev/dri/card1", "/dev/dri/renderD128")),),
)
MIB = 1024 * 1024


def order(amounts: dict[str, int], **change: Any) -> ClaimOrder:
    return ClaimOrder(
        claim="nyc1.h1.c1",
        host="h1",
        consumer="i1",
        state=ClaimState.CLAIMED,
        amounts=amounts,
        **change,
    )


def plan(amounts: dict[str, int], machine: Machine = MACHINE, **change: Any) -> Plan:
    settings = Docker(image="img", networks={"blue": "net-b", "red": "net-r"})
    return containers.plan(order(amounts, **change), OWNER, settings, machine)


@pytest.mark.parametrize(
    ("amounts", "cpus", "mib"),
    [
        pytest.param({"VCPU": 2, "MEMORY_MB": 512, "DISK_GB": 9}, 2.0, 512, id="as claimed"),
        pytest.param({"VCPU": 1, "PCPU": 2}, 3.0, 64, id="both kinds of CPU"),
        pytest.param({"MEMORY_MB": 512}, 0.1, 512, id="no CPU claimed: a little"),
        pytest.param({"VCPU": 1, "MEMORY_MB": 1}, 1.0, 6, id="what the engine takes at least"),
        pytest.param({"VCPU": 16}, 4.0, 64, id="promised more than once: all there are"),
        pytest.param({"numa0/VCPU": 1, "numa1/VCPU": 2}, 3.0, 64, id="of several providers"),
    ],
)
def test_limits(amounts: dict[str, int], cpus: float, mib: int) -> None:
    """CPU in billionths, memory in bytes, no swap on top."""
    limits = plan(amounts).body["HostConfig"]
    assert limits["NanoCpus"] == cpus * 1e9
    assert limits["Memory"] == limits["MemorySwap"] == mib * MIB


@pytest.mark.parametrize(
    ("amounts", "cpus", "nodes"),
    [
        pytest.param({"numa1/VCPU": 1, "numa1/MEMORY_MB": 100}, "2,3", "1", id="one node"),
        pytest.param({"numa0/VCPU": 1, "numa1/VCPU": 1}, "0,1,2,3", "0,1", id="two nodes"),
        pytest.param({"VCPU": 1}, None, None, id="none"),
    ],
)
def test_numa(amounts: dict[str, int], cpus: str | None, nodes: str | None) -> None:
    """A claim on a node runs on its CPUs and in its memory."""
    limits = plan(amounts, SERVER).body["HostConfig"]
    assert (limits.get("CpusetCpus"), limits.get("CpusetMems")) == (cpus, nodes)


def test_a_claimed_gpu_is_handed_over() -> None:
    """Its files, and no other's."""
    given = plan({"VCPU": 1, "gpu-0000_af_00.0/PGPU": 1}, SERVER).body["HostConfig"]["Devices"]
    assert [device["PathOnHost"] for device in given] == ["/dev/dri/card1", "/dev/dri/renderD128"]
    assert "Devices" not in plan({"VCPU": 1}, SERVER).body["HostConfig"]


def test_addresses() -> None:
    """The first network is the container's, it joins the others; without an address it has none."""
    blue, red = "net-blue/IPV4_ADDRESS", "net-red/IPV4_ADDRESS"
    made = plan({"VCPU": 1, blue: 1, red: 1}, units={blue: {"10.0.0.4": 1}, red: {"10.1.0.9": 1}})
    assert made.body["HostConfig"]["NetworkMode"] == "net-b"
    assert made.body["NetworkingConfig"] == {
        "EndpointsConfig": {"net-b": {"IPAMConfig": {"IPv4Address": "10.0.0.4"}}}
    }
    assert made.joins == {"net-r": "10.1.0.9"}
    assert plan({"VCPU": 1}).body["HostConfig"]["NetworkMode"] == "none"


@pytest.mark.parametrize(
    ("amounts", "change", "words"),
    [
        pytest.param({"VGPU": 1}, {}, "cannot give a container VGPU", id="a class it has not"),
        pytest.param(
            {"VCPU": 1},
            {"units": {"net-green/IPV4_ADDRESS": {"10.0.0.4": 1}}},
            "'green'",
            id="a network it does not know",
        ),
        pytest.param(
            {"VCPU": 1},
            {"units": {"net-blue/IPV4_ADDRESS": {"10.0.0.4": 1, "10.0.0.5": 1}}},
            "not 2",
            id="two addresses in a network",
        ),
    ],
)
def test_what_no_container_can_be(
    amounts: dict[str, int], change: dict[str, Any], words: str
) -> None:
    """Refused before anything is made, with the name of what is wrong."""
    with pytest.raises(BuildFailed, match=words):
        plan(amounts, **change)


@pytest.mark.parametrize(
    ("asked", "runs"),
    [
        pytest.param("", "img", id="none asked for: the agent's own"),
        pytest.param("other:2", "other:2", id="the request's comes first"),
        pytest.param("small", "registry/small:1", id="called something else by the engine"),
    ],
)
def test_the_image(asked: str, runs: str) -> None:
    """What a container is made from."""
    settings = Docker(image="img", images={"small": "registry/small:1"})
    made = containers.plan(order({"VCPU": 1}, image=asked), OWNER, settings, MACHINE)
    assert made.body["Image"] == runs
    assert plan({"VCPU": 1}).body["Image"] == "img"
    assert "Cmd" not in plan({"VCPU": 1}).body


@pytest.mark.parametrize(
    ("image", "command"),
    [
        pytest.param("", ["sleep", "9"], id="the agent's image"),
        pytest.param("other:2", None, id="an image of the requester's"),
    ],
)
def test_the_command_is_for_the_agents_image(image: str, command: list[str] | None) -> None:
    """What somebody else's image does is its own affair."""
    settings = Docker(image="img", command=("sleep", "9"))
    body = containers.plan(order({"VCPU": 1}, image=image), OWNER, settings, MACHINE).body
    assert body.get("Cmd") == command
    assert body.get("Entrypoint") == ([""] if command else None)


def test_a_container_says_whose_it_is() -> None:
    """Everything that is needed to take it over is in its labels."""
    wanted = order({"VCPU": 1})
    labels = plan({"VCPU": 1}).body["Labels"]
    assert labels[containers.ORDER] == msgspec.json.encode(wanted).decode()
    assert {key.removeprefix("io.placer."): value for key, value in labels.items()} == {
        "deployment": "demo",
        "role": "instance",
        "cell": "nyc1",
        "host": "h1",
        "claim": "nyc1.h1.c1",
        "instance": "i1",
        "order": labels[containers.ORDER],
    }
    filters = dict(label.split("=") for label in OWNER.filters())
    assert filters.items() <= labels.items()


@pytest.mark.parametrize(
    ("state", "life"),
    [
        pytest.param("running", Life.RUNNING, id="it runs"),
        pytest.param("restarting", Life.RUNNING, id="the engine starts it again"),
        pytest.param("exited", Life.STOPPED, id="it was stopped"),
        pytest.param("created", Life.UNFINISHED, id="it never ran"),
        pytest.param("dead", Life.UNFINISHED, id="half removed"),
    ],
)
def test_guests(state: str, life: Life) -> None:
    """What the engine's list says of a container."""
    labels = plan({"VCPU": 1}).body["Labels"]
    assert containers.guest({"Labels": labels, "State": state}) == Guest(order({"VCPU": 1}), life)


@pytest.mark.parametrize(
    "labels",
    [
        pytest.param({}, id="no order"),
        pytest.param({containers.ORDER: "{"}, id="an order that cannot be read"),
    ],
)
def test_what_is_no_guest(labels: dict[str, str]) -> None:
    """Others' containers are left alone."""
    assert containers.guest({"Labels": labels, "State": "running"}) is None
