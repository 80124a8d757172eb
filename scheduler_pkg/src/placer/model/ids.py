"""Identifiers. They carry their home, so that no index is needed to find a thing again."""

from __future__ import annotations

import uuid
import zlib
from typing import Final

_HOSTS: Final = uuid.UUID("7b0c0c38-6f0d-4d6e-9b53-2f0a5a0f4a55")


def host_uuid(cell: str, name: str) -> str:
    """The host's provider uuid: the same for the same name in the same cell, for ever."""
    return str(uuid.uuid5(_HOSTS, f"{cell}/{name}"))


def bucket_of(host: str, buckets: int) -> int:
    """The bucket (0..buckets-1) whose partition of ``host_view`` holds ``host``."""
    return zlib.crc32(host.encode()) % buckets


def new_request_id(cell: str) -> str:
    """``<home cell>.<random>``: any API server can find the request's keyspace from it."""
    return f"{cell}.{uuid.uuid4().hex}"


def new_claim_id(cell: str, host: str) -> str:
    """``<cell>.<host>.<random>``. Never reused: a retry after an unknown outcome mints a new one."""
    return f"{cell}.{host}.{uuid.uuid4().hex[:16]}"


def cell_of(identifier: str) -> str:
    """Home cell of a request or claim id; empty if it has none."""
    cell, dot, _ = identifier.partition(".")
    return cell if dot else ""


def keyspace_of(cell: str) -> str:
    """Keyspace of a cell's own data; a cell's name is lower-case letters, digits and hyphens."""
    return "placer_" + cell.replace("-", "_")
