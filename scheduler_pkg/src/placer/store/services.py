"""The name service's table on Cassandra, in the keyspace that every datacenter has a copy of."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from placer.model.service import Service
from placer.store import list_statements as sql
from placer.store.statements import Statement

#: Rows that are read: more processes than any deployment has.
SERVICES_MAX: Final = 4096
#: How long the row of a process stays that writes no more, in seconds.
_KEEP_S: Final = 7 * 86_400

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Service).decode


class ServiceStore(Protocol):
    """Processes by name; errors as in ``store/base.py``."""

    async def put(self, service: Service) -> None:
        """Plain write, ordered by ``heard_ms``; safe to repeat. To be called for the own process only."""

    async def all(self) -> list[Service]:
        """Every process in the order of the names, in one query at LOCAL_QUORUM."""


class _Session(Protocol):
    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...


class CassandraServices:
    """``ServiceStore`` through the home cell's datacenter."""

    def __init__(self, session: _Session) -> None:
        self._session = session

    async def put(self, service: Service) -> None:
        body = _encode(service).decode()
        at_us = service.heard_ms * 1000
        await self._session.execute(sql.PUT_SERVICE, service.name, body, _KEEP_S, at_us)

    async def all(self) -> list[Service]:
        rows = await self._session.execute(sql.LIST_SERVICES, SERVICES_MAX)
        return [_decode(body) for (body,) in rows]
