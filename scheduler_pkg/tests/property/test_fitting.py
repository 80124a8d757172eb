"""Fitting against brute force on small trees: what is said to fit does, and what fits is found."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from placer.model import fitting, records, resource_classes
from placer.model.fitting import Arrangement, Demand, Group, Tree
from placer.model.records import Inventory, Record, inventory_record
from placer.model.resource_classes import GPU_MILLI

KEYS = ("", "a", "b")
CLASSES = ("VCPU", "MEMORY_MB", GPU_MILLI)
TRAITS = ("CUSTOM_A", "CUSTOM_B")
SOME_TRAITS = st.sets(st.sampled_from(TRAITS), max_size=1).map(lambda held: tuple(sorted(held)))


@st.composite
def trees(draw: st.DrawFn) -> tuple[Record, ...]:
    """Up to three providers with up to three classes; some of it is taken."""
    made: list[Record] = []
    for key in KEYS[: draw(st.integers(min_value=1, max_value=3))]:
        offered: dict[str, Inventory] = {}
        for name in CLASSES[:2]:
            if total := draw(st.integers(min_value=0, max_value=4)):
                offered[name] = Inventory(total=total, step_size=draw(st.sampled_from([1, 1, 2])))
        if count := draw(st.integers(min_value=0, max_value=2)):
            units = tuple(f"{key}gpu{n}" for n in range(count))
            offered[GPU_MILLI] = Inventory(
                total=1000 * count, units=units, traits=draw(SOME_TRAITS)
            )
        made.append(inventory_record(f"p{key}", offered, draw(SOME_TRAITS), key=key))
        for name, inventory in offered.items():
            place = records.slot(key, name)
            if name == GPU_MILLI:
                held = {unit: draw(st.sampled_from([0, 0, 400, 1000])) for unit in inventory.units}
                made.append(
                    Record(f"c{place}", "p", {place: -sum(held.values())}, units={place: held})
                )
            else:
                used = draw(st.integers(min_value=0, max_value=inventory.total))
                made.append(Record(f"c{place}", "p", {place: -used}))
    return tuple(made)


@st.composite
def demands(draw: st.DrawFn, gpus: tuple[int, ...]) -> Demand:
    """An unnamed group and up to two named ones."""
    amounts = st.dictionaries(
        st.sampled_from(CLASSES[:2]), st.integers(min_value=1, max_value=3), min_size=1
    )
    groups: dict[str, Group] = {}
    for name in ("", "one", "two"):
        if draw(st.booleans()):
            resources = draw(amounts)
            if draw(st.booleans()):
                resources[GPU_MILLI] = draw(st.sampled_from(gpus))
            groups[name] = Group(
                resources,
                required=draw(st.one_of(st.just(()), SOME_TRAITS)),
                forbidden=draw(st.one_of(st.just(()), st.just(()), SOME_TRAITS)),
            )
    return Demand(groups or {"": Group({"VCPU": 1})}, isolate=draw(st.booleans()))


def suits(group: Group, held: set[str]) -> bool:
    return held.issuperset(group.required) and held.isdisjoint(group.forbidden)


def ways(demand: Demand, tree: Tree) -> list[dict[tuple[str, str], str]]:
    """Every way to give each (group, class) a provider that the rules of groups and traits allow."""
    named = [name for name in demand.groups if name]
    unnamed = demand.groups.get("")
    everything = {t for traits in tree.providers.values() for t in traits}
    everything |= {t for inventory in tree.offered.values() for t in inventory.traits}
    if unnamed is not None and not suits(unnamed, everything):
        return []
    found: list[dict[tuple[str, str], str]] = []
    loose = list(unnamed.resources) if unnamed else []
    for chosen in itertools.product(tree.providers, repeat=len(named)):
        if demand.isolate and len(set(chosen)) < len(chosen):
            continue
        way = {
            (name, resource): key
            for name, key in zip(named, chosen, strict=True)
            for resource in demand.groups[name].resources
        }
        if not all(
            records.slot(key, resource) in tree.offered for (_, resource), key in way.items()
        ):
            continue
        if not all(
            suits(
                demand.groups[name],
                set(tree.providers[key]).union(
                    *(
                        tree.offered[records.slot(key, r)].traits
                        for r in demand.groups[name].resources
                    )
                ),
            )
            for name, key in zip(named, chosen, strict=True)
        ):
            continue
        for rest in itertools.product(tree.providers, repeat=len(loose)):
            full = way | {("", r): key for r, key in zip(loose, rest, strict=True)}
            if all(records.slot(key, r) in tree.offered for (_, r), key in full.items()):
                found.append(full)
    return found


def has_room(demand: Demand, tree: Tree, way: dict[tuple[str, str], str]) -> bool:
    """Whether the amounts fit where ``way`` puts them; GPUs are whole ones here."""
    used: dict[str, int] = {}
    for (name, resource), key in way.items():
        place = records.slot(key, resource)
        amount = demand.groups[name].resources[resource]
        inventory = tree.offered[place]
        if amount % inventory.step_size or amount > inventory.max_unit:
            return False
        used[place] = used.get(place, 0) + amount
    for place, amount in used.items():
        inventory = tree.offered[place]
        whole = [u for u in inventory.units if not tree.taken.get(place, {}).get(u, 0)]
        room = 1000 * len(whole) if inventory.units else tree.free.get(place, 0)
        if amount > room:
            return False
    return True


@given(trees(), st.one_of(demands((400, 600, 1000, 2000)), demands((1000, 2000))))
def test_what_is_said_to_fit_does(row: tuple[Record, ...], demand: Demand) -> None:
    """Safety: no slot and no device gives more than it has, and every amount is given in full."""
    tree = fitting.tree_of(row)
    found = fitting.arrange(demand, tree)
    if isinstance(found, str):
        assert found
        return
    given_by_class: dict[str, int] = {}
    for place, amount in found.amounts.items():
        assert amount <= tree.free[place]
        name = records.class_of(place)
        given_by_class[name] = given_by_class.get(name, 0) + amount
        units = found.units.get(place, {})
        assert sum(units.values()) == (amount if tree.offered[place].units else 0)
        for unit, share in units.items():
            assert unit in tree.offered[place].units
            assert share + tree.taken.get(place, {}).get(unit, 0) <= 1000
    assert given_by_class == demand.totals
    for name, key in found.groups.items():
        assert all(records.slot(key, r) in found.amounts for r in demand.groups[name].resources)
    if demand.isolate:
        assert len(set(found.groups.values())) == len(found.groups)


@given(trees(), demands((1000, 2000)))
def test_what_fits_is_found(row: tuple[Record, ...], demand: Demand) -> None:
    """Progress: for amounts and whole devices, the answer is that of trying every way there is."""
    tree = fitting.tree_of(row)
    possible = any(has_room(demand, tree, way) for way in ways(demand, tree))
    assert isinstance(fitting.arrange(demand, tree), Arrangement) is possible


@given(trees(), st.sampled_from(CLASSES), st.integers(min_value=1, max_value=4))
def test_hint_is_never_too_small(row: tuple[Record, ...], name: str, amount: int) -> None:
    """What fits one class of a tree is at most the largest that the class tells the hints."""
    wanted = amount * 500 if name == GPU_MILLI else amount
    tree = fitting.tree_of(row)
    kind = resource_classes.get(name)
    largest = max(
        (
            kind.largest(inventory, tree.free[place], tree.taken.get(place, {}))
            for place, inventory in tree.offered.items()
            if records.class_of(place) == name
        ),
        default=0,
    )
    if isinstance(fitting.arrange(fitting.demand_of({name: wanted}), tree), Arrangement):
        assert wanted <= largest
