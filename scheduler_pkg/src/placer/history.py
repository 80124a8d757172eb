"""Histories: what every process did, as JSON lines, one file a process. ``placer check`` reads them.

A scheduler records its writes: one of a host row is one event with what it put and dropped, so that
the row can be replayed revision by revision without a copy of it. Their times are wall-clock
microseconds around the write. A client records its operations: what it asked and what it was told.
Its times never go back, whatever is done to the clock: they can be compared with each other exactly.

Every line has a number ``n`` that counts from 1 in its file, and a file that was closed ends with how
many there are: a line that was taken out, doubled or moved shows.
"""

from __future__ import annotations

import enum
import itertools
import threading
import time
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from placer import tracing
from placer.model.commit_record import Decision, RowKey
from placer.model.records import HostStatus, Record


class WriteOutcome(enum.StrEnum):
    APPLIED = "applied"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Write(Struct, frozen=True, tag="write", omit_defaults=True):
    """One LWT on a host row: IF rev = ``rev`` (0: the row is made) SET rev = ``next``.

    ``committed`` are the write sets whose tags it settles because they were committed.
    """

    process: str
    cell: str
    host: str
    rev: int
    next: int
    outcome: WriteOutcome
    started_us: int
    ended_us: int
    put: tuple[Record, ...] = ()
    drop: tuple[str, ...] = ()
    status: HostStatus = HostStatus.UP
    committed: tuple[str, ...] = ()


class Acknowledged(Struct, frozen=True, tag="acknowledged", omit_defaults=True):
    """A claim that its requester was told of; ``of``: how many its request may have at once."""

    process: str
    cell: str
    host: str
    claim: str
    request: str
    at_us: int
    of: int = 1


class Ended(Struct, frozen=True, tag="ended"):
    """Why a claim left the row: ``released``, ``expired``, or ``aborted`` with its write set."""

    process: str
    cell: str
    host: str
    claim: str
    how: str
    at_us: int


class Decided(Struct, frozen=True, tag="decided", omit_defaults=True):
    """One LWT on a commit record: made (``preparing``, with its rows), decided, or deleted.

    Recorded as unknown before it is sent; a later line with the answer replaces that.
    """

    process: str
    writeset: str
    state: Decision
    outcome: WriteOutcome
    at_us: int
    rows: tuple[RowKey, ...] = ()
    deleted: bool = False


class OperationKind(enum.StrEnum):
    """What a client asked for: a claim (a request posted), a look at a request, its release."""

    CLAIM = "claim"
    READ = "read"
    RELEASE = "release"


class Answer(enum.StrEnum):
    """What it was told. ``refused``: nothing was done; ``unknown``: connection lost, or time over."""

    OK = "ok"
    REFUSED = "refused"
    UNKNOWN = "unknown"


class Operation(Struct, frozen=True, tag="operation", omit_defaults=True):
    """One call of a client to the API of ``cell``, from its first byte to its answer.

    Recorded as unknown before it is sent; a later line of the same process and ``number`` replaces
    that. ``trace`` is the id that it was sent under, which its claims carry. ``rev`` and ``stage``
    are of the request as the answer showed it, ``claims`` those that it named, ``of`` how many
    instances were asked for and ``resources`` what of for each. ``code``: why there was no answer,
    or why it was no.
    """

    process: str
    number: int
    kind: OperationKind
    cell: str
    outcome: Answer
    started_us: int
    ended_us: int
    region: str = ""
    trace: str = ""
    request: str = ""
    rev: int = 0
    stage: str = ""
    code: str = ""
    claims: tuple[str, ...] = ()
    resources: dict[str, int] = {}
    of: int = 1


class Closed(Struct, frozen=True, tag="closed"):
    """The last line of a history that its process closed: ``events`` are before it."""

    process: str
    events: int


Event = Write | Acknowledged | Ended | Decided | Operation
Line = Event | Closed


def now_us() -> int:
    return time.time_ns() // 1000


#: Wall-clock time less that of the clock that never goes back, when this process began.
_STEADY_OFFSET_US: Final = (time.time_ns() - time.monotonic_ns()) // 1000


def steady_us() -> int:
    """Microseconds since 1970 that only grow while this process lives: near ``now_us``, not equal."""
    return _STEADY_OFFSET_US + time.monotonic_ns() // 1000


class HistoryWriter:
    """Appends events to ``<dir>/<process>-<start>.jsonl``; does nothing without a directory.

    Each event is one ``write`` of one line on an unbuffered file, so a killed process leaves whole
    lines, but for at most the last, which ``placer check`` reports. Threads may share it.
    """

    def __init__(self, directory: Path | None, process: str) -> None:
        self.process = process
        self._encoder = msgspec.json.Encoder()
        self._file: BinaryIO | None = None
        self._lines = 0
        self._lock = threading.Lock()
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = (directory / f"{process}-{now_us()}.jsonl").open("ab", buffering=0)

    def add(self, event: Event) -> None:
        if self._file is not None:
            self._append(self._file, event)

    def close(self) -> None:
        if self._file is not None:
            self._append(self._file, Closed(process=self.process, events=self._lines))
            self._file.close()
            self._file = None

    def _append(self, file: BinaryIO, line: Line) -> None:
        with self._lock:
            self._lines += 1
            # An object with a field at least: the number goes before it.
            file.write(b'{"n":%d,%s\n' % (self._lines, self._encoder.encode(line)[1:]))


class ClientHistory:
    """The operations of one client process. Each is two lines: sent, and answered."""

    def __init__(self, directory: Path | None, process: str) -> None:
        self._writer = HistoryWriter(directory, process)
        self._numbers = itertools.count(1)

    def sent(
        self,
        kind: OperationKind,
        cell: str,
        *,
        region: str = "",
        request: str = "",
        resources: dict[str, int] | None = None,
        of: int = 1,
    ) -> Operation:
        """An operation that is about to be sent, under a trace id of its own."""
        now = steady_us()
        operation = Operation(
            process=self._writer.process,
            number=next(self._numbers),
            kind=kind,
            cell=cell,
            outcome=Answer.UNKNOWN,
            started_us=now,
            ended_us=now,
            region=region,
            trace=tracing.new(),
            request=request,
            resources=resources or {},
            of=of,
        )
        self._writer.add(operation)
        return operation

    def answered(self, operation: Operation, outcome: Answer, **told: object) -> None:
        """Its end; ``told`` are further fields of ``Operation``."""
        done = msgspec.structs.replace(operation, outcome=outcome, ended_us=steady_us(), **told)
        self._writer.add(done)

    def close(self) -> None:
        self._writer.close()
