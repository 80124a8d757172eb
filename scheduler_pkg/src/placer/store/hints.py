"""The hints of buckets on Cassandra: one small partition a cell."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from placer.model.hint import BucketHint
from placer.store import statements
from placer.store.statements import Statement

#: The one partition of the table.
_CELL: Final = 0

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(BucketHint).decode


class HintStore(Protocol):
    """The hints of one cell's buckets; errors as in ``store/base.py``."""

    async def read_hints(self) -> list[BucketHint]:
        """All hints there are; perhaps stale."""

    async def write_hint(self, hint: BucketHint, at_us: int) -> None:
        """Plain write; of several the one with the latest ``at_us`` stays."""


class _Session(Protocol):
    """What is needed of a cell's session."""

    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...


class CassandraHints:
    """``HintStore`` on one cell's keyspace."""

    _session: _Session

    async def read_hints(self) -> list[BucketHint]:
        return [
            _decode(body) for (body,) in await self._session.execute(statements.READ_HINTS, _CELL)
        ]

    async def write_hint(self, hint: BucketHint, at_us: int) -> None:
        body = _encode(hint).decode()
        await self._session.execute(statements.WRITE_HINT, _CELL, hint.bucket, body, at_us)
