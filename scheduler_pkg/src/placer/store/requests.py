"""The request log and its work rows on Cassandra: a part of ``CassandraCellStore``."""

from __future__ import annotations

import asyncio
from typing import Any, Final, Protocol

import msgspec

from placer.model.request import Request
from placer.model.work import Work, shard_of
from placer.store import statements
from placer.store.statements import Statement

#: Rows of one partition that one read returns; the rest comes once these are done.
_WORK_ROWS_MAX: Final = 500

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Request).decode


class _Session(Protocol):
    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...


class CassandraRequests:
    """``RequestStore`` on one cell's keyspace."""

    _session: _Session
    _work_shards: int

    async def add_request(self, request: Request, work: Work) -> None:
        body = _encode(request).decode()
        await asyncio.gather(
            self._session.execute(statements.ADD_REQUEST, request.id, request.rev, body),
            self.add_work(work),
        )

    async def add_request_once(self, request: Request) -> bool:
        body = _encode(request).decode()
        rows = await self._session.execute(
            statements.ADD_REQUEST_ONCE, request.id, request.rev, body
        )
        return bool(rows[0][0])

    async def change_request(self, request: Request, *, if_rev: int) -> bool:
        body = _encode(request).decode()
        rows = await self._session.execute(
            statements.CHANGE_REQUEST, request.rev, body, request.id, if_rev
        )
        return bool(rows[0][0])

    async def get_request(self, request_id: str, *, serial: bool = False) -> Request | None:
        statement = statements.GET_REQUEST_SERIAL if serial else statements.GET_REQUEST
        rows = await self._session.execute(statement, request_id)
        # An LWT on a request that was never added leaves no body.
        return _decode(rows[0][0]) if rows and rows[0][0] is not None else None

    async def add_work(self, work: Work) -> None:
        await self._session.execute(
            statements.ADD_WORK, self._shard(work), work.slot, work.id, work.rev, work.at_ms
        )

    async def drop_work(self, work: Work) -> None:
        await self._session.execute(
            statements.DROP_WORK, self._shard(work), work.slot, work.id, work.rev
        )

    async def read_work(self, shard: int, slot: int) -> list[Work]:
        rows = await self._session.execute(statements.READ_WORK, shard, slot, _WORK_ROWS_MAX)
        return [Work(*row) for row in rows]

    def _shard(self, work: Work) -> int:
        return shard_of(work.id, self._work_shards)
