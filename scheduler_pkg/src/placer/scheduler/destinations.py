"""Where a request would go, for programs that want only a scheduler. Claims nothing."""

from __future__ import annotations

from collections.abc import Iterable

from placer.errors import InvalidInput, StoreError
from placer.model.destinations import Destination, Destinations
from placer.model.request import Alternate, Reason, RequestSpec, Strategy
from placer.scheduler import refusals
from placer.scheduler.groups import GroupFacts
from placer.scheduler.plan import plan
from placer.scheduler.refusals import Nowhere
from placer.scheduler.searching import Searching


async def look(
    searching: Searching, spec: RequestSpec, cells: Iterable[str], facts: GroupFacts | None
) -> Destinations:
    """Hosts for ``spec`` in the first of ``cells`` with room for it; a reason if there is none.

    With a server group that keeps its rule in a row, or over several cells, each cell is looked at
    for itself: what is returned is a good guess.
    """
    misses: list[Reason | Nowhere] = []
    for cell in cells:
        try:
            hosts = spec.count + spec.alternates
            if spec.host:
                found = await searching.named(cell, spec, facts)
            else:
                found = await searching.search(cell, spec, facts, hosts=hosts)
        except (StoreError, InvalidInput) as error:
            misses.append(refusals.trouble(error))
            continue
        ranked = found.selection.ranked
        chosen = plan(
            spec.count,
            ranked,
            found.wanted,
            pack=spec.strategy is Strategy.PACK,
            per_host=facts.group.max_per_host if facts else 0,
        )
        if sum(n for _, n in chosen) < (1 if spec.partial else spec.count):
            misses.append(Nowhere(found, {}))
            continue
        taken = {view.host for view, _ in chosen}
        rest = [view for view in ranked if view.host not in taken]
        return Destinations(
            destinations=tuple(
                Destination(cell, view.host, view.name) for view, n in chosen for _ in range(n)
            ),
            alternates=tuple(
                Alternate(cell, view.host, view.name) for view in rest[: spec.alternates]
            ),
        )
    return Destinations(reason=refusals.joined(misses))
