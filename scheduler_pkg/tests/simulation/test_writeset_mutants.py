"""The simulation of write sets is itself tested: a protocol with one rule removed must be caught.

Each mutant names the rule of the claim protocol that it breaks (rule 1 is "compare the revision", and
so on). One that survives all seeds means that the simulation has gone blind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import pytest

from placer.claims import operations, writeset
from placer.claims.operations import Refusal, Release
from placer.claims.protocol import HostWriter
from placer.claims.recovery import Recovery
from placer.claims.tags import Prepare, Settle
from placer.claims.writeset import Participant, Place, WriteSets
from placer.errors import Conflict, PlacerError, StoreError, StoreUnknown
from placer.history import WriteOutcome
from placer.model import fitting, ids
from placer.model.commit_record import CommitRecord, Decision, RowKey
from placer.model.records import HostRow, Record
from placer.store.base import RecordStore

from .store import SimStore
from .test_mutants import group_judged_by_one
from .test_writesets import run

SEEDS = range(400)
Patch = pytest.MonkeyPatch


def no_rev_check(patch: Patch) -> None:
    """Rule 1: a write that does not look at the revision overwrites another's."""

    async def update_row(self: SimStore, row: HostRow, *, if_rev: int) -> bool:
        def apply() -> bool:
            current = self.rows.get(row.host)
            return self._apply(current.rev if current else 0, row)

        return await self._lwt(apply)

    patch.setattr(SimStore, "update_row", update_row)


def _counting(patch: Patch, counts: Callable[[Record], bool]) -> None:
    """Free amounts are reckoned over those records alone that ``counts`` says."""
    original = fitting.tree_of

    def tree_of(row: Sequence[Record]) -> fitting.Tree:
        return original(tuple(record for record in row if counts(record)))

    patch.setattr(fitting, "tree_of", tree_of)


def count_only_settled(patch: Patch) -> None:
    """Rule 4: what a write set has tagged to be added counts."""
    _counting(patch, lambda record: record.tag[:1] != "+")


def drop_frees_at_once(patch: Patch) -> None:
    """Rule 5: what a write set has tagged to be dropped counts until that is decided."""
    _counting(patch, lambda record: record.tag[:1] != "-")


def record_not_first(patch: Patch) -> None:
    """Rule 6: no tag before the record is known to exist."""

    async def later(
        self: WriteSets,
        store: RecordStore,
        home: str,
        participants: Sequence[Participant],
        until: float,
    ) -> str:
        name = self._new_id(home)
        rows = tuple(RowKey(part.cell, part.host) for part in participants)
        record = CommitRecord(name, Decision.PREPARING, rows, self._clock_us() // 1000)

        async def make() -> None:
            await asyncio.sleep(0.01)
            await self._try_record(store, record)

        await store.note_writeset(name)
        self._spawn(make())
        return name

    patch.setattr(WriteSets, "_make_record", later)


def unknown_prepare_is_ok(patch: Patch) -> None:
    """Rule 7: a tag that may be there is not a tag that is."""
    original = WriteSets._prepare

    async def hopeful(
        self: WriteSets, name: str, part: Participant, until: float, tally: object
    ) -> HostRow | Refusal | PlacerError:
        answer = await original(self, name, part, until, tally)  # type: ignore[arg-type]
        if isinstance(answer, StoreUnknown | Conflict):
            row = self._stores.by_cell[part.cell].rows[part.host]  # type: ignore[attr-defined]
            shown = Prepare(name, part.adds, part.drops).apply(row, 0)
            return answer if isinstance(shown, Refusal) else shown
        return answer

    patch.setattr(WriteSets, "_prepare", hopeful)


def unknown_commit_is_failure(patch: Patch) -> None:
    """Rule 8: after a commit without an answer the record says what became of it."""

    async def hasty(
        self: WriteSets, store: RecordStore, name: str, wanted: Decision, until: float
    ) -> Decision | None:
        try:
            return wanted if await store.decide_record(name, wanted) else Decision.ABORTED
        except StoreError:
            return Decision.ABORTED

    patch.setattr(WriteSets, "_decide", hasty)


def rollback_without_abort(patch: Patch) -> None:
    """Rule 9: an open write set is aborted before anything of it is rolled back."""

    async def decision(self: Recovery, name: str) -> Decision | None:
        store = await self._stores.cell(ids.cell_of(name))
        record = await store.read_record(name)
        if record is None or record.state is Decision.PREPARING:
            return Decision.ABORTED
        return record.state

    patch.setattr(Recovery, "decision", decision)


def record_read_before_row(patch: Patch) -> None:
    """Rule 10: a record that was missing before the tag was seen may have been made since."""

    original = Recovery.sweep_row

    async def sweep_row(self: Recovery, cell: str, host: str) -> HostRow | None:
        for store in self._stores.by_cell.values():  # type: ignore[attr-defined]
            for name in list(store.noted):
                decision = await self.decision(name)
                if decision is not None:
                    writer = await self._writer(cell)
                    await asyncio.sleep(0.01)
                    operation = Settle(name, committed=decision is Decision.COMMITTED)
                    await writer.submit(host, operation, deadline_s=0.5)
        return await original(self, cell, host)

    patch.setattr(Recovery, "sweep_row", sweep_row)


def unreachable_is_missing(patch: Patch) -> None:
    """Rule 11: a record that cannot be read says nothing."""

    async def decision(self: Recovery, name: str) -> Decision | None:
        try:
            store = await self._stores.cell(ids.cell_of(name))
            record = await store.read_record(name)
        except StoreError:
            return Decision.ABORTED
        if record is None:
            return Decision.ABORTED
        return None if record.state is Decision.PREPARING else record.state

    patch.setattr(Recovery, "decision", decision)


def delete_record_early(patch: Patch) -> None:
    """Rule 12: a record outlives its tags."""

    async def settle(
        self: WriteSets, store: RecordStore, name: str, decision: Decision, touched: list[Place]
    ) -> None:
        await store.delete_record(name, if_state=decision)
        await asyncio.gather(*(self._settle_row(name, decision, place) for place in touched))
        await store.forget_writeset(name)

    patch.setattr(WriteSets, "_settle", settle)


def no_retention(patch: Patch) -> None:
    """Rule 13: a missing record is no answer to who committed it, and so it is kept for a while."""
    original = WriteSets._decide

    async def certain(
        self: WriteSets, store: RecordStore, name: str, wanted: Decision, until: float
    ) -> Decision | None:
        return await original(self, store, name, wanted, until) or Decision.ABORTED

    patch.setattr(WriteSets, "_decide", certain)
    patch.setattr(Recovery, "_retained", lambda self, since_ms: True)


def missing_leave(patch: Patch) -> None:
    """Rule 14: the tag of a record that is gone is removed."""
    _missing_means(patch, None)


def missing_confirm(patch: Patch) -> None:
    """Rule 14: ... and never confirmed."""
    _missing_means(patch, Decision.COMMITTED)


def _missing_means(patch: Patch, verdict: Decision | None) -> None:
    original = Recovery.decision

    async def decision(self: Recovery, name: str) -> Decision | None:
        store = await self._stores.cell(ids.cell_of(name))
        if await store.read_record(name) is None:
            return verdict
        return await original(self, name)

    patch.setattr(Recovery, "decision", decision)


def tagged_not_frozen(patch: Patch) -> None:
    """Rule 17: a tagged claim is left alone until its write set is decided."""

    def apply(self: Release, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return operations.without(row, self.claim)

    patch.setattr(Release, "apply", apply)


def tagged_is_dropped_again(patch: Patch) -> None:
    """Section 3: a write set refuses to drop what another has tagged."""
    original = Prepare.apply

    def apply(self: Prepare, row: HostRow, now_ms: int) -> HostRow | Refusal:
        bare = operations.with_records(
            row,
            tuple(
                Record(**{**{f: getattr(r, f) for f in r.__struct_fields__}, "tag": ""})
                if r.id in self.drops
                else r
                for r in row.records
            ),
        )
        return original(self, bare, now_ms)

    patch.setattr(Prepare, "apply", apply)


def rows_not_parted(patch: Patch) -> None:
    """The naive manifest: each row for itself, no record, undone by who made it."""

    async def naive(
        self: WriteSets,
        home: str,
        participants: Sequence[Participant],
        until: float,
        tally: object,
    ) -> writeset.Committed | writeset.Refused:
        rows: dict[Place, HostRow] = {}
        for part in participants:
            writer = await self._writer(part.cell)
            operation = writeset.Alter(self._new_id(home), part.adds, part.drops)
            row = await writer.submit(part.host, operation, deadline_s=0.5)
            if isinstance(row, Refusal):
                return writeset.Refused({part.place: row.reason})
            rows[part.place] = row
        return writeset._committed(rows, participants)

    patch.setattr(WriteSets, "_commit", naive)


def driver_retry(patch: Patch) -> None:
    """Section 9: a driver that sends an LWT again makes a record anew that was deleted."""
    original = SimStore.add_record

    async def twice(self: SimStore, record: CommitRecord) -> bool:
        async def again() -> None:
            await asyncio.sleep(0.3)
            self._change(None, record.id, record)

        self.zombies.append(asyncio.ensure_future(again()))
        return await original(self, record)

    patch.setattr(SimStore, "add_record", twice)


def plain_write(patch: Patch) -> None:
    """Section 9: a host row is written by LWT only."""
    original = HostWriter._write

    async def careless(
        self: HostWriter, old: HostRow | None, new: HostRow, committed: tuple[str, ...] = ()
    ) -> WriteOutcome:
        store = self._store
        assert isinstance(store, SimStore)
        if old is not None and store.rng.random() < 0.1:
            await asyncio.sleep(0.002)
            store.rows[new.host] = new
        return await original(self, old, new, committed)

    patch.setattr(HostWriter, "_write", careless)


def wrong_datacenter(patch: Patch) -> None:
    """Section 9: every LWT of a row goes through the row's own datacenter; two Paxos groups of one
    row each have a history of their own, and the younger write wins between them."""
    original = SimStore.update_row

    async def update_row(self: SimStore, row: HostRow, *, if_rev: int) -> bool:
        if self.rng.random() < 0.8:
            return await original(self, row, if_rev=if_rev)
        elsewhere = self.__dict__.setdefault("elsewhere", {})
        seen = elsewhere.get(row.host, self.rows[row.host])
        await asyncio.sleep(0.005)
        if seen.rev != if_rev:
            return False
        elsewhere[row.host] = row
        self.rows[row.host] = row
        self.applied.append((row.host, if_rev, row))
        return True

    patch.setattr(SimStore, "update_row", update_row)


def no_lease(patch: Patch) -> None:
    """Rule 2: a claim that nobody adopts ends with its lease."""
    patch.setattr(operations, "lapsed", lambda record, now_ms: False)


MUTANTS = [
    no_rev_check,
    no_lease,
    count_only_settled,
    drop_frees_at_once,
    record_not_first,
    unknown_prepare_is_ok,
    unknown_commit_is_failure,
    rollback_without_abort,
    record_read_before_row,
    unreachable_is_missing,
    delete_record_early,
    no_retention,
    missing_leave,
    missing_confirm,
    tagged_not_frozen,
    tagged_is_dropped_again,
    rows_not_parted,
    group_judged_by_one,
    driver_retry,
    plain_write,
    wrong_datacenter,
]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_mutant_is_caught(mutant: Callable[[Patch], None], monkeypatch: Patch) -> None:
    """At least one seed of the simulation fails on the mutant."""
    mutant(monkeypatch)
    assert caught_by(SEEDS) is not None, f"{mutant.__name__} survived {len(SEEDS)} seeds"


def caught_by(seeds: Sequence[int]) -> int | None:
    """The first seed that fails."""
    for seed in seeds:
        try:
            run(seed)
        except (AssertionError, KeyError, RuntimeError):
            return seed
    return None
