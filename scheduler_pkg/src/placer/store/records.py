"""The commit records on Cassandra (``RecordStore``)."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from placer.model import ids
from placer.model.commit_record import CommitRecord, Decision, RowKey
from placer.store import statements
from placer.store.statements import Statement

_encode: Final = msgspec.json.Encoder().encode
_decode_rows: Final = msgspec.json.Decoder(tuple[RowKey, ...]).decode


class _Session(Protocol):
    """What is needed of a cell's session."""

    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...


def applied(rows: list[tuple[Any, ...]]) -> bool:
    """The ``[applied]`` column, which is the first of a conditional write's answer."""
    return bool(rows[0][0])


class CassandraRecords:
    """``RecordStore`` on one cell's keyspace."""

    _session: _Session

    async def note_writeset(self, writeset: str) -> None:
        slot = ids.writeset_slot(writeset)
        await self._session.execute(statements.NOTE_WRITESET, slot, writeset)

    async def add_record(self, record: CommitRecord) -> bool:
        rows = _encode(record.rows).decode()
        return applied(
            await self._session.execute(
                statements.ADD_RECORD, record.id, record.state.value, rows, record.created_ms
            )
        )

    async def read_record(self, writeset: str) -> CommitRecord | None:
        found = await self._session.execute(statements.READ_RECORD, writeset)
        if not found:
            return None
        state, rows, created_ms = found[0]
        return CommitRecord(writeset, Decision(state), _decode_rows(rows), created_ms)

    async def decide_record(self, writeset: str, decision: Decision) -> bool:
        return applied(
            await self._session.execute(statements.DECIDE_RECORD, decision.value, writeset)
        )

    async def delete_record(self, writeset: str, *, if_state: Decision) -> bool:
        return applied(
            await self._session.execute(statements.DELETE_RECORD, writeset, if_state.value)
        )

    async def noted_writesets(self, slot: int) -> list[str]:
        return [name for (name,) in await self._session.execute(statements.NOTED_WRITESETS, slot)]

    async def forget_writeset(self, writeset: str) -> None:
        slot = ids.writeset_slot(writeset)
        await self._session.execute(statements.FORGET_WRITESET, slot, writeset)
