"""Histories written by hand: one host with 4 CPUs and two GPUs, revisions 100, 101, …

Each write takes one unit of time: the write that makes revision r runs from r to r + 0.5.
"""

from __future__ import annotations

from typing import Any

from placer.checker.core import FinalRow, check
from placer.checker.verdict import Verdict
from placer.history import (
    Acknowledged,
    Answer,
    Ended,
    Event,
    Operation,
    OperationKind,
    Write,
    WriteOutcome,
)
from placer.model.records import (
    ClaimState,
    HostRow,
    HostStatus,
    Inventory,
    Record,
    inventory_record,
)
from placer.model.resource_classes import GPU_MILLI

CELL, HOST, FIRST = "nyc1", "h1", 100

INVENTORY = inventory_record(
    HOST,
    {
        "VCPU": Inventory(total=4),
        GPU_MILLI: Inventory(total=2000, units=("gpu0", "gpu1")),
    },
)

#: Long after everything in these histories.
LATER = 1_000_000


def claim(
    name: str,
    vcpu: int = 1,
    state: ClaimState = ClaimState.CLAIMED,
    *,
    gpu: dict[str, int] | None = None,
    lease_until_ms: int = LATER,
) -> Record:
    """A claim record; ``gpu`` says which device gives how much."""
    amounts = {"VCPU": -vcpu}
    units = {}
    if gpu:
        amounts[GPU_MILLI] = -sum(gpu.values())
        units[GPU_MILLI] = gpu
    return Record(
        id=name,
        provider=HOST,
        amounts=amounts,
        consumer=f"of-{name}",
        request=f"for-{name}",
        state=state,
        lease_until_ms=lease_until_ms,
        units=units,
    )


def wrote(rev: int, *put: Record, drop: tuple[str, ...] = (), **more: Any) -> Write:
    """The write that found ``rev`` and made ``rev + 1``."""
    fields: dict[str, Any] = {
        "process": "scheduler-1",
        "cell": CELL,
        "host": HOST,
        "rev": rev,
        "next": rev + 1,
        "outcome": WriteOutcome.APPLIED,
        "started_us": (rev + 1) * 10,
        "ended_us": (rev + 1) * 10 + 5,
        "put": put,
        "drop": drop,
    }
    return Write(**{**fields, **more})


def made(**more: Any) -> Write:
    """The host's first report: the row is made at revision FIRST."""
    return wrote(0, INVENTORY, next=FIRST, started_us=FIRST * 10, ended_us=FIRST * 10 + 5, **more)


def told(name: str, at_us: int = 2000) -> Acknowledged:
    return Acknowledged(
        process="scheduler-1", cell=CELL, host=HOST, claim=name, request=f"for-{name}", at_us=at_us
    )


def ended(name: str, how: str) -> Ended:
    return Ended(process="scheduler-1", cell=CELL, host=HOST, claim=name, how=how, at_us=3000)


def asked(number: int, outcome: Answer = Answer.OK, **more: Any) -> Operation:
    """An operation of client-1; without times from 100 after its number's thousand to 900 after."""
    fields: dict[str, Any] = {
        "process": "client-1",
        "number": number,
        "kind": OperationKind.CLAIM,
        "cell": CELL,
        "region": "nyc",
        "outcome": outcome,
        "started_us": number * 1000 + 100,
        "ended_us": number * 1000 + 900,
        "trace": f"trace-{number}",
    }
    return Operation(**{**fields, **more})


def final(rev: int, *claims: Record, status: HostStatus = HostStatus.UP) -> FinalRow:
    row = HostRow(host=HOST, name="host-1", rev=rev, status=status, records=(INVENTORY, *claims))
    return FinalRow(cell=CELL, row=row)


def judge(events: list[Event], *rows: FinalRow, **more: Any) -> Verdict:
    return check(events, rows, regions={CELL: "nyc"}, **{"rows_read_us": LATER, **more})
