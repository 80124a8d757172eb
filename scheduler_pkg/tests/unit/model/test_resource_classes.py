"""Resource classes: what fits, what a claim takes, what a hint keeps."""

from __future__ import annotations

import pytest

from placer.errors import UnknownResourceClass
from placer.model import resource_classes
from placer.model.records import Inventory
from placer.model.resource_classes import BAREMETAL, GPU_MILLI

CORES = Inventory(total=10, min_unit=2, max_unit=6, step_size=2)
GPUS = Inventory(total=3000, units=("gpu0", "gpu1", "gpu2"))


@pytest.mark.parametrize(
    ("amount", "free", "reason"),
    [
        pytest.param(4, 10, None, id="within the limits"),
        pytest.param(4, 3, "no_capacity", id="more than is free"),
        pytest.param(1, 10, "below_min_unit", id="below the smallest unit"),
        pytest.param(8, 10, "above_max_unit", id="above the largest unit"),
        pytest.param(5, 10, "not_a_step", id="between two steps"),
    ],
)
def test_divisible(amount: int, free: int, reason: str | None) -> None:
    """Placement's limits, then what is free."""
    assert resource_classes.get("VCPU").rejects(amount, CORES, free, {}) == reason


@pytest.mark.parametrize(
    ("amount", "taken", "given"),
    [
        pytest.param(300, {}, {"gpu0": 300}, id="slice of an unused device"),
        pytest.param(300, {"gpu1": 600}, {"gpu1": 300}, id="slice goes to the fullest with room"),
        pytest.param(500, {"gpu1": 600}, {"gpu0": 500}, id="unless it has not enough left"),
        pytest.param(
            2000, {"gpu0": 1}, {"gpu1": 1000, "gpu2": 1000}, id="whole devices nobody uses"
        ),
    ],
)
def test_devices_are_given_by_their_identity(
    amount: int, taken: dict[str, int], given: dict[str, int]
) -> None:
    """Which devices a claim gets."""
    kind = resource_classes.get(GPU_MILLI)
    assert kind.rejects(amount, GPUS, 3000 - sum(taken.values()), taken) is None
    assert kind.take(amount, GPUS, taken) == given


@pytest.mark.parametrize(
    ("name", "inventory", "free", "taken", "largest"),
    [
        pytest.param("VCPU", CORES, 10, {}, 6, id="the largest unit"),
        pytest.param("VCPU", CORES, 3, {}, 3, id="what is free"),
        pytest.param("VCPU", CORES, -1, {}, 0, id="nothing, after a host has shrunk"),
        pytest.param(GPU_MILLI, GPUS, 3000, {}, 3000, id="all whole devices"),
        pytest.param(GPU_MILLI, GPUS, 1900, {"gpu0": 500, "gpu1": 600}, 1000, id="a whole one"),
        pytest.param(
            GPU_MILLI,
            GPUS,
            700,
            {"gpu0": 500, "gpu1": 800, "gpu2": 1000},
            500,
            id="the largest part that is left of one",
        ),
    ],
)
def test_largest(
    name: str, inventory: Inventory, free: int, taken: dict[str, int], largest: int
) -> None:
    """The most that one claim could take: what the hint of a bucket keeps."""
    assert resource_classes.get(name).largest(inventory, free, taken) == largest


@pytest.mark.parametrize(
    ("inventory", "wrong"),
    [
        pytest.param(GPUS, None, id="three devices"),
        pytest.param(Inventory(total=999, units=("a",)), "total", id="total does not match"),
        pytest.param(Inventory(total=2000, units=("a", "a")), "repeat", id="one device twice"),
        pytest.param(
            Inventory(total=1000, units=("a",), allocation_ratio=2.0), "oversubscribed", id="ratio"
        ),
    ],
)
def test_devices_check_what_is_reported(inventory: Inventory, wrong: str | None) -> None:
    """A report that a claim could not rely on is refused, in words."""
    said = resource_classes.get(GPU_MILLI).check_inventory(inventory)
    assert said is None if wrong is None else said is not None and wrong in said


def test_device_capacity_is_what_the_checker_asks() -> None:
    """A device's whole, nothing of one that is not there; amounts have no devices."""
    metal = Inventory(total=1, units=("serial-7",))
    assert resource_classes.get(BAREMETAL).device_capacity(metal, "serial-7") == 1
    assert resource_classes.get(GPU_MILLI).device_capacity(GPUS, "gpu9") == 0
    assert resource_classes.get("VCPU").device_capacity(CORES, "any") == 0


def test_slots_have_their_class() -> None:
    """The class of a provider inside the tree is that of its slot's name."""
    assert resource_classes.get("numa0/VCPU") is resource_classes.get("VCPU")


def test_unknown_class_is_named() -> None:
    """The error lists the classes that are not standard ones."""
    with pytest.raises(UnknownResourceClass, match=r"CUSTOM_X.*CUSTOM_GPU_MILLI"):
        resource_classes.get("CUSTOM_X")
