"""The hint of a bucket: what at best may be had in it, so that a rare fit is found without a scan."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from placer.model import records, resource_classes
from placer.model.fitting import Demand, Group
from placer.model.host_view import HostView
from placer.model.records import RowKind


class BucketHint(Struct, frozen=True, omit_defaults=True):
    """Of the hosts of a bucket that could be chosen when a sweeper passed it.

    ``largest``: the largest amount of each class that one claim could take from one provider;
    ``traits``: how many hosts have each; ``aggregates``: those that some host is in. As stale as the
    sweep: it orders what is read and decides nothing.
    """

    bucket: int
    hosts: int = 0
    largest: dict[str, int] = {}
    traits: dict[str, int] = {}
    aggregates: tuple[str, ...] = ()


def hint_of(bucket: int, views: Sequence[HostView]) -> BucketHint:
    """The hint that ``views``, all of one bucket, give. Classes nobody has installed are left out."""
    largest: dict[str, int] = {}
    traits: dict[str, int] = {}
    aggregates: set[str] = set()
    hosts = [v for v in views if v.kind is RowKind.HOST and not v.not_chosen]
    known = set(resource_classes.names())
    for view in hosts:
        for slot, inventory in view.offered.items():
            name = records.class_of(slot)
            if name in known:
                kind = resource_classes.get(name)
                most = kind.largest(inventory, view.free.get(slot, 0), view.taken.get(slot, {}))
                largest[name] = max(most, largest.get(name, 0))
        for trait in view.traits:
            traits[trait] = traits.get(trait, 0) + 1
        aggregates.update(view.aggregates)
    return BucketHint(
        bucket=bucket,
        hosts=len(hosts),
        largest=dict(sorted(largest.items())),
        traits=dict(sorted(traits.items())),
        aggregates=tuple(sorted(aggregates)),
    )


def may_fit(
    hint: BucketHint, demand: Demand, aggregates: Sequence[str] = (), *, pools: bool = False
) -> bool:
    """Whether some host of the bucket may meet ``demand``. With ``pools`` these may give the rest."""
    if aggregates and set(aggregates).isdisjoint(hint.aggregates):
        return False
    return all(
        _group_may_fit(hint, group, shared=pools and not name)
        for name, group in demand.groups.items()
    )


def _group_may_fit(hint: BucketHint, group: Group, *, shared: bool) -> bool:
    for name, amount in group.resources.items():
        if amount > hint.largest.get(name, 0) and not (shared and name not in hint.largest):
            return False
    if shared:
        return True
    return all(trait in hint.traits for trait in group.required) and not any(
        hint.traits.keys().isdisjoint(choice) for choice in group.any_of
    )
