"""Histories: what every writer did, as JSON lines, one file a process. ``placer check`` reads them.

A write of a host row is one event with what it put and dropped, so that the row can be replayed
revision by revision without a copy of it. Times are wall-clock microseconds around the operation.
"""

from __future__ import annotations

import enum
import time
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

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


Event = Write | Acknowledged | Ended | Decided


def now_us() -> int:
    return time.time_ns() // 1000


class HistoryWriter:
    """Appends events to ``<dir>/<process>-<start>.jsonl``; does nothing without a directory.

    Each event is one ``write`` of one line on an unbuffered file, so a killed process leaves whole
    lines, but for at most the last, which ``placer check`` reports.
    """

    def __init__(self, directory: Path | None, process: str) -> None:
        self.process = process
        self._encoder = msgspec.json.Encoder()
        self._file: BinaryIO | None = None
        if directory is not None:
            directory.mkdir(parents=True, exist_ok=True)
            self._file = (directory / f"{process}-{now_us()}.jsonl").open("ab", buffering=0)

    def add(self, event: Event) -> None:
        if self._file is not None:
            self._file.write(self._encoder.encode(event) + b"\n")

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
