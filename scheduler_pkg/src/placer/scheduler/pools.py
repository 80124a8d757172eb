"""Sharing pools: what a host does not offer itself may come from a pool of one of its aggregates.

Placement's rule for the unnamed group of a request: each class comes from one provider, of the
host's own tree or a sharing one; here a class that the host offers itself is never taken from a
pool. Traits may be spread over all that take part. Pure; the pools of a cell are few and are read
as one partition of views.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec
from msgspec import Struct

from placer.claims.operations import AddClaim
from placer.model import fitting, ids, records
from placer.model.fitting import Demand, Group
from placer.model.host_view import POOL_BUCKET, HostView
from placer.model.records import HostStatus
from placer.store.base import CellStore

#: The trait of every provider that others may use by way of an aggregate; a pool has it by its kind.
SHARES: Final = "MISC_SHARES_VIA_AGGREGATE"


class Completed(Struct, frozen=True):
    """A demand divided: what the host itself must give, and what each pool gives, by the pool's row."""

    host: Demand
    pools: dict[str, Demand]


async def sharing(store: CellStore) -> list[HostView]:
    """The pools of a cell that hosts may use; perhaps stale. Address pools are not among them."""
    return await store.read_views(POOL_BUCKET)


def lacking(demand: Demand, host: HostView) -> dict[str, int]:
    """What the unnamed group asks for and no provider of the host offers."""
    unnamed = demand.groups.get("")
    if unnamed is None:
        return {}
    offered = {records.class_of(slot) for slot in host.offered}
    return {name: n for name, n in unnamed.resources.items() if name not in offered}


def complete(demand: Demand, host: HostView, pools: Iterable[HostView]) -> Completed | str:
    """How ``host`` meets ``demand`` with the help of ``pools``, or why it does not.

    Of several pools that fit, the one with the largest free share of the class is taken.
    """
    wanted = lacking(demand, host)
    if not wanted:
        found = fitting.arrange(demand, host.tree)
        return found if isinstance(found, str) else Completed(demand, {})
    near = [pool for pool in pools if set(pool.aggregates) & set(host.aggregates)]
    unnamed = demand.groups[""]
    chosen: dict[str, HostView] = {}
    shares: dict[str, dict[str, int]] = {}
    for name, amount in wanted.items():
        reason, best = f"{name}:not_offered", None
        for pool in near:
            share = {**shares.get(pool.host, {}), name: amount}
            why = _rejects(share, unnamed, pool)
            if not why and (best is None or _free_share(pool, name) > _free_share(best, name)):
                best = pool
            elif why and not why.endswith(":not_offered"):
                reason = why
        if best is None:
            return reason
        chosen[best.host] = best
        shares.setdefault(best.host, {})[name] = amount
    own = _without(demand, set(wanted), chosen.values())
    found = fitting.arrange(own, host.tree)
    if isinstance(found, str):
        return found
    return Completed(own, {pool: Demand({"": Group(share)}) for pool, share in shares.items()})


def divide(claim: AddClaim, completed: Completed) -> tuple[AddClaim, dict[str, AddClaim]]:
    """The host's part of ``claim``, and the claim on each pool (by its row) that goes with it."""
    own = msgspec.structs.replace(claim, demand=completed.host)
    cell = ids.cell_of(claim.claim)
    parts = {
        pool: AddClaim(
            claim=ids.new_claim_id(cell, pool),
            consumer=claim.consumer,
            request=claim.request,
            project=claim.project,
            demand=share,
            lease_until_ms=claim.lease_until_ms,
            anchor=claim.claim,
        )
        for pool, share in completed.pools.items()
    }
    return own, parts


def _rejects(share: dict[str, int], unnamed: Group, pool: HostView) -> str:
    """Why ``pool`` cannot give ``share``; empty if it can."""
    if pool.status is not HostStatus.UP:
        return f"pool_{pool.status}"
    if forbidden := pool.traits.intersection(unnamed.forbidden):
        return f"trait_forbidden:{min(forbidden)}"
    found = fitting.arrange(Demand({"": Group(share)}), pool.tree)
    return found if isinstance(found, str) else ""


def _free_share(pool: HostView, name: str) -> float:
    return pool.free_share_after(name, 0)


def _without(demand: Demand, given: set[str], pools: Iterable[HostView]) -> Demand:
    """``demand`` without what the pools give: the classes, and the traits that they have."""
    held = {SHARES}.union(*(pool.traits for pool in pools))
    unnamed = demand.groups[""]
    rest = Group(
        resources={n: amount for n, amount in unnamed.resources.items() if n not in given},
        required=tuple(trait for trait in unnamed.required if trait not in held),
        forbidden=unnamed.forbidden,
        any_of=tuple(choice for choice in unnamed.any_of if held.isdisjoint(choice)),
    )
    return Demand({**demand.groups, "": rest}, isolate=demand.isolate)
