"""The commit record: what decides a change of several rows (claim protocol, sections 1 and 3)."""

from __future__ import annotations

import enum

from msgspec import Struct


class Decision(enum.StrEnum):
    """State of a record. Decided once, for ever; ``preparing`` may still become either."""

    PREPARING = "preparing"
    COMMITTED = "committed"
    ABORTED = "aborted"


class RowKey(Struct, frozen=True, order=True):
    """Where a row is: its cell and its id in that cell's host table."""

    cell: str
    host: str


class CommitRecord(Struct, frozen=True):
    """One write set. ``id`` contains the home cell, whose keyspace has the record.

    ``rows`` are all rows it may ever tag: fixed before the first tag is written.
    """

    id: str
    state: Decision
    rows: tuple[RowKey, ...]
    created_ms: int
