"""Fitting: which provider of a tree gives what, and why it does not fit."""

from __future__ import annotations

import pytest

from placer.model import fitting
from placer.model.fitting import Arrangement, Demand, Group
from placer.model.records import Inventory, Record, inventory_record

GPU = "CUSTOM_GPU_MILLI"


def numa() -> tuple[Record, ...]:
    """Two NUMA nodes of 4 cores each, one with a network card, below a root that has the memory."""
    return (
        inventory_record("root", {"MEMORY_MB": Inventory(total=100)}, ("CUSTOM_HOST",)),
        inventory_record("n0", {"VCPU": Inventory(total=4)}, key="numa0"),
        inventory_record(
            "n1",
            {"VCPU": Inventory(total=4), "SRIOV_NET_VF": Inventory(total=2)},
            ("CUSTOM_NIC",),
            key="numa1",
        ),
    )


def gpus(*rooms: int) -> tuple[Record, ...]:
    units = tuple(f"gpu{n}" for n in range(len(rooms)))
    offered = {GPU: Inventory(total=1000 * len(rooms), units=units)}
    held = {unit: 1000 - room for unit, room in zip(units, rooms, strict=True) if room < 1000}
    claim = Record(id="held", provider="h", amounts={GPU: -sum(held.values())}, units={GPU: held})
    return (inventory_record("h", offered), claim)


@pytest.mark.parametrize(
    ("demand", "row", "amounts"),
    [
        pytest.param(
            Demand({"": Group({"VCPU": 4, "MEMORY_MB": 10})}),
            numa(),
            {"numa0/VCPU": 4, "MEMORY_MB": 10},
            id="unnamed group is spread over the tree",
        ),
        pytest.param(
            Demand({"a": Group({"VCPU": 4, "SRIOV_NET_VF": 1})}),
            numa(),
            {"numa1/VCPU": 4, "numa1/SRIOV_NET_VF": 1},
            id="named group comes from one provider",
        ),
        pytest.param(
            Demand({"a": Group({"VCPU": 1}, required=("CUSTOM_NIC",))}),
            numa(),
            {"numa1/VCPU": 1},
            id="trait of a named group is its provider's",
        ),
        pytest.param(
            Demand({"a": Group({"VCPU": 1}), "b": Group({"VCPU": 1})}, isolate=True),
            numa(),
            {"numa0/VCPU": 1, "numa1/VCPU": 1},
            id="isolated groups come from different providers",
        ),
        pytest.param(
            Demand({"a": Group({"VCPU": 2}), "b": Group({"VCPU": 4}, required=("CUSTOM_NIC",))}),
            numa(),
            {"numa0/VCPU": 2, "numa1/VCPU": 4},
            id="a group makes way for one that has no other place",
        ),
        pytest.param(
            Demand({"": Group({"VCPU": 4}), "a": Group({"VCPU": 4})}),
            numa(),
            {"numa0/VCPU": 4, "numa1/VCPU": 4},
            id="named and unnamed group share what there is",
        ),
        pytest.param(
            Demand({"": Group({"VCPU": 1}, required=("CUSTOM_NIC", "CUSTOM_HOST"))}),
            numa(),
            {"numa0/VCPU": 1},
            id="traits of the unnamed group may be anywhere in the tree",
        ),
    ],
)
def test_fits(demand: Demand, row: tuple[Record, ...], amounts: dict[str, int]) -> None:
    """What each slot gives."""
    found = fitting.arrange(demand, fitting.tree_of(row))
    assert isinstance(found, Arrangement), found
    assert found.amounts == amounts


@pytest.mark.parametrize(
    ("demand", "row", "reason"),
    [
        pytest.param(
            Demand({"": Group({"VCPU": 5})}),
            numa(),
            "VCPU:no_capacity",
            id="one class comes from one provider only",
        ),
        pytest.param(
            Demand({"a": Group({"VCPU": 1, "MEMORY_MB": 1})}),
            numa(),
            "no_provider_has_all",
            id="no provider has both classes",
        ),
        pytest.param(
            Demand({name: Group({"VCPU": 1}) for name in "abc"}, isolate=True),
            numa(),
            "group_policy_isolate",
            id="more isolated groups than providers",
        ),
        pytest.param(
            Demand({"": Group({"VCPU": 1}, forbidden=("CUSTOM_NIC",))}),
            numa(),
            "trait_forbidden:CUSTOM_NIC",
            id="forbidden trait anywhere in the tree rules out the unnamed group",
        ),
        pytest.param(Demand({"a": Group({"VCPU": 1})}), (), "no_provider", id="empty row"),
        pytest.param(
            Demand({"": Group({GPU: 600})}),
            gpus(500, 500),
            f"{GPU}:no_device_with_enough",
            id="a slice comes from one device",
        ),
    ],
)
def test_does_not_fit(demand: Demand, row: tuple[Record, ...], reason: str) -> None:
    """Why not, by the reason that came closest."""
    assert fitting.arrange(demand, fitting.tree_of(row)) == reason


def test_slices_keep_whole_devices_whole() -> None:
    """A slice goes to the fullest device with room; a whole device then still fits beside it."""
    demand = Demand({"a": Group({GPU: 300}), "b": Group({GPU: 1000})})
    found = fitting.arrange(demand, fitting.tree_of(gpus(1000, 400)))
    assert isinstance(found, Arrangement)
    assert found.units == {GPU: {"gpu0": 1000, "gpu1": 300}}


def test_larger_group_is_served_first() -> None:
    """Whatever the order in which the groups are named."""
    demand = Demand({"a": Group({GPU: 300}), "b": Group({GPU: 300}), "c": Group({GPU: 500})})
    # 500 fills the smaller device; two times 300 fit on the other only.
    found = fitting.arrange(demand, fitting.tree_of(gpus(500, 600)))
    assert isinstance(found, Arrangement)
    assert found.units == {GPU: {"gpu0": 500, "gpu1": 600}}


def test_search_is_bounded() -> None:
    """A demand with very many ways and no solution ends with an answer."""
    row = tuple(
        inventory_record(f"n{n}", {"VCPU": Inventory(total=2)}, key=f"numa{n}") for n in range(12)
    )
    demand = Demand({f"g{n:02}": Group({"VCPU": 2 if n else 1}) for n in range(14)})
    assert fitting.arrange(demand, fitting.tree_of(row)) in ("too_many_ways", "VCPU:no_capacity")
