"""A machine divided into hosts: what each reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer.agents import division
from placer.agents.division import HostPart
from placer.agents.machine import Card, Gpu, Machine, Node
from placer.errors import InvalidInput
from placer.model import reports
from placer.model.records import Inventory

PLAIN = Machine(cpus=tuple(range(6)), memory_mib=10_000, disk_gib=100, traits=("HW_CPU_X86_AVX2",))
SERVER = Machine(
    cpus=tuple(range(8)),
    memory_mib=128_000,
    disk_gib=900,
    nodes=(Node(0, (0, 1, 2, 3), 64_000), Node(1, (4, 5, 6, 7), 64_000)),
    gpus=(Gpu("0000:af:00.0", "AMD", 1, ("/dev/dri/card1",)),),
    cards=(Card("0000:81:00.0", 1, ("0000:81:02.0",)), Card("0000:82:00.0", -1, ())),
)


@pytest.mark.parametrize(
    ("part", "totals"),
    [
        pytest.param(
            HostPart(name="h"), {"VCPU": 6, "MEMORY_MB": 10_000, "DISK_GB": 100}, id="all of it"
        ),
        # 6 / 4 = 1.5 CPUs, rounded down
        pytest.param(
            HostPart(name="h", share=0.25),
            {"VCPU": 1, "MEMORY_MB": 2500, "DISK_GB": 25},
            id="a quarter, rounded down",
        ),
        pytest.param(
            HostPart(name="h", share=0.01),
            {"VCPU": 1, "MEMORY_MB": 100, "DISK_GB": 1},
            id="at least one CPU",
        ),
        pytest.param(
            HostPart(name="h", inventories={"VCPU": Inventory(total=40)}),
            {"VCPU": 40},
            id="inventories of its own",
        ),
    ],
)
def test_amounts(part: HostPart, totals: dict[str, int]) -> None:
    """A share of each class, or what the file says."""
    made = division.report(part, PLAIN)
    assert {name: inventory.total for name, inventory in made.inventories.items()} == totals
    assert made.traits == ("HW_CPU_X86_AVX2",)


def test_reserved_and_oversubscribed() -> None:
    """(6 - 1) x 4 = 20 CPUs may be promised, all memory but 1000 MiB."""
    part = HostPart(
        name="h",
        traits=("CUSTOM_FAST",),
        aggregates=("rack-1",),
        reserved={"VCPU": 1, "MEMORY_MB": 1000, "DISK_GB": 5000},
        ratios={"VCPU": 4.0},
    )
    made = division.report(part, PLAIN)
    capacities = {name: inventory.capacity for name, inventory in made.inventories.items()}
    assert capacities == {"VCPU": 20, "MEMORY_MB": 9000, "DISK_GB": 0}
    assert made.traits == ("CUSTOM_FAST", "HW_CPU_X86_AVX2")
    assert made.aggregates == ("rack-1",)


def test_the_tree_of_a_whole_server() -> None:
    """CPUs and memory in the NUMA nodes, devices in the node they are wired to."""
    made = division.report(HostPart(name="h"), SERVER)
    assert set(made.inventories) == {"DISK_GB"}
    inside = {
        child.key: (child.parent, {name: i.total for name, i in child.inventories.items()})
        for child in made.children
    }
    assert inside == {
        "numa0": ("", {"VCPU": 4, "MEMORY_MB": 64_000}),
        "numa1": ("", {"VCPU": 4, "MEMORY_MB": 64_000}),
        "gpu-0000_af_00.0": ("numa1", {"PGPU": 1}),
        "nic-0000_81_00.0": ("numa1", {"SRIOV_NET_VF": 1}),
    }
    assert reports.problem(made) == ""


def test_a_part_of_a_server_has_no_tree() -> None:
    """NUMA nodes and devices cannot be shared out by a fraction."""
    made = division.report(HostPart(name="h", share=0.5), SERVER)
    assert made.children == ()
    assert made.inventories["VCPU"].total == 4


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param(None, "Cannot read", id="no file"),
        pytest.param("[", "wrong", id="not JSON"),
        pytest.param("[]", "at least one", id="no host"),
        pytest.param('[{"name": "a"}, {"name": "a", "share": 0.1}]', "once", id="a name twice"),
        pytest.param('[{"name": "a", "share": 0}]', "has share 0", id="a share of nothing"),
        pytest.param(
            '[{"name": "a", "share": 0.7}, {"name": "b", "share": 0.7}]', "1.4", id="over all"
        ),
        pytest.param('[{"name": "a", "cpus": 3}]', "cpus", id="an unknown word"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    """What is wrong with it is said before anything starts."""
    path = tmp_path / "hosts.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidInput, match=words):
        division.read(path)


def test_thirds_are_the_whole(tmp_path: Path) -> None:
    """Three times 0.334 is more than one by rounding only."""
    path = tmp_path / "hosts.json"
    path.write_text(
        '[{"name": "a", "share": 0.3334}, {"name": "b", "share": 0.3333}, '
        '{"name": "c", "share": 0.3334}]'
    )
    assert [part.name for part in division.read(path)] == ["a", "b", "c"]


def test_what_no_row_can_hold_is_refused() -> None:
    """The same rules as where the report arrives."""
    with pytest.raises(InvalidInput, match="no trait"):
        division.report(HostPart(name="h", traits=("lower",)), PLAIN)
