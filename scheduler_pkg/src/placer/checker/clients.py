"""What clients were told, against what the store says.

Three rules, for each operation that a client recorded:
  ok       every claim that the answer named has a life (``claims.py`` judges those);
  refused  the request holds nothing that could become or be an instance;
  unknown  it is one or the other in the end: its claims are found by the trace id that the call was
           sent under, or there are none and none can come.
And two of order. Times are compared exactly between operations of one process, whose clock never
goes back, and between two processes only beyond what their clocks may differ:
  on a host     a claim whose call had ended before another's began is before it in the revisions;
  of a request  a look that began after another had ended sees no earlier revision.
"""

from __future__ import annotations

import functools
import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from placer.checker import stories
from placer.checker.findings import Findings
from placer.checker.replayer import Life
from placer.checker.rows import Rows
from placer.checker.verdict import Clients, Kind
from placer.history import Answer, Operation, OperationKind, Write
from placer.model import ids
from placer.model.records import ClaimState
from placer.model.request import Stage

#: Stages at which a request has nothing and will have nothing.
_NOTHING: Final = frozenset({Stage.REFUSED, Stage.FAILED, Stage.CANCELLED})

_INSTANCE: Final = frozenset({ClaimState.BUILDING, ClaimState.BUILT})


def answers(operations: Iterable[Operation]) -> tuple[list[Operation], list[str]]:
    """Each operation once, with its answer if there is one; and what contradicts itself, in words."""
    last: dict[tuple[str, int], Operation] = {}
    damage: list[str] = []
    for operation in operations:
        key = operation.process, operation.number
        before = last.get(key)
        if before is None or before.outcome is Answer.UNKNOWN:
            last[key] = operation
        elif operation.outcome is not Answer.UNKNOWN:
            damage.append(
                f"Operation {operation.number} of client {operation.process} has two answers: "
                f"{before.outcome} and {operation.outcome}."
            )
    return list(last.values()), damage


class Told:
    """Joins operations with the lives of claims."""

    def __init__(
        self,
        found: Findings,
        rows: Rows,
        writes: Mapping[str, Sequence[Write]],
        rows_read_us: int,
        clock_error_us: int,
    ) -> None:
        self._found = found
        self._rows = rows
        self._writes = writes
        self._rows_read_us = rows_read_us
        self._clock_error_us = clock_error_us
        self._by_request: dict[str, list[str]] = defaultdict(list)
        self._by_trace: dict[str, list[str]] = defaultdict(list)
        self.counts = Clients()

    def judge(self, operations: Sequence[Operation], open_traces: frozenset[str]) -> None:
        """All operations. ``open_traces``: of claims in writes that may yet apply."""
        if not operations:
            return
        for claim, life in self._rows.lives.items():
            if not life.share:
                self._by_request[life.request].append(claim)
                self._by_trace[life.trace].append(claim)
        kinds = Counter(operation.kind.value for operation in operations)
        self.counts.operations = len(operations)
        self.counts.by_kind = dict(sorted(kinds.items()))
        refused: set[str] = set()
        for operation in operations:
            if operation.outcome is Answer.OK:
                self.counts.ok += 1
            elif operation.outcome is Answer.REFUSED:
                self.counts.refused += 1
            else:
                self.counts.unknown += 1
                self._unknown(operation, open_traces)
            if _holds_nothing(operation):
                self._refused(operation, refused)
        self._hosts_in_order(operations)
        self._requests_in_order(operations)

    def _claims(self, operation: Operation) -> list[str]:
        """Claims of the operation's request; by its trace where it never learned which that is."""
        if operation.request:
            return self._by_request.get(operation.request, [])
        return self._by_trace.get(operation.trace, []) if operation.trace else []

    def _refused(self, operation: Operation, seen: set[str]) -> None:
        for claim in self._claims(operation):
            life = self._rows.lives[claim]
            if life.dropped_rev or life.aborted or claim in seen:
                continue
            seen.add(claim)
            if life.state not in _INSTANCE:
                self.counts.leaving += 1
                continue
            told = functools.partial(self._held, operation, claim, life.host)
            self._found.violated(
                Kind.HELD_AFTER_REFUSAL, ids.cell_of(claim), life.host, life.made_rev, told
            )

    def _held(self, operation: Operation, claim: str, host: str) -> str:
        """With the first and the last write of the claim."""
        shown = stories.touches(self._writes.get(host, ()), claim)
        steps = [stories.words(touch) for touch in (*shown[:1], *shown[1:][-1:])]
        return stories.story(
            f"A request that holds nothing, as its client was told, has claim {claim} on "
            f"{self._rows.names[host]}",
            [*steps, stories.told(operation)],
        )

    def _unknown(self, operation: Operation, open_traces: frozenset[str]) -> None:
        """What was asked happened, or never will; anything else is told."""
        if operation.kind is not OperationKind.CLAIM:
            return  # a look changes nothing, and a release is right either way
        claims = self._claims(operation)
        waiting = [claim for claim in claims if self._nobodys(self._rows.lives[claim])]
        if waiting:
            life = self._rows.lives[waiting[0]]
            why = "its write set is open" if life.open else "its lease is over"
            self._unresolved(
                operation,
                life.host,
                f"claim {waiting[0]} is on {self._rows.names[life.host]}, {life.state}, and {why}",
            )
        elif claims:
            self.counts.happened += 1
        elif operation.trace in open_traces:
            self._unresolved(operation, "", "a write of it has no answer and may yet apply")
        elif self._rows.holed:
            self.counts.undecided += 1
        else:
            self.counts.nothing += 1

    def _unresolved(self, operation: Operation, host: str, why: str) -> None:
        self.counts.unresolved += 1
        headline = "An operation of unknown outcome is not resolved"
        self._found.unproved(
            operation.cell, host, 0, stories.story(headline, [stories.told(operation), why])
        )

    def _nobodys(self, life: Life) -> bool:
        """A claim that nobody decided on: not adopted, and not taken away when it should have been."""
        if life.dropped_rev:
            return False
        lapsed = 0 < life.lease_until_ms * 1000 + self._clock_error_us < self._rows_read_us
        return life.open or (life.state is ClaimState.CLAIMED and lapsed)

    # -- order

    def _hosts_in_order(self, operations: Sequence[Operation]) -> None:
        """Claims of each host by revision. Only a claim that was made for this very call counts: an
        answer to a repeated call names an older one."""
        made: dict[str, list[tuple[int, Operation]]] = defaultdict(list)
        for operation in operations:
            if operation.kind is not OperationKind.CLAIM or operation.outcome is not Answer.OK:
                continue
            for claim in operation.claims:
                life = self._rows.lives.get(claim)
                if life and life.made_rev and life.trace and life.trace == operation.trace:
                    made[life.host].append((life.made_rev, operation))
        for host, claims in made.items():
            claims.sort(key=lambda pair: pair[0])
            self._in_order(host, claims)

    def _in_order(self, host: str, claims: list[tuple[int, Operation]]) -> None:
        """One host: going up the revisions, no call had ended before an earlier one's began."""
        latest: tuple[int, Operation] | None = None
        own: dict[str, tuple[int, Operation]] = {}
        for rev, operation in claims:
            before = own.get(operation.process)
            if before is None or operation.ended_us >= before[1].started_us:
                before = latest
                error_us = self._clock_error_us
            else:
                error_us = 0
            if before is not None and operation.ended_us + error_us < before[1].started_us:
                self._late(host, (rev, operation), before)
            if latest is None or operation.started_us > latest[1].started_us:
                latest = rev, operation
            mine = own.get(operation.process)
            if mine is None or operation.started_us > mine[1].started_us:
                own[operation.process] = rev, operation

    def _late(self, host: str, late: tuple[int, Operation], before: tuple[int, Operation]) -> None:
        name = self._rows.names[host]
        steps = [
            f"operation {late[1].number} of client {late[1].process}, which made revision "
            f"{late[0]}, had ended at {late[1].ended_us} us",
            f"operation {before[1].number} of client {before[1].process}, which made revision "
            f"{before[0]}, began at {before[1].started_us} us",
        ]
        self._found.violated(
            Kind.REAL_TIME,
            late[1].cell,
            host,
            late[0],
            stories.story(f"On {name}, revisions are not in the order of their clients", steps),
        )

    def _requests_in_order(self, operations: Sequence[Operation]) -> None:
        """What one process saw of one request never goes back."""
        seen: dict[tuple[str, str], list[Operation]] = defaultdict(list)
        for operation in operations:
            if operation.rev and operation.request and operation.outcome is Answer.OK:
                seen[operation.process, operation.request].append(operation)
        for looks in seen.values():
            if len(looks) > 1:
                self._never_back(looks)

    def _never_back(self, looks: list[Operation]) -> None:
        looks.sort(key=lambda operation: operation.started_us)
        #: Looks that have not ended yet, the first to end on top; and the best that has.
        under_way: list[tuple[int, int, Operation]] = []
        best: Operation | None = None
        for number, look in enumerate(looks):
            while under_way and under_way[0][0] < look.started_us:
                ended = heapq.heappop(under_way)[2]
                best = ended if best is None or ended.rev > best.rev else best
            if best is not None and look.rev < best.rev:
                steps = [stories.told(best), stories.told(look)]
                self._found.violated(
                    Kind.WENT_BACK,
                    look.cell,
                    "",
                    look.rev,
                    stories.story(f"Request {look.request} went back to an earlier state", steps),
                )
            heapq.heappush(under_way, (look.ended_us, number, look))


def _holds_nothing(operation: Operation) -> bool:
    if operation.stage:
        return operation.stage in _NOTHING
    return operation.outcome is Answer.REFUSED and operation.kind is OperationKind.CLAIM
