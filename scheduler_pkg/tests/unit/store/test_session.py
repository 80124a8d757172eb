"""When the session sends a statement again: only what may be sent twice, and not for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from placer.errors import StoreUnavailable, StoreUnknown
from placer.settings import Cell
from placer.store import statements
from placer.store.cassandra import CassandraSession
from placer.store.statements import Statement

CELL = Cell(name="c1", region="r1", datacenter="c1", contact_points=("127.0.0.1",))


class Scripted(CassandraSession):
    """A session whose answers are given; ``sent`` counts how often it asked."""

    def __init__(self, *answers: list[tuple[Any, ...]] | Exception) -> None:
        super().__init__(CELL, None, None, 5.0)
        self._answers = list(answers)
        self.sent = 0

    def _start(self, statement: Statement, params: Any) -> Any:
        self.sent += 1

    async def _await(self, response: Any, statement: Statement) -> Any:
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, None


LOST = StoreUnknown("lost")


def test_lost_answer_to_a_plain_write_is_asked_for_again() -> None:
    """A write with its own timestamp may be sent twice."""
    session = Scripted(LOST, LOST, [("row",)])
    assert asyncio.run(session.execute(statements.WRITE_VIEW)) == [("row",)]
    assert session.sent == 3


def test_tries_are_bounded() -> None:
    """After the last try the caller hears that the outcome is unknown."""
    session = Scripted(LOST, LOST, LOST, [])
    with pytest.raises(StoreUnknown):
        asyncio.run(session.execute(statements.WRITE_VIEW))
    assert session.sent == 3


@pytest.mark.parametrize("statement", [statements.UPDATE_HOST, statements.INSERT_HOST])
def test_lightweight_transaction_is_never_sent_twice(statement: Statement) -> None:
    """Its unknown outcome is settled by the claim protocol, not by another try."""
    session = Scripted(LOST, [(True,)])
    with pytest.raises(StoreUnknown):
        asyncio.run(session.execute(statement))
    assert session.sent == 1


def test_clear_refusal_is_not_repeated() -> None:
    """What is known not to be applied is the caller's to decide."""
    session = Scripted(StoreUnavailable("too few replicas"), [])
    with pytest.raises(StoreUnavailable):
        asyncio.run(session.execute(statements.READ_VIEWS, 0))
    assert session.sent == 1


def test_answer_that_never_comes_is_waited_for_within_the_timeout() -> None:
    """The wait ends by the session's own deadline: the driver is given none."""

    class Silent:
        """A driver's future whose callbacks are never called."""

        def add_callbacks(self, *_: Any) -> None: ...

    class Driver:
        def execute_async(self, *_: Any, timeout: float | None) -> Silent:
            assert timeout is None
            return Silent()

    session = CassandraSession(CELL, None, Driver(), 0.01)
    session._prepared[statements.UPDATE_HOST.name] = None
    with pytest.raises(StoreUnknown, match=r"c1 did not answer update_host within 0\.01 s"):
        asyncio.run(session.execute(statements.UPDATE_HOST))
