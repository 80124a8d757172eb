"""What makes a host's report usable: checked where it is read from a file and where it arrives."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Final

from placer.errors import UnknownResourceClass
from placer.model import resource_classes
from placer.model.messages import HostReport
from placer.model.records import MAX_INT, SLICE_PREFIX, Inventory

#: Bounds on one host's tree; its row is one value of the store.
CHILDREN_MAX: Final = 64
AGGREGATES_MAX: Final = 64
TRAITS_MAX: Final = 256
UNITS_MAX: Final = 4096

_KEY: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_TRAIT: Final = re.compile(r"[A-Z][A-Z0-9_]{0,254}")


def driver_trait(driver: str) -> str:
    """The trait of hosts whose instances are made by this driver, for those who care which."""
    return f"CUSTOM_DRIVER_{driver.upper()}"


def problem(report: HostReport) -> str:
    """What is wrong with ``report``, naming the value; empty if nothing is."""
    return next(_problems(report), "")


def inventory_problem(name: str, inventory: Inventory) -> str:
    """What is wrong with an inventory of class ``name``; empty if nothing is."""
    if "/" in name:
        return f"{name!r} is no resource class"
    try:
        known = resource_classes.get(name)
    except UnknownResourceClass as error:
        return str(error).rstrip(".")
    for wrong in _wrong_numbers(inventory):
        return f"its inventory of {name} has {wrong}"
    if len(inventory.units) > UNITS_MAX:
        return f"its inventory of {name} names {len(inventory.units)} units, at most {UNITS_MAX}"
    if why := known.check_inventory(inventory):
        return f"its inventory of {name} makes no sense: {why}"
    return traits_problem(inventory.traits)


def _wrong_numbers(inventory: Inventory) -> Iterator[str]:
    """What no inventory may say, whatever its class: each the value and what to use instead."""
    units = {
        "total": inventory.total,
        "min_unit": inventory.min_unit,
        "max_unit": inventory.max_unit,
        "step_size": inventory.step_size,
    }
    for field, value in units.items():
        if not 1 <= value <= MAX_INT:
            yield f"{field} {value}: use 1 to {MAX_INT}"
    if not 0 <= inventory.reserved <= inventory.total:
        yield f"reserved {inventory.reserved}: use 0 to its total, {inventory.total}"
    if inventory.min_unit > inventory.max_unit:
        yield (
            f"min_unit {inventory.min_unit} above max_unit {inventory.max_unit}: "
            "nothing could be claimed; swap them or leave one out"
        )
    ratio = inventory.allocation_ratio
    if not (math.isfinite(ratio) and ratio > 0):
        yield f"allocation_ratio {ratio}: use a finite number above 0"
    elif (inventory.total - inventory.reserved) * ratio >= MAX_INT + 1:
        yield (
            f"{inventory.total - inventory.reserved} times allocation_ratio {ratio:g} to give, "
            f"above {MAX_INT}: use a larger unit or a smaller ratio"
        )


def traits_problem(traits: tuple[str, ...]) -> str:
    """What is wrong with a provider's traits; empty if nothing is."""
    if len(traits) > TRAITS_MAX:
        return f"it has {len(traits)} traits, at most {TRAITS_MAX}"
    wrong = next((trait for trait in traits if not _TRAIT.fullmatch(trait)), None)
    return "" if wrong is None else f"{wrong!r} is no trait: use A-Z, 0-9 and _"


def _problems(report: HostReport) -> Iterator[str]:
    if not report.name:
        yield "it has no name"
    yield from _of_provider(report.inventories, report.traits)
    if len(report.aggregates) > AGGREGATES_MAX:
        yield f"it is in {len(report.aggregates)} aggregates, at most {AGGREGATES_MAX}"
    if len(report.children) > CHILDREN_MAX:
        yield f"it has {len(report.children)} providers inside, at most {CHILDREN_MAX}"
    parents = {child.key: child.parent for child in report.children}
    if len(parents) != len(report.children):
        keys = [child.key for child in report.children]
        yield f"provider {next(k for k in keys if keys.count(k) > 1)!r} is in it twice"
    for child in report.children:
        where = f"provider {child.key!r}: "
        if not _KEY.fullmatch(child.key):
            yield where + "its key must be letters, digits, '.', '_' and '-'"
        if child.key.startswith(SLICE_PREFIX):
            yield where + f"keys that begin with {SLICE_PREFIX!r} are the scheduler's own"
        if child.parent and child.parent not in parents:
            yield where + f"its parent {child.parent!r} is not there"
        if _is_its_own_ancestor(child.key, parents):
            yield where + "it is inside itself"
        yield from (where + text for text in _of_provider(child.inventories, child.traits))


def _of_provider(inventories: dict[str, Inventory], traits: tuple[str, ...]) -> Iterator[str]:
    if text := traits_problem(traits):
        yield text
    for name, inventory in inventories.items():
        if text := inventory_problem(name, inventory):
            yield text


def _is_its_own_ancestor(key: str, parents: dict[str, str]) -> bool:
    above = parents.get(key, "")
    for _ in parents:
        if above == key:
            return True
        above = parents.get(above, "")
    return False
