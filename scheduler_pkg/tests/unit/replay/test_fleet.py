"""The simulated hosts: how many, of what, and the same ones every time."""

from __future__ import annotations

from collections import Counter

import pytest

from placer.errors import InvalidInput, UnknownCell
from placer.model import resource_classes
from placer.model.resource_classes import BAREMETAL, GPU_MILLI
from placer.replay import fleet
from placer.replay.shapes import HostShape

CELLS = ("nyc1", "ams1", "sgp1")


def test_all_hosts_are_there_and_spread_evenly() -> None:
    """1,523 over three cells: 508, 508, 507."""
    hosts = fleet.built_in(CELLS, 1523, 1)
    assert sorted(map(len, hosts.values())) == [507, 508, 508]


def test_names_begin_with_the_cell_and_are_unique() -> None:
    hosts = fleet.built_in(CELLS, 1523, 1)
    assert hosts["nyc1"][0].name == "nyc1-h0001"
    names = [host.name for reports in hosts.values() for host in reports]
    assert len(set(names)) == 1523


def test_same_arguments_same_hosts() -> None:
    """Each cell's agent asks alone and all get parts of one fleet, however the cells are listed."""
    assert fleet.built_in(CELLS, 100, 7) == fleet.built_in(CELLS[::-1], 100, 7)
    assert fleet.built_in(CELLS, 100, 7) != fleet.built_in(CELLS, 100, 8)


def test_every_inventory_is_a_valid_offer() -> None:
    """What a class says of its inventories holds for every host."""
    for host in fleet.built_in(["c"], 1523, 1)["c"]:
        for name, inventory in host.inventories.items():
            assert resource_classes.get(name).check_inventory(inventory) is None


def test_bare_metal_share() -> None:
    """5 % of 1,523 is 76; at least one a cell in a small fleet; none in a tiny one."""

    def whole(hosts: int) -> list[int]:
        spread = fleet.built_in(CELLS, hosts, 1)
        return [sum(BAREMETAL in h.inventories for h in reports) for reports in spread.values()]

    assert sum(whole(1523)) == 76
    assert whole(15) == [1, 1, 1]
    assert sum(whole(3)) == 0


def test_gpu_hosts_have_named_devices_and_a_trait() -> None:
    hosts = [h for h in fleet.built_in(["c"], 500, 1)["c"] if GPU_MILLI in h.inventories]
    # 36.0 + 25.4 + 7.0 + 2.6 + … of a hundred have GPUs: about four in five.
    assert 350 < len(hosts) < 450
    for host in hosts:
        inventory = host.inventories[GPU_MILLI]
        assert inventory.total == 1000 * len(inventory.units)
        assert Counter(trait[:11] for trait in host.traits) == {"CUSTOM_GPU_": 1}


def test_apportion_is_exact() -> None:
    """Whole numbers that add up: 10 by 1:1:1 is 4, 3, 3."""
    assert fleet.apportion([1, 1, 1], 10) == [4, 3, 3]
    assert fleet.apportion([50, 30, 20], 7) == [4, 2, 1]  # 3.5, 2.1, 1.4: the half goes up


def test_hosts_of_a_trace_are_all_dealt() -> None:
    shapes = [HostShape(1.0, 8, 1024), HostShape(1.0, 16, 2048, 2, "v-100/x")]
    hosts = fleet.from_shapes(["b", "a"], shapes, 1)
    assert [len(hosts["a"]), len(hosts["b"])] == [1, 1]
    assert hosts["b"][0].traits == ("CUSTOM_GPU_V_100_X",)


@pytest.mark.parametrize(("cells", "hosts"), [((), 10), (CELLS, 2), (CELLS, 10**7)])
def test_impossible_fleets_are_refused(cells: tuple[str, ...], hosts: int) -> None:
    with pytest.raises(InvalidInput):
        fleet.built_in(cells, hosts, 1)


def test_unknown_cell_is_refused() -> None:
    with pytest.raises(UnknownCell, match="fra1"):
        fleet.of_cell(fleet.built_in(CELLS, 10, 1), "fra1")
