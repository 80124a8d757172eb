"""The agent's own code among crashes, cut connections, lost answers and orders of all ages.

Instances vanish behind the agent's back, and so does its journal. Whatever happens, an instance
never runs without capacity and is never built twice; and once the faults end, rows and instances
agree. A failure names its seed.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import msgspec
import pytest

from placer.claims.operations import DropEnded, EndLeases, ended
from placer.errors import Overloaded, StoreUnknown
from placer.model.records import ClaimState, HostRow, Record

from ..unit.agents.fakes import Bench, claim, until, uuid_of
from .clock import run_simulated

SEEDS = range(40)
HOSTS = ("h1", "h2", "h3")
LIVES = 6
CLAIMS_MAX = 25


class Chaos:
    """Does random things to a bench, from one seed."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.rng = random.Random(seed)
        self.bench = Bench(
            directory,
            *HOSTS,
            builds_max=3,
            report_batch=2,
            reconcile_every_s=3.0,
            reconnect_s=0.2,
            reconnect_max_s=2.0,
            shutdown_grace_s=0.5,
            build_timeout_s=2.0,
        )
        self.bench.driver.build_s = lambda: self.rng.choice((0.0, 0.05, 0.5, 3.0))
        self.bench.writer.delay_s = lambda: self.rng.choice((0.0, 0.001, 0.2))
        self.made = 0
        #: Records as they were at some time, to be ordered (again) at any later time.
        self.old: list[tuple[str, Record]] = []

    def order(self, host: str, record: Record) -> None:
        self.old.append((host, record))
        if self.rng.random() < 0.7:
            self.bench.hub.deliver(host, record)

    def claim(self) -> None:
        if self.made >= CLAIMS_MAX:
            return
        host = uuid_of(self.rng.choice(HOSTS))
        row = self.bench.world.rows.get(host)
        if row is None:
            return
        self.made += 1
        record = msgspec.structs.replace(claim(f"c{self.made}"), provider=host)
        if self.rng.random() < 0.2:
            self.bench.driver.failing.add(record.id)
        changed = msgspec.structs.replace(row, records=(*row.records, record))
        self.bench.world.change(changed)
        self.order(host, record)

    def delete(self) -> None:
        """The API asks for an end: building or built becomes deleting."""
        begun = (ClaimState.BUILDING, ClaimState.BUILT)
        found = [
            (row, record)
            for row in self.bench.world.rows.values()
            for record in row.claims
            if record.state in begun
        ]
        if not found:
            return
        row, record = self.rng.choice(found)
        ended = msgspec.structs.replace(record, state=ClaimState.DELETING)
        new = tuple(ended if r.id == record.id else r for r in row.records)
        self.bench.world.change(msgspec.structs.replace(row, records=new))
        self.order(row.host, ended)

    def expire(self) -> None:
        for row in list(self.bench.world.rows.values()):
            result = EndLeases().apply(row, now_ms=5_000_000_000_000)
            assert isinstance(result, HostRow)
            due = frozenset(record.id for record in result.claims if ended(record))
            if self.rng.random() < 0.5:
                result = DropEnded(due).apply(result, now_ms=0)
            if result != row:
                assert isinstance(result, HostRow)
                self.bench.world.change(result)

    def repeat(self) -> None:
        if self.old:
            host, record = self.rng.choice(self.old)
            self.bench.hub.deliver(host, record)

    def remember(self) -> None:
        for row in self.bench.world.rows.values():
            self.old += [(row.host, record) for record in row.claims]

    def cut(self) -> None:
        self.bench.pipe.cut()

    def lose_answer(self) -> None:
        self.bench.writer.lost_answers.append(StoreUnknown("lost"))

    def vanish(self) -> None:
        """Somebody removes an instance behind the agent's back: it may be built once more."""
        if self.bench.world.running:
            gone = self.rng.choice(sorted(self.bench.world.running))
            self.bench.world.running.discard(gone)
            self.bench.world.builds[gone] = 0

    def lose_journal(self) -> None:
        """Between two lives of the agent its disk is replaced."""
        assert self.bench.settings.agent is not None
        for path in self.bench.settings.agent.journal_dir.glob("journal*"):
            path.unlink()

    def fail(self) -> None:
        self.bench.writer.errors.append(Overloaded("full"))

    async def act(self) -> None:
        actions = [
            *(self.claim for _ in range(6)),
            *(self.repeat for _ in range(3)),
            *(self.delete, self.expire, self.cut, self.lose_answer, self.fail),
            self.vanish,
        ]
        for _ in range(self.rng.randrange(5, 15)):
            self.rng.choice(actions)()
            self.remember()
            await asyncio.sleep(self.rng.choice((0.0, 0.001, 0.1, 1.0)))

    async def run(self) -> None:
        hub = asyncio.create_task(self.bench.hub.run())
        for _ in range(LIVES):
            if self.rng.random() < 0.2:
                self.lose_journal()
            async with self.bench.running() as stop:
                await asyncio.sleep(self.rng.choice((0.0, 0.1, 1.0)))
                await self.act()
                if self.rng.random() < 0.3:
                    stop.set()
        self.bench.writer.errors.clear()
        self.bench.writer.lost_answers.clear()
        async with self.bench.running():
            await until(self.settled, "rows and instances agree", within_s=120)
            await asyncio.sleep(10)
            assert self.settled()
        hub.cancel()

    def settled(self) -> bool:
        records = [r for row in self.bench.world.rows.values() for r in row.claims]
        return (
            len(self.bench.world.rows) == len(HOSTS)
            and all(record.state is ClaimState.BUILT for record in records)
            and {record.id for record in records} == self.bench.world.running
            and self.bench.agent.status().claims
            == {"building": 0, "built": len(records), "destroying": 0}
        )


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_no_instance_is_ever_without_capacity(tmp_path: Path, seed: int) -> None:
    """Safety at every moment, agreement in the end."""
    chaos = Chaos(tmp_path, seed)
    run_simulated(chaos.run())
    assert chaos.bench.world.violations == []
    assert chaos.made > 0
