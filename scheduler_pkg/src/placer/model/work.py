"""Work rows: which requests somebody has to work on, so that a scan finds what a crash left open.

A row is written with (or before) the change that makes a request open, and deleted once the request
is final. Rows lie in partitions of (shard, slot): the shard by the request's id, the slot by the time
the row was made. A slot that is over and empty stays empty, so it is read a few times in all.

A row names the revision of the request that it stands for: a request that has not reached it yet is
not finished, its change may still be under way. And a later row of the same request is another row,
which no late delete can hit.
"""

from __future__ import annotations

import zlib
from typing import Final

from msgspec import Struct

#: Seconds of one slot.
SLOT_S: Final = 15


class Work(Struct, frozen=True):
    """Request ``id`` is open from its revision ``rev`` on; the row was made at ``at_ms``."""

    id: str
    rev: int
    at_ms: int

    @property
    def slot(self) -> int:
        return slot_of(self.at_ms)


def slot_of(at_ms: int) -> int:
    """The slot of a time."""
    return at_ms // (SLOT_S * 1000)


def shard_of(request_id: str, shards: int) -> int:
    """The shard (0..shards-1) of a request."""
    return zlib.crc32(request_id.encode()) % shards
