"""Which hosts take how many of several equal instances. Pure: views in, numbers out.

Without a wish the instances spread: each ranked host takes one, then each a second one, until all
have a place. ``pack`` fills the best host first, so that one transaction may do for all.
"""

from __future__ import annotations

from collections.abc import Sequence

from placer.model.fitting import Arrangement, Demand, Tree, arrange
from placer.model.host_view import HostView
from placer.scheduler import pools
from placer.scheduler.wanted import Wanted


def plan(
    count: int, ranked: Sequence[HostView], wanted: Wanted, *, pack: bool, per_host: int = 0
) -> list[tuple[HostView, int]]:
    """Hosts of ``ranked`` and how many of ``count`` each takes; fewer in sum if there is no room.

    ``per_host`` bounds the number on one host (0: any). What comes from sharing pools is not
    counted here: the pools' own rows refuse what they do not have.
    """
    trees = {view.host: view.tree for view in ranked}
    given = {view.host: 0 for view in ranked}
    left, limit = count, per_host or count
    for _ in range(count):
        before = left
        for view in ranked:
            demand = _own(wanted, view)
            while left and given[view.host] < limit and _take(trees, view.host, demand):
                given[view.host] += 1
                left -= 1
                if not pack:
                    break
        if left in (0, before):
            break
    return [(view, given[view.host]) for view in ranked if given[view.host]]


def _own(wanted: Wanted, view: HostView) -> Demand:
    """What the host itself must give for one instance."""
    if wanted.pools:
        completed = pools.complete(wanted.demand, view, wanted.pools)
        if not isinstance(completed, str):
            return completed.host
    return wanted.demand


def _take(trees: dict[str, Tree], host: str, demand: Demand) -> bool:
    """Take one instance from the host's tree; False if it has no room."""
    found = arrange(demand, trees[host])
    if isinstance(found, str):
        return False
    trees[host] = _after(trees[host], found)
    return True


def _after(tree: Tree, taken: Arrangement) -> Tree:
    """``tree`` once ``taken`` is promised."""
    free = dict(tree.free)
    for slot, amount in taken.amounts.items():
        free[slot] = free.get(slot, 0) - amount
    given = {slot: dict(devices) for slot, devices in tree.taken.items()}
    for slot, devices in taken.units.items():
        held = given.setdefault(slot, {})
        for device, amount in devices.items():
            held[device] = held.get(device, 0) + amount
    return Tree(tree.offered, free, given, tree.providers)
