"""Histories of any length, as a deployment under load would leave them: in files, by its own writers.

Clients ask for claims and give half of them back; schedulers claim, build, destroy. Nothing is
violated. Each claim is one operation of a client and three transactions, each release one and two.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from placer.checker.core import FinalRow
from placer.history import (
    Acknowledged,
    Answer,
    Ended,
    HistoryWriter,
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

CELLS: Final = ("ams1", "nyc1", "sgp1")
REGIONS: Final = {cell: cell[:3] for cell in CELLS}
SCHEDULERS_EACH: Final = 2
CLIENTS: Final = 8

#: Operations for each host, before it has had its share of the load.
OPERATIONS_A_HOST: Final = 400
CORES: Final = 64

#: Shares of clients' operations: whose answer was lost though they happened; that were refused.
UNKNOWN: Final = 0.01
REFUSED: Final = 0.03
RELEASED: Final = 0.5

#: One step of the clock, in microseconds.
STEP_US: Final = 50
BEGIN_US: Final = 1_795_000_000_000_000


class Host(Struct):
    """A host as it is, and its claims in the order in which they were made."""

    cell: str
    name: str
    rev: int
    inventory: Record
    claims: dict[str, Record]


class Load:
    """Writes histories below ``directory`` until they hold so many operations."""

    def __init__(self, directory: Path, operations: int, seed: int) -> None:
        self._rng = random.Random(seed)
        self._now_us = BEGIN_US
        self._operations = operations
        self.written = 0
        self._numbers: dict[str, int] = {}
        self._schedulers = {
            cell: [
                HistoryWriter(directory, f"{cell}-scheduler-{number + 1}")
                for number in range(SCHEDULERS_EACH)
            ]
            for cell in CELLS
        }
        self._clients = [HistoryWriter(directory, f"client-{number}") for number in range(CLIENTS)]
        hosts = max(len(CELLS), operations // OPERATIONS_A_HOST)
        self._hosts = [self._host(CELLS[n % len(CELLS)], n) for n in range(hosts)]

    def run(self) -> list[FinalRow]:
        """The rows in the end."""
        while self.written < self._operations:
            self._claim(self._rng.choice(self._hosts))
        for writer in [*self._clients, *(w for ws in self._schedulers.values() for w in ws)]:
            writer.close()
        return [
            FinalRow(
                host.cell,
                HostRow(
                    host=f"id-{host.name}",
                    name=host.name,
                    rev=host.rev,
                    status=HostStatus.UP,
                    records=(host.inventory, *host.claims.values()),
                ),
            )
            for host in self._hosts
        ]

    def _host(self, cell: str, number: int) -> Host:
        name = f"{cell}-h{number:05d}"
        offered = {"VCPU": Inventory(total=CORES), "MEMORY_MB": Inventory(total=CORES * 4096)}
        record = inventory_record(f"id-{name}", offered)
        host = Host(cell=cell, name=name, rev=0, inventory=record, claims={})
        self._write(host, record)
        return host

    def _claim(self, host: Host) -> None:
        client = self._rng.choice(self._clients)
        if self._rng.random() < REFUSED:
            self._operation(client, OperationKind.CLAIM, host.cell, Answer.REFUSED)
            return
        number = self.written
        cores = self._rng.choice((1, 2, 4, 8))
        while self._taken(host) + cores > CORES:
            self._release(host, next(iter(host.claims.values())), client)
        request, trace = f"{host.cell}.{number:032x}", f"{number:032x}"
        record = Record(
            id=f"{host.cell}.id-{host.name}.{number:016x}",
            provider=f"id-{host.name}",
            amounts={"VCPU": -cores, "MEMORY_MB": -cores * 2048},
            consumer=f"instance-{number:024x}",
            request=request,
            project="load",
            state=ClaimState.CLAIMED,
            created_ms=self._now_us // 1000,
            lease_until_ms=self._now_us // 1000 + 60_000,
            trace=trace,
        )
        began = self._sent(client, OperationKind.CLAIM, host.cell, trace=trace)
        scheduler = self._write(host, record)
        scheduler.add(
            Acknowledged(
                process=scheduler.process,
                cell=host.cell,
                host=f"id-{host.name}",
                claim=record.id,
                request=request,
                at_us=self._tick(),
            )
        )
        lost = self._rng.random() < UNKNOWN
        self._answered(
            client,
            began,
            Answer.UNKNOWN if lost else Answer.OK,
            **({} if lost else {"request": request, "rev": 1, "claims": (record.id,)}),
        )
        for state in (ClaimState.BUILDING, ClaimState.BUILT):
            record = msgspec.structs.replace(record, state=state, lease_until_ms=0)
            self._write(host, record)
        if self._rng.random() < RELEASED:
            self._release(host, next(iter(host.claims.values())), client)

    def _release(self, host: Host, record: Record, client: HistoryWriter) -> None:
        began = self._sent(client, OperationKind.RELEASE, host.cell, request=record.request)
        self._answered(client, began, Answer.OK, request=record.request, rev=2)
        self._write(host, msgspec.structs.replace(record, state=ClaimState.DELETING))
        scheduler = self._write(host, drop=record.id)
        scheduler.add(
            Ended(
                process=scheduler.process,
                cell=host.cell,
                host=f"id-{host.name}",
                claim=record.id,
                how="released",
                at_us=self._tick(),
            )
        )

    @staticmethod
    def _taken(host: Host) -> int:
        return -sum(record.amounts["VCPU"] for record in host.claims.values())

    # -- lines

    def _tick(self) -> int:
        self._now_us += STEP_US
        return self._now_us

    def _write(self, host: Host, record: Record | None = None, *, drop: str = "") -> HistoryWriter:
        """A transaction as its scheduler records it: before it is sent, and with its answer."""
        scheduler = self._rng.choice(self._schedulers[host.cell])
        started = self._tick()
        sent = Write(
            process=scheduler.process,
            cell=host.cell,
            host=f"id-{host.name}",
            rev=host.rev,
            next=host.rev + 1 if host.rev else started,
            outcome=WriteOutcome.UNKNOWN,
            started_us=started,
            ended_us=started,
            put=(record,) if record else (),
            drop=(drop,) if drop else (),
        )
        scheduler.add(sent)
        scheduler.add(
            msgspec.structs.replace(sent, outcome=WriteOutcome.APPLIED, ended_us=self._tick())
        )
        host.rev = sent.next
        if record is not None and record.is_claim:
            host.claims[record.id] = record
        host.claims.pop(drop, None)
        self.written += 1
        return scheduler

    def _operation(
        self, client: HistoryWriter, kind: OperationKind, cell: str, outcome: Answer
    ) -> None:
        self._answered(client, self._sent(client, kind, cell), outcome)

    def _sent(
        self,
        client: HistoryWriter,
        kind: OperationKind,
        cell: str,
        trace: str = "",
        request: str = "",
    ) -> Operation:
        self._numbers[client.process] = self._numbers.get(client.process, 0) + 1
        now = self._tick()
        operation = Operation(
            process=client.process,
            number=self._numbers[client.process],
            kind=kind,
            cell=cell,
            outcome=Answer.UNKNOWN,
            started_us=now,
            ended_us=now,
            region=REGIONS[cell],
            trace=trace,
            request=request,
            resources={"VCPU": 1},
        )
        client.add(operation)
        self.written += 1
        return operation

    def _answered(
        self, client: HistoryWriter, operation: Operation, outcome: Answer, **told: object
    ) -> None:
        done = msgspec.structs.replace(operation, outcome=outcome, ended_us=self._tick(), **told)
        client.add(done)
