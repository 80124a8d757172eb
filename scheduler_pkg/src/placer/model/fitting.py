"""Does a demand fit a tree of providers, and what would a claim take? The one place that answers.

Used alike by filters on a (perhaps stale) view, by the claim on the row itself, and by the checker.
The meaning is Placement's: all of a *named* group comes from one provider, which has all the traits
that the group requires; each class of the *unnamed* group (name "") comes from one provider, and its
traits may be spread over the tree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Set
from typing import Final

from msgspec import Struct

from placer.model import records, resource_classes
from placer.model.records import Inventory, Record

#: Trials of one provider for one group within one answer; beyond it the answer is no.
_TRIALS_MAX: Final = 2000


class Group(Struct, frozen=True, omit_defaults=True):
    """Amounts by class that are asked for together, and the traits of where they come from.

    Of each tuple in ``any_of`` at least one trait must be there.
    """

    resources: dict[str, int]
    required: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    any_of: tuple[tuple[str, ...], ...] = ()


class Demand(Struct, frozen=True, omit_defaults=True):
    """What one instance needs of one host. ``isolate``: no two named groups from one provider."""

    groups: dict[str, Group]
    isolate: bool = False

    @property
    def totals(self) -> dict[str, int]:
        """Amount of each class over all groups."""
        totals: dict[str, int] = {}
        for group in self.groups.values():
            for name, amount in group.resources.items():
                totals[name] = totals.get(name, 0) + amount
        return totals


class Tree(Struct, frozen=True):
    """What fitting looks at: inventories, free amounts and devices by slot, traits by provider."""

    offered: dict[str, Inventory]
    free: dict[str, int]
    taken: dict[str, dict[str, int]]
    providers: dict[str, tuple[str, ...]]


class Arrangement(Struct, frozen=True):
    """Which slots give how much, which devices of them, and which provider serves each group."""

    amounts: dict[str, int]
    units: dict[str, dict[str, int]]
    groups: dict[str, str]


def demand_of(resources: dict[str, int], required: tuple[str, ...] = ()) -> Demand:
    """The demand of a single unnamed group."""
    return Demand({"": Group(resources, required)})


def tree_of(row: Iterable[Record]) -> Tree:
    """The tree that the records of one row make."""
    held = tuple(row)
    return Tree(
        offered=records.inventories(held),
        free=records.available(held),
        taken=records.units_taken(held),
        providers=records.provider_traits(held),
    )


def arrange(demand: Demand, tree: Tree) -> Arrangement | str:
    """How ``demand`` is met by ``tree``, or why it is not (``CLASS:reason``, ``trait_...:NAME``).

    Complete for divisible classes and whole devices: if there is a way it is found, within
    ``_TRIALS_MAX``. Slices of devices go to the fullest device that has room, largest group first;
    a way that only another packing of the slices would give is not looked for.
    """
    groups = demand.groups
    if len(groups) == 1 and (group := groups.get("")) is not None:
        return _spread(group, tree)
    search = _Search(demand, tree)
    return search.arrangement() or search.reason or "no_provider"


def _spread(group: Group, tree: Tree) -> Arrangement | str:
    """The unnamed group: each class from the first provider that has it, traits from anywhere.

    Classes do not compete with each other, so that taking the first that fits misses no way.
    """
    amounts: dict[str, int] = {}
    units: dict[str, dict[str, int]] = {}
    for name, amount in group.resources.items():
        kind = resource_classes.get(name)
        reason = "not_offered"
        for key in tree.providers:
            place = f"{key}/{name}" if key else name
            inventory = tree.offered.get(place)
            if inventory is None:
                continue
            taken = tree.taken.get(place, {})
            refused = kind.rejects(amount, inventory, tree.free.get(place, 0), taken)
            if refused is None:
                amounts[place] = amount
                if devices := kind.take(amount, inventory, taken):
                    units[place] = devices
                break
            reason = refused
        else:
            return f"{name}:{reason}"
    if group.required or group.forbidden or group.any_of:
        held = {trait for traits in tree.providers.values() for trait in traits}
        held.update(trait for inv in tree.offered.values() for trait in inv.traits)
        if refused := trait_reason(group, held):
            return refused
    return Arrangement(amounts, units, {})


class _Search:
    """Depth first over the providers that each named group may use, then the unnamed group."""

    def __init__(self, demand: Demand, tree: Tree) -> None:
        self._demand = demand
        self._tree = tree
        self._free = dict(tree.free)
        self._taken = {name: dict(devices) for name, devices in tree.taken.items()}
        self._given: list[tuple[str, int, dict[str, int]]] = []
        self._used: dict[str, str] = {}
        self._trials = 0
        self.reason = ""

    def arrangement(self) -> Arrangement | None:
        groups = self._demand.groups
        named = sorted(
            (name for name in groups if name),
            key=lambda name: -max(groups[name].resources.values(), default=0),
        )
        if not self._place(named):
            return None
        amounts: dict[str, int] = {}
        units: dict[str, dict[str, int]] = {}
        for name, amount, devices in self._given:
            amounts[name] = amounts.get(name, 0) + amount
            for device, share in devices.items():
                held = units.setdefault(name, {})
                held[device] = held.get(device, 0) + share
        return Arrangement(amounts, units, dict(self._used))

    def _place(self, named: list[str]) -> bool:
        if not named:
            return self._place_unnamed(self._demand.groups.get(""))
        name, *rest = named
        group = self._demand.groups[name]
        for key in self._keys(group):
            self._trials += 1
            if self._trials > _TRIALS_MAX:
                self.reason = "too_many_ways"
                return False
            if self._demand.isolate and key in self._used.values():
                self._because("group_policy_isolate")
                continue
            depth = len(self._given)
            if self._take_all(group, key):
                self._used[name] = key
                if self._place(rest):
                    return True
                del self._used[name]
            self._give_back(depth)
        return False

    def _keys(self, group: Group) -> Iterator[str]:
        """Providers whose traits suit ``group`` and that offer all its classes.

        Why others do not is told only if there is none: else something else is what is missing.
        """
        unsuited: list[tuple[str, bool]] = []
        suited = False
        for key, traits in self._tree.providers.items():
            missing = [c for c in group.resources if records.slot(key, c) not in self._tree.offered]
            if missing:
                nowhere = [c for c in missing if not self._offered_somewhere(c)]
                word = f"{nowhere[0]}:not_offered" if nowhere else "no_provider_has_all"
                unsuited.append((word, True))
                continue
            held = set(traits)
            for name in group.resources:
                held.update(self._tree.offered[records.slot(key, name)].traits)
            if reason := trait_reason(group, held):
                unsuited.append((reason, False))
            else:
                suited = True
                yield key
        for reason, weak in () if suited else unsuited:
            self._because(reason, weak=weak)

    def _offered_somewhere(self, name: str) -> bool:
        return any(records.slot(key, name) in self._tree.offered for key in self._tree.providers)

    def _place_unnamed(self, group: Group | None) -> bool:
        if group is None:
            return True
        tree = Tree(self._tree.offered, self._free, self._taken, self._tree.providers)
        found = _spread(group, tree)
        if isinstance(found, str):
            self._because(found, weak=found.endswith(":not_offered"))
            return False
        for place, amount in found.amounts.items():
            self._given.append((place, amount, found.units.get(place, {})))
        return True

    def _take_all(self, group: Group, key: str) -> bool:
        return all(self._take(name, amount, key) for name, amount in group.resources.items())

    def _take(self, name: str, amount: int, key: str) -> bool:
        place = records.slot(key, name)
        kind, inventory = resource_classes.get(name), self._tree.offered[place]
        taken = self._taken.setdefault(place, {})
        free = self._free.get(place, 0)
        if reason := kind.rejects(amount, inventory, free, taken):
            self._because(f"{name}:{reason}")
            return False
        devices = kind.take(amount, inventory, taken)
        for device, share in devices.items():
            taken[device] = taken.get(device, 0) + share
        self._free[place] = free - amount
        self._given.append((place, amount, devices))
        return True

    def _give_back(self, depth: int) -> None:
        while len(self._given) > depth:
            place, amount, devices = self._given.pop()
            self._free[place] += amount
            for device, share in devices.items():
                self._taken[place][device] -= share

    def _because(self, reason: str, *, weak: bool = False) -> None:
        """Keep the reason that came closest: one of a provider that has the class beats 'not offered'."""
        if not self.reason or not weak:
            self.reason = reason


def trait_reason(group: Group, held: Set[str]) -> str | None:
    """Why providers with the traits ``held`` do not suit ``group``; None if they do."""
    for trait in group.required:
        if trait not in held:
            return f"trait_missing:{trait}"
    for choice in group.any_of:
        if held.isdisjoint(choice):
            return f"trait_missing:{'|'.join(choice)}"
    for trait in group.forbidden:
        if trait in held:
            return f"trait_forbidden:{trait}"
    return None
