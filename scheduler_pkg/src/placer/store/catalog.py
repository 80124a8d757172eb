"""Flavors, images and server groups on Cassandra, in the keyspace that every datacenter has.

Writes are plain and ordered by ``rev``: the time in microseconds, and always above the revision that
was read, so that a server whose clock is behind can still replace what it sees. Of two writers at
once the higher revision wins, whole.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from placer.model.catalog import Flavor, Image
from placer.model.groups import ServerGroup
from placer.model.request import Request
from placer.store import statements
from placer.store.statements import NamedTable, Statement

_T = TypeVar("_T")

_encode = msgspec.json.Encoder().encode
_decode_group = msgspec.json.Decoder(ServerGroup).decode


class Session(Protocol):
    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...


#: The session of the cell whose API made something with this id; None: the own cell, or none at all.
MadeIn = Callable[[str], Awaitable[Session | None]]


class CassandraNamed(Generic[_T]):
    """``NamedStore`` on one table."""

    def __init__(self, session: Session, table: NamedTable, kind: type[_T]) -> None:
        self._session = session
        self._table = table
        self._decode = msgspec.json.Decoder(kind).decode

    async def get(self, name: str) -> _T | None:
        _, body = await self._read(name)
        return self._decode(body) if body else None

    async def put(self, name: str, value: _T) -> bool:
        rev, body = await self._read(name)
        wanted = _encode(value).decode()
        if body == wanted:
            return False
        await self._write(name, rev, wanted)
        return True

    async def drop(self, name: str) -> bool:
        rev, body = await self._read(name)
        if not body:
            return False
        await self._write(name, rev, "")
        return True

    async def page(self, *, limit: int, after: str = "") -> list[_T]:
        found: list[_T] = []
        while len(found) < limit:
            wanted = limit - len(found)
            rows = await self._session.execute(self._table.page, after, wanted)
            found += [self._decode(body) for _, gone, body in rows if not gone]
            if len(rows) < wanted:
                break
            after = rows[-1][0]  # it grows: the loop ends with the table
        return found

    async def _read(self, name: str) -> tuple[int, str]:
        """Revision and body; (0, '') if it never was, an empty body if it is gone."""
        rows = await self._session.execute(self._table.get, name)
        if not rows:
            return 0, ""
        rev, gone, body = rows[0]
        return rev, "" if gone else body

    async def _write(self, name: str, above: int, body: str) -> None:
        rev = _next(above)
        await self._session.execute(self._table.put, name, rev, not body, body, rev)


class CassandraGroups:
    """``GroupStore``: each group by its id, and in its project's list."""

    def __init__(self, session: Session, made_in: MadeIn) -> None:
        self._session = session
        self._made_in = made_in

    async def get(self, group_id: str) -> ServerGroup | None:
        """As ``GroupStore`` says; raises StoreUnavailable if only a cut-off cell could know it.

        A group that was made a moment ago in another region is not here yet, but its id says which
        cell has it for certain; groups that were dropped stay known as such.
        """
        rev, group = await self._read(self._session, group_id)
        if rev == 0 and (there := await self._made_in(group_id)) is not None:
            _, group = await self._read(there, group_id)
        return group

    async def put(self, group: ServerGroup) -> None:
        rev, _ = await self._read(self._session, group.id)
        await self._write(group, _next(rev), gone=False)

    async def drop(self, group_id: str) -> bool:
        rev, group = await self._read(self._session, group_id)
        if group is None:
            return False
        await self._write(group, _next(rev), gone=True)
        return True

    async def page(self, project: str, *, limit: int, after: str = "") -> list[ServerGroup]:
        found: list[ServerGroup] = []
        while len(found) < limit:
            wanted = limit - len(found)
            rows = await self._session.execute(
                statements.PAGE_SERVER_GROUPS, project, after, wanted
            )
            found += [_decode_group(body) for _, gone, body in rows if not gone]
            if len(rows) < wanted:
                break
            after = rows[-1][0]  # it grows: the loop ends with the partition
        return found

    async def _read(self, session: Session, group_id: str) -> tuple[int, ServerGroup | None]:
        """Revision and group; (0, None) if it never was, None if it is gone."""
        rows = await session.execute(statements.GET_SERVER_GROUP, group_id)
        if not rows:
            return 0, None
        rev, gone, body = rows[0]
        return rev, None if gone else _decode_group(body)

    async def _write(self, group: ServerGroup, rev: int, *, gone: bool) -> None:
        body = _encode(group).decode()
        await asyncio.gather(
            self._session.execute(statements.PUT_SERVER_GROUP, group.id, rev, gone, body, rev),
            self._session.execute(
                statements.PUT_SERVER_GROUP_BY_PROJECT,
                group.project,
                group.id,
                rev,
                gone,
                body,
                rev,
            ),
        )


class CassandraCatalog:
    """``Catalog`` through the home cell's datacenter."""

    def __init__(self, session: Session, made_in: MadeIn) -> None:
        self.flavors = CassandraNamed(session, statements.FLAVORS, Flavor)
        self.images = CassandraNamed(session, statements.IMAGES, Image)
        self.groups = CassandraGroups(session, made_in)


class CassandraRequestIndex:
    """``RequestIndex`` on one cell's keyspace: a part of ``CassandraCellStore``."""

    _session: Session

    async def note_request(self, request: Request) -> None:
        await self._session.execute(
            statements.NOTE_REQUEST, request.spec.project, request.created_ms, request.id
        )

    async def page_requests(
        self, project: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[tuple[int, str]]:
        created_ms, request_id = before or (_LAST_MS, "")
        rows = await self._session.execute(
            statements.PAGE_REQUESTS, project, created_ms, request_id, limit
        )
        return [(created, name) for created, name in rows]


#: Later than every time: the list begins before it.
_LAST_MS = 2**62


def _next(rev: int) -> int:
    """A revision for what replaces ``rev``."""
    return max(time.time_ns() // 1000, rev + 1)
