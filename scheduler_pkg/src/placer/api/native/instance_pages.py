"""A page of the list of instances: bounded reads of one order, whatever is filtered out of it.

A list is kept in slots of time, each a partition. The naive walk reads one after the other, so that a
page of a list with long pauses costs as many queries as there are slots between two instances. Here
the directory says which slots there are (remembered for a while: of old ones none is added, and the
newest few are always looked at), and one query takes several at once, in one order. So a page
of a busy list is one query to the local datacenter, and of any list a few; the position in the list
does not matter, as each query begins at a key.

What no table has an order for (state, tag, name …) is filtered here, from at most ``ROWS_MAX`` rows a
page: such a page may be short, or empty, and still have a next one that goes on where it stopped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from placer.model.instance import SLOT_MS, InstanceState, InstanceView, merge, slot_of
from placer.store.base import GlobalStore
from placer.store.instances import ListOf

#: Rows that one page reads when something is filtered out of them.
ROWS_MAX: Final = 4000
#: Rows of one query of such a page.
_ROWS_AT_ONCE: Final = 1000
#: Queries of a page, and slots of the first one while nothing is known of the list's density.
_QUERIES_MAX: Final = 6
_WIDTH: Final = 4
#: How much wider each query may be than the one before.
_GROWTH: Final = 8
#: Slots of a directory read at once: two months of which each quarter of a day has an instance.
_SLOTS_MAX: Final = 256
#: The newest slots, looked at whether the directory has them or not: its copy may be old.
_NEWEST: Final = 4
#: Partitions of one query: of several cells' lists fewer slots each.
_PARTITIONS_MAX: Final = 96
#: Rows that one query may make the store read: of each partition as many as are asked for.
_ROWS_READ_MAX: Final = 8000
_REMEMBERED_S: Final = 30.0
_DIRECTORIES_MAX: Final = 4096

#: A place in every list: when an instance was made, and its id.
Key = tuple[int, str]


class Filters(Struct, frozen=True):
    """What an instance must be like; what is empty does not matter."""

    project: str = ""
    states: frozenset[InstanceState] = frozenset()
    cells: tuple[str, ...] = ()
    host: str = ""
    name: str = ""
    tag: str = ""
    changed_since_ms: int = 0

    def keep(self, one: InstanceView) -> bool:
        return (
            (not self.project or one.project == self.project)
            and (not self.states or one.state in self.states)
            and (not self.cells or one.cell in self.cells)
            and (not self.host or self.host in (one.host, one.host_name))
            and one.name.startswith(self.name)
            and (not self.tag or self.tag in one.tags)
            and one.updated_ms >= self.changed_since_ms
        )

    @property
    def beyond_tables(self) -> bool:
        """Whether rows of the list may have to be left out."""
        cells = self.project and self.cells
        return bool(
            self.states or cells or self.host or self.name or self.tag or self.changed_since_ms
        )


class Page(Struct, frozen=True):
    """Instances, newest first; ``rest`` is where the next page begins, if there may be more."""

    found: list[InstanceView]
    rest: Key | None


class Pages:
    """Pages of all lists, as one API server reads them."""

    def __init__(
        self,
        store: GlobalStore,
        all_cells: Sequence[str],
        cut_off: Callable[[], Mapping[str, int]],
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._all_cells = tuple(all_cells)
        self._cut_off = cut_off
        self._now_ms = now_ms
        #: owner -> (read at, slots, newest first).
        self._directories: dict[str, tuple[float, list[int]]] = {}
        #: Slots of a list that hold a page.
        self._spans: dict[ListOf, int] = {}

    async def page(self, filters: Filters, *, limit: int, after: Key | None) -> Page:
        """Up to ``limit`` instances after ``after`` in the list. Raises StoreError."""
        cells = filters.cells or self._all_cells
        of = ListOf(project=filters.project) if filters.project else ListOf(cells=cells)
        cut_off = self._cut_off()
        position = after or (self._now_ms() + SLOT_MS, "")
        slots, noted, more = await self._slots(of, slot_of(position[0]))
        found: list[InstanceView] = []
        rows = ROWS_MAX if filters.beyond_tables else limit + 1
        width = self._spans.get(of, _WIDTH)
        for _ in range(_QUERIES_MAX):
            wanted = _ROWS_AT_ONCE if filters.beyond_tables else limit + 1 - len(found)
            asked = min(rows, wanted)
            partitions = min(_PARTITIONS_MAX, _ROWS_READ_MAX // max(1, asked))
            group = _group(slots, noted, min(width, max(1, partitions // len(of.owners))))
            if not group or rows <= 0:
                break
            chunk = await self._store.page_instances(of, group, position, asked)
            read = asked if chunk.rest else len(chunk.found)
            end = slot_of(chunk.rest[0]) if chunk.rest else group[-1]
            spanned = max(1, sum(slot >= end for slot in group if slot in noted))
            if read:
                self._remember(of, _needed(spanned, read, limit + 1))
            for known in chunk.found:
                if len(found) == limit:
                    return Page(found, position)
                position = known.key
                one = merge(known, cut_off.get(known.place.cell, 0))
                if filters.keep(one):
                    found.append(one)
            # Before all that the group's slots can hold, or where the query stopped.
            position = chunk.rest or (end * SLOT_MS, "")
            slots = [slot for slot in slots if slot < end or (chunk.rest and slot == end)]
            rows -= read
            width = _needed(spanned, read, _ROWS_AT_ONCE if filters.beyond_tables else limit)
        return Page(found, position if slots or more else None)

    def _remember(self, of: ListOf, slots: int) -> None:
        """How many slots of a list hold a page. Each costs the store up to a page of rows."""
        if len(self._spans) >= _DIRECTORIES_MAX:
            self._spans.clear()
        self._spans[of] = slots

    async def _slots(self, of: ListOf, at_most: int) -> tuple[list[int], frozenset[int], bool]:
        """Slots up to ``at_most``, newest first; those that are noted; whether there may be older."""
        now_slot = slot_of(self._now_ms())
        newest = range(now_slot + 1, now_slot + 1 - _NEWEST, -1)
        parts = await asyncio.gather(*(self._directory(owner, at_most) for owner in of.owners))
        # Where a part was cut nothing older may be passed over.
        ends = [end for _, end in parts if end]
        least = max(ends, default=0)
        noted = frozenset(slot for part, _ in parts for slot in part)
        slots = sorted((s for s in noted | set(newest) if least <= s <= at_most), reverse=True)
        return slots, noted, bool(ends)

    async def _directory(self, owner: str, at_most: int) -> tuple[list[int], int]:
        """Slots up to ``at_most``, and where they were cut (0: these are all).

        As remembered if that reaches back far enough, else read.
        """
        loop = asyncio.get_running_loop()
        read_s, slots = self._directories.get(owner, (float("-inf"), []))
        if loop.time() - read_s > _REMEMBERED_S:
            now = slot_of(self._now_ms()) + 1
            slots = await self._store.read_slots(owner, now, _SLOTS_MAX)
            if len(self._directories) >= _DIRECTORIES_MAX:
                self._directories.clear()
            self._directories[owner] = (loop.time(), slots)
        if len(slots) == _SLOTS_MAX and slots[-1] >= at_most:
            slots = await self._store.read_slots(owner, at_most, _SLOTS_MAX)
        cut = slots[-1] if len(slots) == _SLOTS_MAX else 0
        return [slot for slot in slots if slot <= at_most], cut


def _group(slots: list[int], noted: frozenset[int], width: int) -> list[int]:
    """The first ``width`` slots that are noted, and those between and after them that are not.

    The latter are empty most of the time, and then cost the store next to nothing.
    """
    seen = 0
    for index, slot in enumerate(slots):
        seen += slot in noted
        if seen > width:
            return slots[:index]
    return slots


def _needed(spanned: int, read: int, wanted: int) -> int:
    """Slots that hold ``wanted`` rows if they are like those ``spanned`` by ``read`` rows."""
    return max(1, min(_GROWTH * spanned, -(-spanned * wanted // max(1, read))))
