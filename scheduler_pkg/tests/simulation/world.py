"""Several cells, several processes that die, clients that believe what they are told.

The processes run the protocol's own code: ``HostWriter``, ``WriteSets``, ``Recovery``. A process dies
at a random time or at a random fail point, with everything it was doing; what it had sent may still
apply. Clients make manifests, moves, releases and steps, and note what they were assured of.
"""

from __future__ import annotations

import asyncio
import contextvars
import random
import uuid
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from placer import failpoints
from placer.claims.operations import AddClaim, AgentStep, Refusal, Release, ReportInventory
from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.claims.tags import Carry, JoinGroup
from placer.claims.writeset import Committed, Participant, WriteSets
from placer.errors import PlacerError, StoreUnknown
from placer.history import Acknowledged, HistoryWriter
from placer.model import ids
from placer.model.fitting import demand_of
from placer.model.groups import Place, Policy, Scope
from placer.model.messages import StepKind
from placer.model.records import Inventory
from placer.settings import Cell, Cluster, Scheduler

from .store import SimStore, SimStores

CELLS = ("c1", "c2")
ROWS = (("c1", "h1"), ("c1", "h2"), ("c2", "h3"))
GROUP = ("c1", "c1.group")
CLUSTER = Cluster(
    deployment="simulated",
    cells=tuple(Cell(name, f"r-{name}", name, ()) for name in CELLS),
    claim_deadline_s=0.5,
    writeset_timeout_s=0.03,
    record_retention_s=5.0,
)
SETTINGS = Scheduler(settle_timeout_s=0.5)
FOREVER_MS = 2**52

#: The process whose code is running, for fail points.
_running: contextvars.ContextVar[Process | None] = contextvars.ContextVar("running", default=None)


def _made(task: asyncio.Task[None]) -> int:
    return int(task.get_name().removeprefix("Task-"))


def now_us() -> int:
    return int(asyncio.get_running_loop().time() * 1e6) + 1


class Process:
    """One scheduler process of the simulation."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.history = HistoryWriter(world.directory, name)
        self.stores = SimStores(*world.stores.values())
        self._writers: dict[str, HostWriter] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        rng = random.Random(world.rng.random())
        self._rng = rng
        self.sets = WriteSets(
            self.stores, self.writer, SETTINGS, self.history, rng=rng, clock_us=now_us
        )
        self.recovery = Recovery(
            self.stores, self.writer, CLUSTER, self.history, clock_ms=lambda: now_us() // 1000
        )
        #: Reached fail points until it dies; 0: it does not die there.
        self.left = world.rng.choice((0, 0, world.rng.randrange(1, 40)))

    async def writer(self, cell: str) -> HostWriter:
        if cell not in self._writers:
            self._writers[cell] = HostWriter(
                await self.stores.cell(cell),
                SETTINGS,
                self.history,
                rng=self._rng,
                clock_us=now_us,
            )
        return self._writers[cell]

    def run(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Do ``work`` in this process; it ends with it."""
        token = _running.set(self)
        task = asyncio.get_running_loop().create_task(work)
        _running.reset(token)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.dead:
            # Who asks is on the way out: its own end has not reached it yet.
            task.cancel()
        return task

    def reached(self) -> None:
        if self.left and not self.dead:
            self.left -= 1
            if not self.left:
                self.die()

    def die(self) -> None:
        """Everything it does stops where it is."""
        self.dead = True
        parts = [self._tasks, self.sets._tasks, *(w._tasks for w in self._writers.values())]
        # In the order of their making, so that a seed is the same run every time.
        for task in sorted((t for tasks in parts for t in tasks), key=_made):
            task.cancel()

    async def close(self) -> None:
        await self.sets.close(2.0)
        for writer in self._writers.values():
            await writer.close(2.0)


class World:
    """The cells, and what clients were told. ``told``: claim -> absent, unknown, claimed, or a step."""

    def __init__(
        self, seed: int, *, unknown: float, crashes: bool = True, directory: Path | None = None
    ) -> None:
        self.rng = random.Random(seed)
        self.directory = directory
        self.crashes = crashes
        self.stores = {
            cell: SimStore(self.rng, unknown=unknown, unavailable=0.02, cell=cell) for cell in CELLS
        }
        SimStores(*self.stores.values())
        self.processes: list[Process] = []
        self.born = 0
        self.told: dict[str, str] = {}
        #: Claims that were asked for together.
        self.together: list[tuple[str, ...]] = []
        #: Claims whose lease ends during the run.
        self.leased: set[str] = set()
        self.acknowledged: list[Acknowledged] = []
        self.ways = (self.live, self.move, self.move_and_release, self.move_twice)

    # -- processes

    def start(self) -> Process:
        self.born += 1
        process = Process(self, f"p{self.born}")
        self.processes.append(process)
        return process

    def alive(self) -> Process:
        """A living process; another is started when there are less than two."""
        self.processes = [process for process in self.processes if not process.dead]
        while len(self.processes) < 2:
            self.start()
        return self.rng.choice(self.processes)

    # -- clients

    def _claim(
        self, cell: str, host: str, consumer: str, *, vcpu: int = 1, leased: bool = False
    ) -> AddClaim:
        claim = ids.new_claim_id(cell, host)
        self.told[claim] = "unknown"
        demand = {"VCPU": vcpu}
        if self.rng.random() < 0.3:
            demand["CUSTOM_BAREMETAL"] = 1
        lease_until_ms = FOREVER_MS
        if leased:
            self.leased.add(claim)
            lease_until_ms = now_us() // 1000 + 300
        return AddClaim(claim, consumer, f"for-{consumer}", "p", demand_of(demand), lease_until_ms)

    async def manifest(self, process: Process, number: int) -> None:
        """Claim on two or three rows at once, perhaps in a group; then perhaps something more."""
        places = self.rng.sample(ROWS, self.rng.choice((2, 2, 3)))
        claims = [
            self._claim(cell, host, f"i{number}-{n}", vcpu=self.rng.choice((1, 1, 2)))
            for n, (cell, host) in enumerate(places)
        ]
        parts = [
            Participant(cell, host, (claim,))
            for (cell, host), claim in zip(places, claims, strict=True)
        ]
        if self.rng.random() < 0.4:
            parts.append(self._join(claims[:1], places[:1]))
        names = tuple(claim.claim for claim in claims)
        self.together.append(names)
        if not await self._commit(process, parts, names):
            return
        for (cell, host), name in zip(places, names, strict=True):
            if self.rng.random() < 0.4:
                await self.rng.choice(self.ways)(process, cell, host, name)

    def _join(self, claims: list[AddClaim], places: list[tuple[str, str]]) -> Participant:
        joins = tuple(
            JoinGroup(claim.claim, Policy.AFFINITY, Scope.CELL, Place("r", cell, host))
            for claim, (cell, host) in zip(claims, places, strict=True)
        )
        return Participant(*GROUP, joins)

    async def move(self, process: Process, cell: str, host: str, claim: str) -> None:
        """Leave one row for another, in one change; a built instance keeps what it has until later."""
        to_cell, to_host = self.rng.choice([row for row in ROWS if row != (cell, host)])
        new = self._claim(to_cell, to_host, "moved")
        stays = ids.new_claim_id(cell, host)
        carry: tuple[Carry, ...] = ()
        if self.told[claim] == StepKind.BUILT:
            self.told[stays] = "unknown"
            carry = (Carry(stays, of=claim, consumer="moving"),)
        parts = [
            Participant(cell, host, carry, drops=(claim,)),
            Participant(to_cell, to_host, (new,)),
        ]
        names = (new.claim, *(c.claim for c in carry))
        self.together.append(names)
        before, self.told[claim] = self.told[claim], "unknown"
        outcome = await self._commit(process, parts, names)
        if outcome is not None:
            self.told[claim] = StepKind.GONE if outcome else before

    async def move_twice(self, process: Process, cell: str, host: str, claim: str) -> None:
        """Two clients move one claim at the same time; one of them at most may succeed."""
        both = [process.run(self.move(process, cell, host, claim)) for _ in range(2)]
        try:
            await asyncio.wait(both)
        finally:
            self.told[claim] = "unknown"

    async def move_and_release(self, process: Process, cell: str, host: str, claim: str) -> None:
        """Two clients want the end of one claim in different ways at the same time."""
        moving = process.run(self.move(process, cell, host, claim))
        await asyncio.sleep(self.rng.random() * 0.01)
        try:
            await (await process.writer(cell)).submit(host, Release(claim), deadline_s=0.5)
        except PlacerError:
            pass
        finally:
            await asyncio.wait([moving])
            self.told[claim] = "unknown"

    async def _commit(
        self, process: Process, parts: list[Participant], names: tuple[str, ...]
    ) -> bool | None:
        """True: told that all is claimed; False: that nothing is; None: nothing is known."""
        home = self.rng.choice(CELLS)
        try:
            deadline_s = self.rng.choice((0.5, 0.02))
            result = await process.sets.commit(home, parts, deadline_s=deadline_s)
        except StoreUnknown:
            return None
        except PlacerError:
            result = None
        done = isinstance(result, Committed)
        if isinstance(result, Committed):
            assert set(names) <= {record.id for record in result.records}
            self._acknowledge(process, names)
        self.told.update(dict.fromkeys(names, "claimed" if done else "absent"))
        return done

    def _acknowledge(self, process: Process, names: tuple[str, ...]) -> None:
        self.acknowledged += [
            Acknowledged(
                process=process.name,
                cell=ids.cell_of(name),
                host=ids.host_of(name),
                claim=name,
                request=f"for-{name}",
                at_us=now_us(),
            )
            for name in names
        ]

    async def single(self, process: Process, number: int) -> None:
        """Claim on one row by one LWT, among the write sets."""
        cell, host = self.rng.choice(ROWS)
        leased = self.rng.random() < 0.3
        claim = self._claim(cell, host, f"s{number}", leased=leased)
        try:
            writer = await process.writer(cell)
            result = await writer.submit(host, claim, deadline_s=0.5)
        except StoreUnknown:
            return
        except PlacerError:
            self.told[claim.claim] = "absent"
            return
        if isinstance(result, Refusal):
            self.told[claim.claim] = "absent"
            return
        self._acknowledge(process, (claim.claim,))
        if leased:
            return
        self.told[claim.claim] = "claimed"
        await self.rng.choice(self.ways)(process, cell, host, claim.claim)

    async def live(self, process: Process, cell: str, host: str, claim: str) -> None:
        """An agent's steps, as far as they are allowed; a tagged claim is asked for again."""
        for kind in (StepKind.ADOPT, StepKind.BUILT, StepKind.DELETING, StepKind.GONE):
            if self.rng.random() < 0.2:
                if kind is StepKind.DELETING:
                    await self.move(process, cell, host, claim)
                return
            before, self.told[claim] = self.told[claim], "unknown"
            try:
                writer = await process.writer(cell)
                row = await writer.submit(host, AgentStep(claim, kind), deadline_s=0.5)
            except PlacerError:
                return
            if isinstance(row, Refusal):
                self.told[claim] = before
                return
            self.told[claim] = kind

    async def sweep(self, process: Process) -> None:
        """Recovery as the sweeper does it, for ever."""
        while True:
            await asyncio.sleep(self.rng.random() * 0.05)
            for cell, host in (*ROWS, GROUP):
                try:
                    await process.recovery.sweep_row(cell, host)
                except PlacerError:
                    continue
            for store in self.stores.values():
                for writeset in list(store.noted):
                    await process.recovery.recover(store, writeset)

    # -- a run

    async def run(self, *, manifests: int = 3, singles: int = 2) -> None:
        """Everything at once, then peace, then recovery until nothing is left to do."""
        failpoints.on_reach = self._reached
        uuid4, uuid.uuid4 = uuid.uuid4, lambda: uuid.UUID(int=self.rng.getrandbits(128), version=4)
        try:
            await self._report()
            work = [
                *((self.manifest, n) for n in range(manifests)),
                *((self.single, n) for n in range(singles)),
            ]
            await asyncio.gather(self._disturb(), *(self._client(*item) for item in work))
        finally:
            failpoints.on_reach = None
            uuid.uuid4 = uuid4
        await self._recover()

    async def _client(self, act: Any, number: int) -> None:
        """Ask twice, of whoever is alive then."""
        for turn in range(2):
            await asyncio.sleep(self.rng.random() * 0.05)
            process = self.alive()
            task = process.run(act(process, 2 * number + turn))
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()

    async def _disturb(self) -> None:
        """Sweepers all the time; deaths and a cut now and then."""
        for _ in range(6):
            process = self.alive()
            sweeper = process.run(self.sweep(process))
            cut = self.rng.choice(list(self.stores.values()))
            cut.cut = self.crashes and self.rng.random() < 0.15
            await asyncio.sleep(self.rng.random() * 0.05)
            cut.cut = False
            if self.crashes and self.rng.random() < 0.3:
                self.alive().die()
            sweeper.cancel()

    def _reached(self, name: str) -> None:
        process = _running.get()
        if self.crashes and process is not None:
            process.reached()

    async def _report(self) -> None:
        """The hosts, as they are before anything is lost."""
        process = self.start()
        for store in self.stores.values():
            store.quiet = True
        offered = {
            "VCPU": Inventory(total=4),
            "CUSTOM_BAREMETAL": Inventory(total=2, units=("a", "b")),
        }
        for cell, host in ROWS:
            writer = await process.writer(cell)
            await writer.submit(host, ReportInventory(host, host, offered), deadline_s=5.0)
        for store in self.stores.values():
            store.quiet = False

    async def _recover(self) -> None:
        for store in self.stores.values():
            store.cut, store.quiet = False, True
        for process in self.processes:
            await process.close()
        for store in self.stores.values():
            await asyncio.gather(*store.zombies)
        last = self.start()
        last.left = 0
        for _ in range(2):
            # Longer than a write set may be open, then longer than its record is kept.
            await asyncio.sleep(70.0)
            for store in self.stores.values():
                await last.recovery.recover_cell(store.cell)
            for cell, host in (*ROWS, GROUP):
                await last.recovery.sweep_row(cell, host)
        await last.close()
