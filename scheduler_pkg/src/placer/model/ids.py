"""Identifiers. They carry their home, so that no index is needed to find a thing again."""

from __future__ import annotations

import uuid
import zlib
from typing import Final

#: The version of UUIDs that begin with a time.
_TIMED: Final = 7

_HOSTS: Final = uuid.UUID("7b0c0c38-6f0d-4d6e-9b53-2f0a5a0f4a55")


def host_uuid(cell: str, name: str) -> str:
    """The host's provider uuid: the same for the same name in the same cell, for ever."""
    return str(uuid.uuid5(_HOSTS, f"{cell}/{name}"))


def child_uuid(root: str, key: str) -> str:
    """The uuid of the provider called ``key`` in the tree whose root provider is ``root``."""
    return str(uuid.uuid5(_HOSTS, f"{root}/{key}"))


def bucket_of(host: str, buckets: int) -> int:
    """The bucket (0..buckets-1) whose partition of ``host_view`` holds ``host``."""
    return zlib.crc32(host.encode()) % buckets


def new_request_id(cell: str) -> str:
    """``<home cell>.<random>``: any API server can find the request's keyspace from it."""
    return f"{cell}.{uuid.uuid4().hex}"


def new_claim_id(cell: str, host: str) -> str:
    """``<cell>.<host>.<random>``. Never reused: a retry after an unknown outcome mints a new one."""
    return f"{cell}.{host}.{uuid.uuid4().hex[:16]}"


def new_instance_id(now_ms: int) -> str:
    """A UUID of version 7: it says when the instance was made, wherever it is moved to later."""
    random = uuid.uuid4().int
    tail = random & 0x0FFF_3FFF_FFFF_FFFF_FFFF
    return str(uuid.UUID(int=now_ms << 80 | 7 << 76 | 2 << 62 | tail))


def made_ms(instance: str) -> int | None:
    """When an instance was made; None for an id that does not say."""
    try:
        found = uuid.UUID(instance)
    except ValueError:
        return None
    return found.int >> 80 if found.version == _TIMED else None


def new_writeset_id(cell: str, now_ms: int) -> str:
    """``<home cell>.<time in ms, hex>.<random>``: where its record is, and since when. Never reused."""
    return f"{cell}.{now_ms:x}.{uuid.uuid4().hex[:16]}"


def writeset_slot(writeset: str) -> int:
    """The minute in which a write set was made: the partition of the list it is noted in."""
    return int(writeset.split(".")[1], 16) // 60_000


def host_of(claim: str) -> str:
    """The host of a claim id, which is ``<cell>.<host>.<random>``; empty if it has none."""
    parts = claim.split(".")
    return parts[1] if len(parts) == 3 else ""


def cell_of(identifier: str) -> str:
    """Home cell of a request or claim id; empty if it has none."""
    cell, dot, _ = identifier.partition(".")
    return cell if dot else ""


def keyspace_of(cell: str) -> str:
    """Keyspace of a cell's own data; a cell's name is lower-case letters, digits and hyphens."""
    return "placer_" + cell.replace("-", "_")
