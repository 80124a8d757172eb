"""Histories as Jepsen writes them, for checkers of others (Elle, Knossos, Porcupine's readers).

One EDN map a line (https://github.com/edn-format/edn), in the order of time, with the keys of
Jepsen's history (https://jepsen-io.github.io/history/jepsen.history.html): ``:index`` counts from 0,
``:type`` is :invoke, :ok, :fail or :info, ``:process`` a number, ``:f`` the function, ``:value`` its
argument and then its result, ``:time`` nanoseconds since the first operation. An operation of unknown
outcome is :info, and its process, as there, does nothing more under that number: what the same client
did next has a number of its own.

A client that has several calls under way is as many processes: each number has one at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, TextIO

from placer.checker.clients import answers
from placer.history import Answer, Event, Operation, OperationKind

_TYPES: Final = {Answer.OK: "ok", Answer.REFUSED: "fail", Answer.UNKNOWN: "info"}

#: Characters of a string that EDN wants escaped, as in Clojure's reader.
_ESCAPES: Final = str.maketrans(
    {
        '"': '\\"',
        "\\": "\\\\",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\b": "\\b",
        "\f": "\\f",
        **{chr(code): f"\\u{code:04x}" for code in range(32) if chr(code) not in "\b\t\n\f\r"},
    }
)


class Keyword(str):
    """An EDN keyword, without its colon."""

    __slots__ = ()


def write(file: TextIO, events: Iterable[Event]) -> int:
    """Write the operations among ``events``; how many lines there are."""
    operations, _ = answers(event for event in events if isinstance(event, Operation))
    file.writelines(edn(entry) + "\n" for entry in history(operations))
    return 2 * len(operations)


def history(operations: Iterable[Operation]) -> Iterator[dict[Keyword, object]]:
    """Invocations and completions in the order of time."""
    ordered = sorted(operations, key=lambda operation: (operation.started_us, operation.number))
    begin_us = ordered[0].started_us if ordered else 0
    numbers = _Numbers()
    moments: list[tuple[int, int, int, Operation, int]] = []
    for place, operation in enumerate(ordered):
        number = numbers.take(operation)
        moments.append((operation.started_us, 0, place, operation, number))
        # At one moment what ends is before what begins, unless it is the same operation.
        late = operation.ended_us == operation.started_us
        moments.append((operation.ended_us, 1 if late else -1, place, operation, number))
    moments.sort(key=lambda moment: moment[:3])
    for index, (at_us, side, _, operation, number) in enumerate(moments):
        invoked = side == 0
        entry: dict[Keyword, object] = {
            Keyword("type"): Keyword("invoke" if invoked else _TYPES[operation.outcome]),
            Keyword("process"): number,
            Keyword("f"): Keyword(operation.kind.value),
            Keyword("value"): _asked(operation) if invoked else _told(operation),
            Keyword("time"): (at_us - begin_us) * 1000,
            Keyword("index"): index,
        }
        if not invoked and operation.outcome is not Answer.OK:
            entry[Keyword("error")] = operation.code or "no answer"
        yield entry


class _Numbers:
    """Numbers of processes: each has one operation at a time, and none after an unknown one."""

    def __init__(self) -> None:
        self._next = 0
        #: For each client: (free from, number) of the numbers that it may use again.
        self._free: dict[str, list[tuple[int, int]]] = {}

    def take(self, operation: Operation) -> int:
        free = self._free.setdefault(operation.process, [])
        if free and free[0][0] < operation.started_us:
            number = heapq.heappop(free)[1]
        else:
            number, self._next = self._next, self._next + 1
        if operation.outcome is not Answer.UNKNOWN:
            heapq.heappush(free, (operation.ended_us, number))
        return number


def _asked(operation: Operation) -> dict[Keyword, object]:
    """What the client knew when it began: not yet which request its claim is of."""
    known = operation.request if operation.kind is not OperationKind.CLAIM else ""
    return {
        Keyword("client"): operation.process,
        Keyword("region"): operation.region,
        Keyword("cell"): operation.cell,
        Keyword("request"): known or None,
        Keyword("resources"): dict(operation.resources),
        Keyword("count"): operation.of,
    }


def _told(operation: Operation) -> dict[Keyword, object]:
    return {
        **_asked(operation),
        Keyword("request"): operation.request or None,
        Keyword("revision"): operation.rev or None,
        Keyword("stage"): Keyword(operation.stage) if operation.stage else None,
        Keyword("claims"): list(operation.claims),
    }


def edn(value: object) -> str:
    """A value in EDN: nil, booleans, integers, strings, keywords, vectors and maps."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Keyword):
        return f":{value}"
    if isinstance(value, str):
        return f'"{value.translate(_ESCAPES)}"'
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{edn(k)} {edn(v)}" for k, v in value.items()) + "}"
    if isinstance(value, Sequence):
        return "[" + " ".join(map(edn, value)) + "]"
    raise TypeError(f"{type(value).__name__} has no form in EDN here")
