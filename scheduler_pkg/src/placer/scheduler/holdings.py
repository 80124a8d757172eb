"""What the instances of a project have, as the list of instances says.

The list may be a moment behind the rows of hosts. It is read for what was there before the project had
a quota; what is claimed since has its share in the same transaction, and needs no list.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from placer.model import records
from placer.model.instance import InstanceState, Known, slot_of
from placer.scheduler.quota_rows import Holding
from placer.scheduler.worklog import clock_ms
from placer.store.instances import InstanceStore, ListOf

#: Instances and partitions that one query reads.
_ROWS: Final = 1000
_SLOTS: Final = 8
#: What is being built has a share, if it was claimed under the quota; else it counts once it runs.
_NOT_HELD: Final = (InstanceState.BUILDING, InstanceState.FAILED, InstanceState.DELETED)
#: Later than every key of a partition.
_FIRST: Final = (2**62, "")


class Holdings:
    """Reads the whole list of a project: in the background, and for the first claim under a quota."""

    def __init__(self, store: InstanceStore, *, now_ms: Callable[[], int] = clock_ms) -> None:
        self._store = store
        self._now_ms = now_ms

    async def of(self, cell: str, project: str) -> dict[str, Holding]:
        """What each living instance of ``project`` in ``cell`` has, by its id. Raises StoreError.

        One query for every thousand instances of the project, and for every 8 slots of time that it
        made any in.
        """
        found: dict[str, Holding] = {}
        of = ListOf(project=project)
        newest = slot_of(self._now_ms()) + 1
        while slots := await self._store.read_slots(of.owners[0], newest, _SLOTS):
            before = _FIRST
            while True:
                chunk = await self._store.page_instances(of, slots, before, _ROWS)
                for known in chunk.found:
                    if known.place.cell == cell and known.place.state not in _NOT_HELD:
                        found[known.place.id] = _holding(known)
                if chunk.rest is None:
                    break
                before = chunk.rest  # it falls: the loop ends with the slots
            newest = slots[-1] - 1
        return found


def _holding(known: Known) -> Holding:
    amounts: dict[str, int] = {}
    for slot, amount in known.place.resources.items():
        name = records.class_of(slot)
        amounts[name] = amounts.get(name, 0) + amount
    return Holding(known.place.claim, amounts)
