"""History files: JSON lines, one file a process and start, found below the directories given.

What is wrong with a file is told and the rest of it is read all the same: a violation that it shows
is found, but a damaged history never passes as clean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from msgspec import Struct

from placer.checker.verdict import Files
from placer.errors import InvalidInput
from placer.history import Answer, Closed, Event, Line, Operation, Write, WriteOutcome
from placer.model.service import Service, ServiceKind

SUFFIX: Final = "*.jsonl"

#: Bytes that are decoded at once: what is held beside the events themselves.
CHUNK_BYTES: Final = 8 << 20

#: Stories of damage kept for one file; the first ones say what happened to it.
DAMAGES_MAX: Final = 5

#: How much earlier than its row in the name service a process may have opened its history: it does
#: so first of all, and tells the name service once it has reached the store.
OPENED_BEFORE_MS: Final = 600_000


class Number(Struct):
    """A line's number in its file; 0 for a line that has none."""

    n: int = 0


_LINES: Final = msgspec.json.Decoder(Line)
_NUMBERS: Final = msgspec.json.Decoder(Number)


class Opened(Struct, frozen=True):
    """A file by its name: of which process, since when; ``closed``: it ends as its process meant it to."""

    process: str
    at_us: int
    closed: bool


class Loaded(Struct):
    """All histories: ``events`` that were recorded before the rows were read, ``later`` the others.

    ``damage`` says in words what cannot be trusted.
    """

    events: list[Event]
    later: list[Event]
    damage: list[str]
    counts: Files
    opened: list[Opened]


def find(directories: Sequence[Path]) -> list[Path]:
    """All history files below ``directories``, each once; raises InvalidInput if there is none."""
    for directory in directories:
        if not directory.is_dir():
            raise InvalidInput(
                f"There is no directory {directory}.", remedy="Give it with --history."
            )
    found = sorted({path.resolve() for d in directories for path in d.rglob(SUFFIX)})
    if not found:
        raise InvalidInput(
            f"No history ({SUFFIX}) below {', '.join(map(str, directories))}.",
            remedy="Set history.dir in the settings of every process, and run a workload.",
        )
    return found


def sizes(paths: Sequence[Path]) -> dict[Path, int]:
    """Bytes of each file now: whatever is in them was done before whatever comes next, by no clock."""
    return {path: path.stat().st_size for path in paths if path.exists()}


def load(paths: Sequence[Path], before: Mapping[Path, int] | None = None) -> Loaded:
    """The events of all files. ``before``: their sizes when the rows began to be read.

    Raises InvalidInput for a file that cannot be read at all.
    """
    loaded = Loaded(events=[], later=[], damage=[], counts=Files(), opened=[])
    for path in paths:
        known = before.get(path, 0) if before is not None else None
        reader = _Reader(path, loaded, known)
        try:
            reader.read()
        except OSError as error:
            raise InvalidInput(f"Cannot read the history {path}: {error.strerror}.") from error
    return loaded


def read(path: Path) -> tuple[list[Event], int]:
    """Events of one file, and 1 if its last line was torn off when the process was killed.

    Raises InvalidInput naming file and line if anything else is wrong with it.
    """
    loaded = load([path])
    torn = loaded.counts.torn
    if len(loaded.damage) > torn:
        raise InvalidInput(
            loaded.damage[0], remedy="The file was changed, or is of another version."
        )
    return loaded.events, torn


def missing(
    opened: Sequence[Opened],
    services: Sequence[Service],
    cells: Sequence[str],
    expected: Sequence[str] = (),
) -> list[str]:
    """Which processes must have a history and have none, in words.

    Schedulers of ``cells`` that the name service knows, each since its last start, and processes
    ``expected`` by name. The history of one that said that it stopped must be closed.
    """
    last = {file.process: file for file in sorted(opened, key=lambda file: file.at_us)}
    told = [
        f"{name} is said to have run, and there is no history of it."
        for name in expected
        if name not in last
    ]
    for service in services:
        if service.kind is not ServiceKind.SCHEDULER or service.cell not in cells:
            continue
        file = last.get(service.name)
        if file is None or file.at_us < (service.started_ms - OPENED_BEFORE_MS) * 1000:
            told.append(
                f"{service.name} of cell {service.cell} last started at {service.started_ms} ms, "
                f"and there is no history of it since then."
            )
        elif service.stopped and not file.closed:
            told.append(
                f"{service.name} of cell {service.cell} stopped, and the end of its history is "
                f"missing."
            )
    return told


class _Reader:
    """One file under way."""

    def __init__(self, path: Path, loaded: Loaded, before: int | None) -> None:
        self._path = path
        self._loaded = loaded
        self._before = before
        self._lines = 0
        self._broken = 0
        self._later = False
        self._closed: Closed | None = None
        #: Where an attempt that was recorded before it was sent is in the list of events.
        self._sent: dict[tuple[str | int, ...], int] = {}

    def read(self) -> None:
        counts = self._loaded.counts
        counts.files += 1
        with self._path.open("rb") as file:
            for piece, later in _pieces(file, self._before):
                if later and not self._later:
                    self._later = True
                    self._sent.clear()
                whole, newline, torn = piece.rpartition(b"\n")
                self._whole(whole + newline)
                # What comes later may be a line that is just being written.
                if torn and not later:
                    self._torn(torn)
        counts.lines += self._lines
        counts.closed += self._closed is not None
        counts.damaged += bool(self._broken)
        process, at_us = _named(self._path)
        self._loaded.opened.append(Opened(process, at_us, self._closed is not None))

    def _whole(self, text: bytes) -> None:
        """Whole lines: at once if all can be read, else one by one."""
        try:
            lines: list[Line] = _LINES.decode_lines(text)
            numbers: list[Number] = _NUMBERS.decode_lines(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._one_by_one(text)
            return
        for line, number in zip(lines, numbers, strict=True):
            self._line(line, number.n)

    def _one_by_one(self, text: bytes) -> None:
        """A line that cannot be read keeps its place in the count."""
        for one in text.splitlines():
            try:
                line, number = _LINES.decode(one), _NUMBERS.decode(one)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                self._lines += 1
                self._damage(f"line {self._lines} cannot be read: {error}")
                continue
            self._line(line, number.n)

    def _line(self, line: Line, number: int) -> None:
        self._lines += 1
        if number != self._lines:
            self._gap(number)
        if self._closed is not None:
            self._damage(f"line {self._lines} comes after the file was closed")
            self._closed = None
        if isinstance(line, Closed):
            self._closed = line
            if line.events != self._lines - 1:
                self._damage(
                    f"it was closed after {line.events} events and has {self._lines - 1} lines"
                )
            return
        if isinstance(line, Operation) and line.ended_us < line.started_us:
            self._damage(f"line {self._lines} has its answer before its question")
        self._place(line)

    def _place(self, event: Event) -> None:
        """Keep the event; an answer replaces what was recorded before the attempt was sent."""
        events = self._loaded.later if self._later else self._loaded.events
        key: tuple[str | int, ...]
        if isinstance(event, Write):
            key = event.host, event.rev, event.started_us
            sent = event.outcome is WriteOutcome.UNKNOWN
        elif isinstance(event, Operation):
            key = ("", event.number)
            sent = event.outcome is Answer.UNKNOWN
        else:
            events.append(event)
            return
        at = self._sent.pop(key, len(events))
        events[at : at + 1] = [event]
        if sent:
            self._sent[key] = at

    # -- what is wrong with it

    def _gap(self, number: int) -> None:
        if number > self._lines:
            what = f"lines {self._lines} to {number - 1} are missing"
            if number - 1 == self._lines:
                what = f"line {self._lines} is missing"
        else:
            what = f"line {self._lines} says that it is line {number}"
        self._damage(what)
        self._lines = max(self._lines, number)

    def _torn(self, torn: bytes) -> None:
        self._loaded.counts.torn += 1
        self._tell(f"its last line breaks off after {len(torn)} bytes")

    def _damage(self, what: str) -> None:
        self._broken += 1
        if self._broken <= DAMAGES_MAX:
            self._tell(what)

    def _tell(self, what: str) -> None:
        self._loaded.damage.append(f"History {self._path}: {what}.")


def _named(path: Path) -> tuple[str, int]:
    """Process and start of a file by its name; a start of 0 where it says none."""
    process, _, start = path.name.removesuffix(".jsonl").rpartition("-")
    return (process, int(start)) if process and start.isdigit() else (path.stem, 0)


def _pieces(file: BinaryIO, before: int | None) -> Iterator[tuple[bytes, bool]]:
    """Whole lines, some MiB at a time, and whether they came after the first ``before`` bytes.

    Only the last piece may end in a torn line.
    """
    rest, offset = b"", 0
    bound = before if before is not None else sys.maxsize
    while data := file.read(min(CHUNK_BYTES, bound - offset) if offset < bound else CHUNK_BYTES):
        whole, newline, tail = data.rpartition(b"\n")
        if newline:
            yield rest + whole + newline, offset >= bound
            rest = tail
        else:
            rest += data
        offset += len(data)
    if rest:
        yield rest, offset > bound
