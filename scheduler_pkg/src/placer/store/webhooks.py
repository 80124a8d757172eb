"""The turns of webhooks on Cassandra: a part of ``CassandraCellStore``; and what could not be told."""

from __future__ import annotations

from typing import Any, Final, Protocol

import msgspec

from placer.model.webhook import DeadLetter, Turn
from placer.settings import Keep
from placer.store import list_statements as sql
from placer.store.statements import Statement

_encode: Final = msgspec.json.Encoder().encode
_decode_turn: Final = msgspec.json.Decoder(Turn).decode
_decode_letter: Final = msgspec.json.Decoder(DeadLetter).decode


class TurnStore(Protocol):
    """Turns of the webhooks whose home is one cell; errors as in ``store/base.py``."""

    async def read_turn(self, webhook: str) -> Turn | None:
        """As the last decided LWT left it (LOCAL_SERIAL)."""

    async def add_turn(self, webhook: str, turn: Turn) -> bool:
        """Write the first by LWT if there is none."""

    async def change_turn(self, webhook: str, turn: Turn, *, if_rev: int) -> bool:
        """Replace it by LWT if its revision is ``if_rev``."""


class DeadLetterStore(Protocol):
    """Events that were given up, by webhook."""

    async def add_dead_letter(self, webhook: str, letter: DeadLetter) -> None:
        """Plain write; safe to repeat."""

    async def dead_letters(
        self, webhook: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[DeadLetter]:
        """Up to ``limit``, the newest first, after ``before`` (time, event) in that order."""


class _Session(Protocol):
    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]: ...


class CassandraTurns:
    """``TurnStore`` on one cell's keyspace."""

    _session: _Session

    async def read_turn(self, webhook: str) -> Turn | None:
        rows = await self._session.execute(sql.READ_TURN, webhook)
        return _decode_turn(rows[0][0]) if rows and rows[0][0] else None

    async def add_turn(self, webhook: str, turn: Turn) -> bool:
        body = _encode(turn).decode()
        rows = await self._session.execute(sql.ADD_TURN, webhook, turn.rev, body)
        return bool(rows[0][0])

    async def change_turn(self, webhook: str, turn: Turn, *, if_rev: int) -> bool:
        body = _encode(turn).decode()
        rows = await self._session.execute(sql.CHANGE_TURN, turn.rev, body, webhook, if_rev)
        return bool(rows[0][0])


class CassandraDeadLetters:
    """``DeadLetterStore`` on the global keyspace."""

    _session: _Session
    _keep: Keep

    async def add_dead_letter(self, webhook: str, letter: DeadLetter) -> None:
        body = _encode(letter).decode()
        event = letter.event
        await self._session.execute(
            sql.ADD_DEAD_LETTER, webhook, event.at_ms, event.id, body, self._keep.events_s
        )

    async def dead_letters(
        self, webhook: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[DeadLetter]:
        after = before or (2**62, "")
        rows = await self._session.execute(sql.DEAD_LETTERS, webhook, *after, limit)
        return [_decode_letter(body) for (body,) in rows]
