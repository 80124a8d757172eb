"""Traits that some provider of the tree must have, or none.

What this lets through the capacity filter judges provider by provider; this one is cheaper and names
the trait. What an image needs of its host is among them (``model/catalog.py``). Traits of pools count
for the unnamed group, as in Placement.
"""

from __future__ import annotations

from placer.model.fitting import Group, trait_reason
from placer.model.host_view import HostView
from placer.scheduler.wanted import Wanted


class TraitsFilter:
    def applies(self, wanted: Wanted) -> bool:
        return any(g.required or g.forbidden or g.any_of for g in wanted.demand.groups.values())

    def rejects(self, wanted: Wanted, view: HostView) -> str | None:
        held = view.traits
        for name, group in wanted.demand.groups.items():
            if not name and wanted.pools:
                continue
            # Of a named group's forbidden traits another provider of the host may be free.
            asked = group if not name else Group({}, group.required, (), group.any_of)
            if reason := trait_reason(asked, held):
                return reason
        return None
