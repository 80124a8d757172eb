"""A world whose hosts go down and come back, and whose instances are moved; what must hold in it.

Each host that is away is marked down after a moment, as the hub does, and reports when it is back.
What runs on it goes on running meanwhile: nobody can reach it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import cast

from placer.claims.operations import ReportInventory, SetStatus
from placer.errors import NoScheduler, PlacerError
from placer.model import ids, moves
from placer.model.actions import MoveOrder
from placer.model.instance import InstanceState
from placer.model.records import ClaimState, HostStatus, Record
from placer.model.request import MoveKind, Request, Stage
from placer.scheduler.actions import Actions
from placer.scheduler.moves_shown import moving_since_ms

from .conducting import World

#: States of a claim in which its instance may be running.
_MAY_RUN = (ClaimState.BUILDING, ClaimState.BUILT)


class MovingWorld(World):
    """A ``World`` with a hub's marks on hosts, and calls for moves."""

    def __init__(self, seed: int, *, unknown: float = 0.0) -> None:
        super().__init__(seed, unknown=unknown)
        #: Instances that were only ever evacuated: these never run twice.
        self.evacuated: set[str] = set()
        self.moved: set[str] = set()
        self.deleted: set[str] = set()
        #: The instance that each claim ever ran.
        self.consumers: dict[str, str] = {}
        #: When each host that is away went.
        self.away_since: dict[str, float] = {}

    async def ask_move(
        self, request: Request, instance: str, kind: MoveKind, **more: object
    ) -> Request:
        """Ask some process of the request's home for a move; raises what a caller would hear."""
        process = self.alive(request.home_cell)
        if process is None:
            raise NoScheduler("Nobody is there.")
        actions = Actions(process.conductor._settings, process.requests, process._wake)
        (self.evacuated if kind is MoveKind.EVACUATE else self.moved).add(instance)
        if kind is MoveKind.DELETE:
            self.deleted.add(instance)
        order = MoveOrder(request.id, instance, kind, **more)  # type: ignore[arg-type]
        begun = asyncio.get_running_loop().create_future()

        async def begin() -> None:
            begun.set_result(await actions.begin(order))

        await process.run(begin())
        return cast(Request, begun.result())

    # -- what the hub does

    async def hub(self) -> None:
        """Mark hosts that are away down after two seconds, and up when they are back; for ever."""
        while True:
            await asyncio.sleep(0.5)
            now = asyncio.get_running_loop().time()
            for cell, store in self.stores.items():
                for row in list(store.rows.values()):
                    if row.host in self.agents_away:
                        since = self.away_since.setdefault(row.host, now)
                        if row.status is HostStatus.UP and now - since > 2.0:
                            await self._write(cell, row.host, SetStatus(HostStatus.DOWN))
                        continue
                    self.away_since.pop(row.host, None)
                    if row.status is HostStatus.DOWN:
                        total = next(r for r in row.records if not r.is_claim).inventories
                        report = ReportInventory(row.host, row.name, total)
                        await self._write(cell, row.host, report)

    async def _write(self, cell: str, host: str, operation: ReportInventory | SetStatus) -> None:
        process = self.alive(cell)
        if process is None:
            return
        try:
            writer = await process.writer(cell)
            await asyncio.wait_for(writer.submit(host, operation, deadline_s=1.0), 2.0)
        except (PlacerError, TimeoutError):
            return

    # -- what must hold

    def _runs(self, claim: str, record: Record | None) -> None:
        """The instance is there: the only one that can be reached, unless it is being moved.

        Of a host that was away a build may end in the moment before its agent hears that it is to
        destroy it: that one counts no more than one that was built before.
        """
        self.running.add(claim)
        if record is None:
            return
        self.consumers[claim] = record.consumer
        self.built_for[claim] = record.request
        request = self.stores[ids.cell_of(record.request)].requests[record.request]
        move = moves.move_to(request, claim)
        if record.consumer in self.moved or (move and move.kind is not MoveKind.EVACUATE):
            return
        if not self._wanted(claim):
            return
        others = [
            other
            for other in self.running - {claim}
            if self.consumers.get(other) == record.consumer
            and ids.host_of(other) not in self.agents_away
            and self._wanted(other)
        ]
        if others:
            self.wrong.append(f"{record.consumer} runs as {claim} and as {others}")

    def _wanted(self, claim: str) -> bool:
        """Whether the claim's agent has not been told to destroy its instance."""
        row = self.stores[ids.cell_of(claim)].rows[ids.host_of(claim)]
        record = row.find(claim)
        return record is not None and record.state is not ClaimState.DELETING

    def unsettled(self) -> list[str]:
        """As any world's, and: one claim for each instance, at its newest epoch."""
        found = super().unsettled()
        holders: dict[str, list[Record]] = defaultdict(list)
        for store in self.stores.values():
            for row in store.rows.values():
                for record in row.claims:
                    if not record.data.get("anchor"):
                        holders[record.consumer].append(record)
            for request in store.requests.values():
                if request.stage is Stage.MOVING or request.moves:
                    found.append(f"{request.id} still moves {len(request.moves)}")
        found += [
            f"{record.id} is marked as moving"
            for records in holders.values()
            for record in records
            if moving_since_ms(record)
        ]
        for name, instance in self.instances.items():
            if instance.state is InstanceState.MOVING:
                found.append(f"{name} is listed as moving")
            if instance.state is InstanceState.RUNNING and name not in holders:
                found.append(f"{name} is listed as running and has no claim")
        found += [
            f"{consumer} has {len(records)} claims"
            for consumer, records in holders.items()
            if len(records) > 1
        ]
        return found

    def lost(self) -> list[str]:
        """Instances that ran, that nobody deleted and no dead host had, and that are not there."""
        there = {
            placement.instance
            for store in self.stores.values()
            for request in store.requests.values()
            for placement in request.placements
        }
        meant_to_go = self.deleted | self.evacuated | self.given_up()
        return [f"{one} is lost" for one in set(self.consumers.values()) - there - meant_to_go]

    def given_up(self) -> set[str]:
        """Instances of requests that ended, and of builds that failed before the first was told of."""
        ended = {
            request.id
            for store in self.stores.values()
            for request in store.requests.values()
            if request.stage is not Stage.BUILT
        }
        told = {self.consumers[claim] for claim in self.said if claim in self.consumers}
        return {
            consumer
            for claim, consumer in self.consumers.items()
            if self.built_for.get(claim) in ended or consumer not in told
        }

    def epochs(self) -> list[str]:
        """Claims that are not newer than what their consumer was built as before."""
        built: dict[str, int] = {}
        seen: set[str] = set()
        found: list[str] = []
        rows = {cell: iter(store.applied) for cell, store in self.stores.items()}
        for what in next(iter(self.stores.values())).order:
            if isinstance(what, str):
                continue
            _, _, row = next(rows[what[0]])
            for record in row.claims:
                if record.id not in seen and record.epoch <= built.get(record.consumer, -1):
                    found.append(f"{record.id} has epoch {record.epoch} again")
                seen.add(record.id)
                if record.state is ClaimState.BUILT and not record.tag:
                    built[record.consumer] = max(record.epoch, built.get(record.consumer, 0))
        return found

    def run_twice(self) -> list[str]:
        """Instances that were only evacuated, and whose claims at two hosts allowed them to run."""
        states: dict[str, dict[str, tuple[ClaimState, str]]] = defaultdict(dict)
        rows = {cell: iter(store.applied) for cell, store in self.stores.items()}
        held: dict[tuple[str, str], set[tuple[str, str]]] = defaultdict(set)
        found: list[str] = []
        order = next(iter(self.stores.values())).order
        for what in order:
            if isinstance(what, str):
                continue
            _, _, row = next(rows[what[0]])
            present = {(r.consumer, r.id) for r in row.claims}
            for consumer, claim in held[what] - present:
                states[consumer].pop(claim, None)
            held[what] = present
            for record in row.claims:
                assert record.state is not None
                states[record.consumer][record.id] = (record.state, row.name)
                may_run = [
                    name for state, name in states[record.consumer].values() if state in _MAY_RUN
                ]
                if len(may_run) > 1 and record.consumer in self.evacuated - self.moved:
                    found.append(f"{record.consumer} may run on {' and '.join(may_run)}")
        return found
