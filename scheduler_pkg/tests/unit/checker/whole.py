"""A good history of everything at once, to be broken: two hosts, a claim, a manifest, three clients.

  h1  101 a claimed, 102 building, 103 built; 104 m1 tagged, 105 settled, 106 building, 107 built;
      108 b claimed, 109 b gone (given back)
  h2  101 m2 tagged, 102 settled, 103 building, 104 built
  client-1  1 asks for a, 3 looks at its request; 4 asks for b and never hears; 5 is refused
  client-2  2 asks for the manifest (m1 and m2)
Revisions of h1 and h2 are written at the times that ``story.wrote`` gives them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from placer.checker.core import FinalRow
from placer.checker.verdict import Verdict
from placer.history import (
    Acknowledged,
    Answer,
    Decided,
    Event,
    Operation,
    OperationKind,
    Write,
    WriteOutcome,
)
from placer.model.commit_record import Decision, RowKey
from placer.model.records import ClaimState, HostRow, Record

from .story import CELL, HOST, asked, claim, final, judge, made, told, wrote

T = "nyc1.0.t"
OTHER = "h2"
BUILDING, BUILT = ClaimState.BUILDING, ClaimState.BUILT


class History(Struct):
    """Events and final rows by host."""

    events: list[Event]
    rows: dict[str, FinalRow]

    def verdict(self, **more: Any) -> Verdict:
        return judge(self.events, *self.rows.values(), **more)

    def change(self, which: Callable[[Event], bool], **fields: Any) -> None:
        """Change events; some must be there to be changed."""
        chosen = [number for number, event in enumerate(self.events) if which(event)]
        assert chosen, "the history has no such event"
        for number in chosen:
            self.events[number] = msgspec.structs.replace(self.events[number], **fields)

    def leave_out(self, which: Callable[[Event], bool]) -> None:
        kept = [event for event in self.events if not which(event)]
        assert len(kept) < len(self.events), "the history has no such event"
        self.events = kept

    def row(self, host: str, rev: int, *claims: Record) -> None:
        """Another final row; without claims those that it has."""
        before = self.rows[host].row
        records = (before.records[0], *(claims or before.claims))
        row = msgspec.structs.replace(before, rev=rev, records=records)
        self.rows[host] = FinalRow(CELL, row)


def on(host: str, *revs: int) -> Callable[[Event], bool]:
    """The writes that made these revisions of a host."""
    return lambda event: isinstance(event, Write) and event.host == host and event.next in revs


def of_client(number: int) -> Callable[[Event], bool]:
    return lambda event: isinstance(event, Operation) and event.number == number


def of_claim(name: str) -> Callable[[Event], bool]:
    """The acknowledgement of a claim."""
    return lambda event: isinstance(event, Acknowledged) and event.claim == name


def record(name: str, state: ClaimState = ClaimState.CLAIMED, **more: Any) -> Record:
    """A claim of the story: a takes 2 cores, the others 1; m1 and m2 are of one request."""
    own = claim(name, 2 if name == "a" else 1, state)
    request = "for-m" if name.startswith("m") else own.request
    trace = {"a": "trace-1", "m1": "trace-2", "m2": "trace-2", "b": "trace-4"}[name]
    return msgspec.structs.replace(own, **{"request": request, "trace": trace} | more)


def there(rev: int, *put: Record, drop: tuple[str, ...] = (), **more: Any) -> Write:
    """A write of the other host, by the other scheduler."""
    written = wrote(rev, *put, drop=drop, process="scheduler-2", **more)
    return msgspec.structs.replace(written, host=OTHER)


def tagged(name: str) -> Record:
    return record(name, tag=f"+{T}")


def there_final(rev: int, *claims: Record) -> FinalRow:
    row: HostRow = msgspec.structs.replace(final(rev, *claims).row, host=OTHER, name="host-2")
    return FinalRow(CELL, row)


def acknowledged(name: str, **more: Any) -> Acknowledged:
    return msgspec.structs.replace(told(name), **more)


def decided(state: Decision, at_us: int, rows: tuple[RowKey, ...] = ()) -> Decided:
    return Decided(
        process="scheduler-1",
        writeset=T,
        state=state,
        outcome=WriteOutcome.APPLIED,
        at_us=at_us,
        rows=rows,
    )


def good() -> History:
    """The story above."""
    manifest: dict[str, Any] = {"request": "for-m", "of": 2}
    events: list[Event] = [
        made(),
        msgspec.structs.replace(made(), host=OTHER),
        wrote(100, record("a")),
        wrote(101, record("a", BUILDING)),
        wrote(102, record("a", BUILT)),
        decided(Decision.PREPARING, 1035, rows=(RowKey(CELL, HOST), RowKey(CELL, OTHER))),
        wrote(103, tagged("m1")),
        there(100, tagged("m2")),
        decided(Decision.COMMITTED, 1046),
        wrote(104, record("m1"), committed=(T,)),
        there(101, record("m2"), committed=(T,)),
        wrote(105, record("m1", BUILDING)),
        wrote(106, record("m1", BUILT)),
        there(102, record("m2", BUILDING)),
        there(103, record("m2", BUILT)),
        wrote(107, record("b")),
        wrote(108, drop=("b",)),
        acknowledged("a"),
        acknowledged("m1", **manifest),
        acknowledged("m2", **manifest, host=OTHER),
        asked(1, request="for-a", claims=("a",), rev=5, started_us=1008, ended_us=1016),
        asked(
            2,
            process="client-2",
            claims=("m1", "m2"),
            started_us=1020,
            ended_us=1060,
            **manifest,
        ),
        asked(3, kind=OperationKind.READ, request="for-a", rev=6, stage="built"),
        asked(4, Answer.UNKNOWN, started_us=1075, ended_us=1075),
        asked(5, Answer.REFUSED, code="no_valid_host"),
    ]
    rows = {
        HOST: final(109, record("a", BUILT), record("m1", BUILT)),
        OTHER: there_final(104, record("m2", BUILT)),
    }
    return History(events, rows)
