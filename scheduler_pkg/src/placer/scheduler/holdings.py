"""What the instances of a project have, as the list of instances says.

The list may be a moment behind the rows of hosts. It is read for what was there before the project had
a quota; what is claimed since has its share in the same transaction, and needs no list.
"""

from __future__ import annotations

from typing import Final

from placer.model import records
from placer.model.instance import Instance
from placer.scheduler.quota_rows import Holding
from placer.store.base import GlobalStore

#: Instances that one query reads.
_ROWS: Final = 1000
_NOT_HELD: Final = ("building", "failed", "deleted")


class Holdings:
    """Reads the whole list of a project: in the background, and for the first claim under a quota."""

    def __init__(self, store: GlobalStore) -> None:
        self._store = store

    async def of(self, cell: str, project: str) -> dict[str, Holding]:
        """What each living instance of ``project`` in ``cell`` has, by its id. Raises StoreError."""
        found: dict[str, Holding] = {}
        marker = ""
        while True:
            page = await self._store.list_instances(project, limit=_ROWS, marker=marker)
            for one in page.instances:
                if one.cell == cell and one.state not in _NOT_HELD:
                    found[one.id] = _holding(one)
            marker = page.next_marker
            if not marker:
                return found


def _holding(instance: Instance) -> Holding:
    amounts: dict[str, int] = {}
    for slot, amount in instance.resources.items():
        name = records.class_of(slot)
        amounts[name] = amounts.get(name, 0) + amount
    return Holding(instance.claim, amounts)
