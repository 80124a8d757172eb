"""When the session sends a statement again: only what may be sent twice, and not for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from cassandra import AuthenticationFailed, InvalidRequest, Unavailable, WriteTimeout, WriteType
from cassandra.cluster import NoHostAvailable
from cassandra.connection import ConnectionException
from cassandra.protocol import ErrorMessage, error_classes
from cassandra.query import BatchStatement

from placer.errors import (
    Outcome,
    Overloaded,
    StoreError,
    StoreOverloaded,
    StoreUnavailable,
    StoreUnknown,
)
from placer.settings import Cell
from placer.store import statements
from placer.store.cassandra import AskNext, CassandraSession, translate
from placer.store.lone_node import LoneNodeMessage
from placer.store.statements import Statement

CELL = Cell(name="c1", region="r1", datacenter="c1", contact_points=("127.0.0.1",))


class Scripted(CassandraSession):
    """A session whose answers are given; ``sent`` counts how often it asked."""

    def __init__(self, *answers: list[tuple[Any, ...]] | Exception) -> None:
        super().__init__(CELL, None, None, 5.0, 16)
        self._answers = list(answers)
        self.sent = 0

    def _start(self, statement: Statement, params: Any) -> Any:
        self.sent += 1

    async def _await(self, response: Any, statement: Statement, until: float) -> Any:
        self._in_flight.give()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer, None


LOST = StoreUnknown("lost")


def refusal(code: int) -> ErrorMessage:
    """An error message of the server, as the driver reads it."""
    kind = error_classes.get(code, ErrorMessage)
    return kind(code=code, message="x", info=None)


LONE = LoneNodeMessage(0x2100, "Unable to perform authorization of permissions: x", None)


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

    session = CassandraSession(CELL, None, Driver(), 0.01, 16)
    session._prepared[statements.UPDATE_HOST.name] = None
    with pytest.raises(StoreUnknown, match=r"c1 did not answer update_host within 0\.01 s"):
        asyncio.run(session.execute(statements.UPDATE_HOST))


class Held:
    """A driver that answers when it is told to, and counts what it was given."""

    def __init__(self) -> None:
        self.given = 0
        self._open: list[Any] = []

    def execute_async(self, *_: Any, timeout: float | None) -> Held:
        self.given += 1
        return self

    def add_callbacks(self, done: Any, failed: Any) -> None:
        self._open.append(done)

    def answer(self, number: int = 1) -> None:
        for done in self._open[:number]:
            done([("row",)])
        del self._open[:number]


def held(timeout_s: float, limit: int) -> tuple[CassandraSession, Held]:
    driver = Held()
    session = CassandraSession(CELL, None, driver, timeout_s, limit)
    session._prepared = {s.name: None for s in (statements.UPDATE_HOST, statements.READ_VIEWS)}
    return session, driver


async def test_the_driver_gets_no_more_than_the_bound() -> None:
    """What is beyond it waits for its turn, and gets it when an answer came."""
    session, driver = held(5.0, 2)
    asked = [asyncio.create_task(session.execute(statements.READ_VIEWS, n)) for n in range(4)]
    await asyncio.sleep(0.01)
    assert driver.given == 2
    driver.answer(2)
    await asyncio.sleep(0.01)
    assert driver.given == 4
    driver.answer(2)
    assert await asyncio.gather(*asked) == [[("row",)]] * 4
    assert session._in_flight.used == 0


async def test_a_turn_is_waited_for_within_the_deadline() -> None:
    """Then the caller hears that nothing was sent, and what to do; once, not three times."""
    session, driver = held(0.05, 1)
    first = asyncio.create_task(session.execute(statements.UPDATE_HOST))
    await asyncio.sleep(0)
    with pytest.raises(
        StoreOverloaded, match=r"1 statements to cell c1 .* update_host was not sent"
    ):
        await session.execute(statements.UPDATE_HOST)
    with pytest.raises(StoreUnknown):
        await first
    assert driver.given == 1


async def test_only_so_many_wait() -> None:
    """As many as may be under way; the next is refused at once."""
    session, driver = held(5.0, 1)
    asked = [asyncio.create_task(session.execute(statements.READ_VIEWS, n)) for n in range(2)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1):
        with pytest.raises(StoreOverloaded, match="1 more wait"):
            await session.execute(statements.READ_VIEWS, 2)
    for _ in asked:
        driver.answer()
        await asyncio.sleep(0.01)
    assert await asyncio.gather(*asked) == [[("row",)]] * 2


async def test_a_statement_that_nobody_waits_for_keeps_its_turn() -> None:
    """It is under way until the driver says otherwise, however impatient its caller was."""
    session, driver = held(0.02, 1)
    with pytest.raises(StoreUnknown):
        await session.execute(statements.UPDATE_HOST)
    with pytest.raises(StoreOverloaded):
        await session.execute(statements.UPDATE_HOST)
    driver.answer()
    await asyncio.sleep(0.01)
    again = asyncio.create_task(session.execute(statements.UPDATE_HOST))
    await asyncio.sleep(0)
    driver.answer()
    assert await again == [("row",)]


async def test_who_gives_up_waiting_takes_no_turn_with_him() -> None:
    """A cancelled caller leaves his place to others."""
    session, driver = held(5.0, 1)
    first = asyncio.create_task(session.execute(statements.READ_VIEWS, 1))
    await asyncio.sleep(0)
    gone = asyncio.create_task(session.execute(statements.READ_VIEWS, 2))
    await asyncio.sleep(0)
    gone.cancel()
    driver.answer()
    await first
    last = asyncio.create_task(session.execute(statements.READ_VIEWS, 3))
    await asyncio.sleep(0.01)
    driver.answer()
    assert await last == [("row",)]


def test_a_statement_that_cannot_be_sent_gives_its_turn_back() -> None:
    """The driver refused it: as often as one likes."""

    class Refuses:
        def execute_async(self, *_: Any, timeout: float | None) -> Any:
            raise ValueError("no such statement")

    session = CassandraSession(CELL, None, Refuses(), 5.0, 1)
    session._prepared[statements.UPDATE_HOST.name] = None
    for _ in range(3):
        with pytest.raises(StoreError, match="no such statement"):
            asyncio.run(session.execute(statements.UPDATE_HOST))
    assert session._in_flight.used == 0


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        pytest.param(refusal(0x0000), Outcome.UNKNOWN, id="server error"),
        pytest.param(refusal(0x1001), Outcome.UNKNOWN, id="overloaded, or shutting down"),
        pytest.param(refusal(0x1002), Outcome.UNKNOWN, id="bootstrapping"),
        pytest.param(refusal(0x1700), Outcome.UNKNOWN, id="CAS write unknown"),
        pytest.param(refusal(0x2000), Outcome.NOT_APPLIED, id="syntax"),
        pytest.param(refusal(0x2200), Outcome.NOT_APPLIED, id="invalid"),
        pytest.param(InvalidRequest("x"), Outcome.NOT_APPLIED, id="invalid, as an exception"),
        pytest.param(WriteTimeout("x", write_type=WriteType.CAS), Outcome.UNKNOWN, id="timeout"),
        pytest.param(Unavailable("x"), Outcome.NOT_APPLIED, id="too few replicas"),
        pytest.param(LONE, Outcome.NOT_APPLIED, id="too few nodes to know who may"),
        pytest.param(NoHostAvailable("x", {"n1": LONE}), Outcome.NOT_APPLIED, id="all too few"),
        pytest.param(NoHostAvailable("x", {}), Outcome.NOT_APPLIED, id="no node asked"),
        pytest.param(
            NoHostAvailable("x", {"n1": refusal(0x1001)}), Outcome.UNKNOWN, id="all refuse"
        ),
        pytest.param(
            NoHostAvailable("x", {"n1": ConnectionException("x")}),
            Outcome.NOT_APPLIED,
            id="all gone",
        ),
    ],
)
def test_what_the_server_may_have_begun_is_unknown(error: Exception, outcome: Outcome) -> None:
    """Only what it refused before it looked at any row is known not to be there."""
    assert translate(error, "update_host", "c1").outcome is outcome


def test_refused_login_is_not_called_a_cut() -> None:
    """Somebody who mistyped the password's file is not sent to look at the network."""
    error = NoHostAvailable("x", {"n1": AuthenticationFailed("Bad credentials")})
    told = translate(error, "connect", "c1")
    assert isinstance(told, StoreUnavailable)
    assert "refuse the login" in str(told)
    assert "store.password_file" in told.remedy


@pytest.mark.parametrize("error", [refusal(0x1001), refusal(0x1002), LONE])
def test_a_node_that_stops_is_passed_over_by_what_may_be_sent_twice(error: ErrorMessage) -> None:
    """Twice at most; a transaction goes nowhere else, and no other error moves anything."""
    policy = AskNext()
    again, once = BatchStatement(), BatchStatement()
    again.is_idempotent = True
    asked = [policy.on_request_error(again, None, error, tried)[0] for tried in range(3)]
    assert asked == [AskNext.RETRY_NEXT_HOST, AskNext.RETRY_NEXT_HOST, AskNext.RETHROW]
    for statement, failed in ((once, error), (again, refusal(0)), (again, ConnectionException(""))):
        assert policy.on_request_error(statement, None, failed, 0)[0] == AskNext.RETHROW


def test_the_bound_is_an_overload_in_which_nothing_was_written() -> None:
    """503 with the code that callers know; and the store's users treat it as what was not sent."""
    error = StoreOverloaded("x")
    assert (error.code, error.status, error.outcome) == (Overloaded.code, 503, Outcome.NOT_APPLIED)
    assert isinstance(error, StoreUnavailable)
