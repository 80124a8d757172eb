"""The coordinator and recovery, step by step, on a store without faults but the one in question.

Two cells; host h1 in c1 and h2 in c2 have 4 CPUs each.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from placer.claims.operations import AddClaim, ReportInventory
from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.claims.tags import JoinGroup, Prepare, Settle
from placer.claims.writeset import ROWS_MAX, Committed, Participant, Refused, WriteSets
from placer.errors import Conflict, InvalidInput, StoreUnavailable, StoreUnknown
from placer.history import HistoryWriter
from placer.model import ids
from placer.model.commit_record import CommitRecord, Decision, RowKey
from placer.model.fitting import demand_of
from placer.model.groups import Place, Policy, Scope
from placer.model.records import Inventory, RowKind
from placer.settings import Cluster, Scheduler

from ...simulation.clock import run_simulated
from ...simulation.store import SimStore, SimStores

CLUSTER = Cluster("d", (), writeset_timeout_s=5.0, record_retention_s=100.0)


class Bench:
    """One process, two cells."""

    def __init__(self) -> None:
        rng = random.Random(1)
        self.c1, self.c2 = SimStore(rng, cell="c1"), SimStore(rng, cell="c2")
        self.stores = SimStores(self.c1, self.c2)
        self.history = HistoryWriter(None, "p")
        self._writers: dict[str, HostWriter] = {}
        self.sets = WriteSets(
            self.stores, self.writer, Scheduler(), self.history, rng=rng, clock_us=self.now_us
        )
        self.recovery = Recovery(
            self.stores, self.writer, CLUSTER, self.history, clock_ms=lambda: self.now_us() // 1000
        )

    @staticmethod
    def now_us() -> int:
        return int(asyncio.get_running_loop().time() * 1e6)

    async def writer(self, cell: str) -> HostWriter:
        if cell not in self._writers:
            store = await self.stores.cell(cell)
            self._writers[cell] = HostWriter(
                store, Scheduler(), self.history, clock_us=self.now_us, rng=random.Random(2)
            )
        return self._writers[cell]

    async def report(self) -> None:
        for cell, host in (("c1", "h1"), ("c2", "h2")):
            report = ReportInventory(host, host, {"VCPU": Inventory(total=4)})
            await (await self.writer(cell)).submit(host, report, deadline_s=1.0)

    async def commit(self, *parts: Participant) -> Committed | Refused:
        return await self.sets.commit("c1", parts, deadline_s=1.0)

    def on(self, cell: str, host: str) -> dict[str, str]:
        """Claims of a row with their tags."""
        row = self.stores.by_cell[cell].rows[host]
        return {record.id: record.tag for record in row.claims}


def part(cell: str, host: str, name: str, vcpu: int = 1, **more: Any) -> Participant:
    claim = AddClaim(f"{cell}.{host}.{name}", "i", "r", "p", demand_of({"VCPU": vcpu}), 2**52)
    return Participant(cell, host, (claim,), **more)


def simulate(story: Any) -> None:
    async def told() -> None:
        bench = Bench()
        await bench.report()
        await story(bench)
        await bench.sets.close(5.0)

    run_simulated(told(), threads=False)


def test_committed_on_all_rows_and_cleared_away() -> None:
    """The answer has rows and records; afterwards no tag and no record is left."""

    async def story(bench: Bench) -> None:
        result = await bench.commit(part("c1", "h1", "a"), part("c2", "h2", "b"))
        assert isinstance(result, Committed)
        assert result.rows.keys() == {("c1", "h1"), ("c2", "h2")}
        assert [(r.id, r.tag) for r in result.records] == [("c1.h1.a", ""), ("c2.h2.b", "")]
        await bench.sets.close(5.0)
        assert bench.on("c1", "h1") == {"c1.h1.a": ""}
        assert bench.on("c2", "h2") == {"c2.h2.b": ""}
        assert not bench.c1.records
        assert not bench.c1.noted

    simulate(story)


def test_refused_names_the_rows_that_said_no() -> None:
    """4 + 1 of 4 CPUs: nothing is changed anywhere, and the reason is told by row."""

    async def story(bench: Bench) -> None:
        result = await bench.commit(part("c1", "h1", "a"), part("c2", "h2", "b", vcpu=5))
        assert result == Refused({("c2", "h2"): "VCPU:no_capacity"})
        await bench.sets.close(5.0)
        assert bench.on("c1", "h1") == bench.on("c2", "h2") == {}
        assert not bench.c1.records

    simulate(story)


def test_one_row_needs_no_record() -> None:
    """Exchange on one row is one LWT, and nothing is noted."""

    async def story(bench: Bench) -> None:
        await bench.commit(part("c1", "h1", "a", vcpu=4))
        before = len(bench.c1.applied)
        result = await bench.commit(part("c1", "h1", "b", vcpu=4, drops=("c1.h1.a",)))
        assert isinstance(result, Committed)
        assert bench.on("c1", "h1") == {"c1.h1.b": ""}
        assert len(bench.c1.applied) - before == 1
        assert not bench.c1.decided

    simulate(story)


def test_prepare_rides_with_others_in_one_transaction() -> None:
    """A claim, a prepare and the settling of another write set that wait for one row: one LWT."""

    async def story(bench: Bench) -> None:
        await left_open(bench, Decision.COMMITTED)
        (open_,) = bench.c1.records
        writer = await bench.writer("c1")
        before = len(bench.c1.applied)
        await asyncio.gather(
            writer.submit("h1", part("c1", "h1", "b").adds[0], deadline_s=1.0),  # type: ignore[arg-type]
            writer.submit("h1", Prepare("c1.0.x", part("c1", "h1", "c").adds), deadline_s=1.0),
            writer.submit("h1", Settle(open_, committed=True), deadline_s=1.0),
        )
        assert bench.on("c1", "h1") == {"c1.h1.a": "", "c1.h1.b": "", "c1.h1.c": "+c1.0.x"}
        assert len(bench.c1.applied) - before == 1

    simulate(story)


def test_group_row_is_made_by_the_first_and_decides_for_the_second() -> None:
    """Anti-affinity of cells: the second member in the same cell is refused by the group row."""

    async def story(bench: Bench) -> None:
        for name, reason in (("a", ""), ("b", "group_anti_affinity")):
            mine = part("c1", "h1", name)
            place = Place("r", "c1", "h1")
            join = JoinGroup(mine.adds[0].claim, Policy.ANTI_AFFINITY, Scope.CELL, place)
            result = await bench.commit(mine, Participant("c1", "c1.g", (join,)))
            if reason:
                assert result == Refused({("c1", "c1.g"): reason})
            else:
                assert isinstance(result, Committed)
            await bench.sets.close(5.0)
        assert bench.c1.rows["c1.g"].kind is RowKind.GROUP
        assert bench.on("c1", "h1") == {"c1.h1.a": ""}

    simulate(story)


def test_cell_that_is_cut_off_refuses_and_nothing_is_changed() -> None:
    """The error of the cell is told; the other cell's row is as it was."""

    async def story(bench: Bench) -> None:
        bench.c2.cut = True
        with pytest.raises(StoreUnavailable):
            await bench.commit(part("c1", "h1", "a"), part("c2", "h2", "b"))
        await bench.sets.close(5.0)
        assert bench.on("c1", "h1") == {}
        assert not bench.c1.records

    simulate(story)


def test_record_that_is_not_known_to_exist_tags_nothing() -> None:
    """Its insert and the reading of it are lost: given up before any row is touched."""

    async def story(bench: Bench) -> None:
        async def lost(record: CommitRecord) -> bool:
            raise StoreUnknown("lost")

        bench.c1.add_record = lost  # type: ignore[method-assign]
        with pytest.raises(StoreUnavailable):
            await bench.commit(part("c1", "h1", "a"), part("c2", "h2", "b"))
        assert bench.on("c1", "h1") == bench.on("c2", "h2") == {}

    simulate(story)


def test_lost_commit_is_answered_from_the_record() -> None:
    """The answer to the commit is lost, but it applied: the caller hears that it did."""

    async def story(bench: Bench) -> None:
        decide = bench.c1.decide_record

        async def deaf(writeset: str, decision: Decision) -> bool:
            await decide(writeset, decision)
            raise StoreUnknown("lost")

        bench.c1.decide_record = deaf  # type: ignore[method-assign]
        result = await bench.commit(part("c1", "h1", "a"), part("c2", "h2", "b"))
        assert isinstance(result, Committed)

    simulate(story)


def test_record_that_is_gone_is_no_answer() -> None:
    """Others decided and forgot it: committed or aborted, nobody can say any more."""

    async def story(bench: Bench) -> None:
        async def late(writeset: str, decision: Decision) -> bool:
            del bench.c1.records[writeset]
            return False

        bench.c1.decide_record = late  # type: ignore[method-assign]
        with pytest.raises(StoreUnknown):
            await bench.commit(part("c1", "h1", "a"), part("c2", "h2", "b"))

    simulate(story)


def test_write_set_that_recovery_aborted_is_a_conflict() -> None:
    """Nothing was changed; the caller tries again under new ids."""

    async def story(bench: Bench) -> None:
        decide = bench.c1.decide_record

        async def slow(writeset: str, decision: Decision) -> bool:
            await decide(writeset, Decision.ABORTED)
            return False

        bench.c1.decide_record = slow  # type: ignore[method-assign]
        with pytest.raises(Conflict):
            await bench.commit(part("c1", "h1", "a"), part("c2", "h2", "b"))
        await bench.sets.close(5.0)
        assert bench.on("c1", "h1") == {}

    simulate(story)


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param((), id="no row"),
        pytest.param((part("c1", "h1", "a"), part("c1", "h1", "b")), id="a row twice"),
        pytest.param(
            tuple(part("c1", f"h{n}", "a") for n in range(ROWS_MAX + 1)), id="more than the bound"
        ),
    ],
)
def test_what_makes_no_write_set(parts: tuple[Participant, ...]) -> None:
    """Refused before anything is written."""

    async def story(bench: Bench) -> None:
        with pytest.raises(InvalidInput):
            await bench.commit(*parts)
        assert not bench.c1.noted

    simulate(story)


# -- recovery


async def left_open(bench: Bench, decision: Decision) -> str:
    """A write set whose coordinator died: both rows tagged, the record as it was left."""
    writeset = ids.new_writeset_id("c1", bench.now_us() // 1000)
    for cell, host in (("c1", "h1"), ("c2", "h2")):
        add = part(cell, host, "a").adds
        row = bench.stores.by_cell[cell].rows[host]
        writer = await bench.writer(cell)
        await writer.submit(row.host, Prepare(writeset, add), deadline_s=1.0)
    rows = (RowKey("c1", "h1"), RowKey("c2", "h2"))
    bench.c1.records[writeset] = CommitRecord(writeset, decision, rows, bench.now_us() // 1000)
    bench.c1.noted[writeset] = ids.writeset_slot(writeset)
    return writeset


OUTCOMES = [
    pytest.param(Decision.COMMITTED, 0.0, True, id="committed: carried out"),
    pytest.param(Decision.ABORTED, 0.0, False, id="aborted: undone"),
    pytest.param(Decision.PREPARING, 6.0, False, id="open and old: aborted and undone"),
    pytest.param(Decision.PREPARING, 1.0, None, id="open and young: left alone"),
]


@pytest.mark.parametrize(("decision", "age_s", "stays"), OUTCOMES)
def test_recovery_of_a_cell(decision: Decision, age_s: float, stays: bool | None) -> None:
    """Every row of a write set, in whatever cell, is settled as the record says."""

    async def story(bench: Bench) -> None:
        writeset = await left_open(bench, decision)
        await asyncio.sleep(age_s)
        await bench.recovery.recover_cell("c1")
        tags = {True: {"": 2}, False: {}, None: {f"+{writeset}": 2}}[stays]
        found = [*bench.on("c1", "h1").values(), *bench.on("c2", "h2").values()]
        assert {tag: found.count(tag) for tag in found} == tags
        assert writeset in bench.c1.records
        await asyncio.sleep(200)
        await bench.recovery.recover_cell("c1")
        assert not bench.c1.records
        assert not bench.c1.noted

    simulate(story)


@pytest.mark.parametrize(("decision", "age_s", "stays"), OUTCOMES)
def test_sweeping_one_row(decision: Decision, age_s: float, stays: bool | None) -> None:
    """Whoever meets a tag decides it the same way, from the row alone."""

    async def story(bench: Bench) -> None:
        writeset = await left_open(bench, decision)
        await asyncio.sleep(age_s)
        await bench.recovery.sweep_row("c2", "h2")
        tags = {True: [""], False: [], None: [f"+{writeset}"]}[stays]
        assert list(bench.on("c2", "h2").values()) == tags

    simulate(story)


def test_tag_without_a_record_is_undone() -> None:
    """A late prepare of what was aborted and forgotten holds nothing for ever."""

    async def story(bench: Bench) -> None:
        writeset = await left_open(bench, Decision.PREPARING)
        del bench.c1.records[writeset]
        await bench.recovery.sweep_row("c2", "h2")
        assert bench.on("c2", "h2") == {}

    simulate(story)


def test_record_that_cannot_be_reached_says_nothing() -> None:
    """The tag stays while the home cell is cut off."""

    async def story(bench: Bench) -> None:
        await left_open(bench, Decision.COMMITTED)
        bench.c1.cut = True
        await bench.recovery.sweep_row("c2", "h2")
        assert len(bench.on("c2", "h2")) == 1

    simulate(story)


def test_what_was_noted_before_a_long_silence_is_found_after_it() -> None:
    """The minutes that no pass could read are read by the next that can."""

    async def story(bench: Bench) -> None:
        await bench.recovery.recover_cell("c1")
        bench.recovery._backlog["c1"] = 0  # the past is read
        await left_open(bench, Decision.COMMITTED)
        bench.c1.cut = True
        for _ in range(8):
            await asyncio.sleep(600)
            with pytest.raises(StoreUnavailable):
                await bench.recovery.recover_cell("c1")
        bench.c1.cut = False
        await bench.recovery.recover_cell("c1")
        assert not bench.c1.records
        assert list(bench.on("c2", "h2").values()) == [""]

    simulate(story)


def test_record_stays_while_a_row_cannot_be_read() -> None:
    """It is deleted only when all its rows were seen without its tags."""

    async def story(bench: Bench) -> None:
        writeset = await left_open(bench, Decision.COMMITTED)
        bench.c2.cut = True
        await asyncio.sleep(200)
        await bench.recovery.recover_cell("c1")
        assert writeset in bench.c1.records
        bench.c2.cut = False
        await bench.recovery.recover_cell("c1")
        assert not bench.c1.records
        assert list(bench.on("c2", "h2").values()) == [""]

    simulate(story)


@pytest.mark.parametrize(
    ("cut", "stays"),
    [
        pytest.param(False, False, id="the claim is gone"),
        pytest.param(True, True, id="the claim's cell is cut off"),
    ],
)
def test_entry_goes_with_its_claim(cut: bool, stays: bool) -> None:
    """An entry of a pool or group leaves once the claim it goes with has left."""

    async def story(bench: Bench) -> None:
        claim = AddClaim("c1.h1.x", "i", "r", "p", demand_of({"VCPU": 1}), 0, anchor="c2.h2.gone")
        await (await bench.writer("c1")).submit("h1", claim, deadline_s=1.0)
        bench.c2.cut = cut
        await bench.recovery.sweep_row("c1", "h1")
        assert bool(bench.on("c1", "h1")) is stays

    simulate(story)


def test_lease_that_ended_is_swept() -> None:
    """A claim nobody adopted goes; the row as it then is is given back."""

    async def story(bench: Bench) -> None:
        claim = AddClaim("c1.h1.x", "i", "r", "p", demand_of({"VCPU": 1}), 1)
        await (await bench.writer("c1")).submit("h1", claim, deadline_s=1.0)
        row = await bench.recovery.sweep_row("c1", "h1")
        assert row is not None
        assert row.claims == ()
        assert await bench.recovery.sweep_row("c1", "nowhere") is None

    simulate(story)
