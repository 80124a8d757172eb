"""The instance: what an agent built for a request; listed from the global keyspace."""

from __future__ import annotations

from msgspec import Struct


class Instance(Struct, frozen=True, omit_defaults=True):
    """One row of the list of instances. ``rev`` orders its writes (the host row's revision)."""

    id: str
    project: str
    region: str
    cell: str
    host: str
    host_name: str
    request: str
    claim: str
    state: str
    resources: dict[str, int]
    created_ms: int
    updated_ms: int
    rev: int
