"""What must be true of a simulated world, reckoned apart from the code that is tested."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from placer.model import ids
from placer.model.commit_record import Decision
from placer.model.messages import StepKind
from placer.model.records import ClaimState, HostRow, Record

from .world import World


def fails(scenario: Callable[[int], None], seeds: Iterable[int]) -> bool:
    """Whether ``scenario`` finds anything wrong at one of ``seeds``; the rest are not tried then."""
    for seed in seeds:
        try:
            scenario(seed)
        except AssertionError:
            return True
    return False


def used(row: HostRow) -> dict[tuple[str, str], int]:
    """Amount promised of each slot and of each device, by the larger sum of each write set."""
    settled: dict[tuple[str, str], int] = defaultdict(int)
    open_: dict[tuple[str, str, str], dict[str, int]] = defaultdict(lambda: {"+": 0, "-": 0})
    for record in row.claims:
        taken = {(name, ""): -amount for name, amount in record.amounts.items()}
        for name, devices in record.units.items():
            taken.update({(name, device): amount for device, amount in devices.items()})
        for (name, device), amount in taken.items():
            if record.tag:
                open_[record.tag[1:], name, device][record.tag[0]] += amount
            else:
                settled[name, device] += amount
    for (_, name, device), sums in open_.items():
        settled[name, device] += max(sums.values())
    return settled


def room(row: HostRow) -> dict[tuple[str, str], int]:
    """What there is of each slot and of each device."""
    there: dict[tuple[str, str], int] = {}
    for record in row.records:
        for name, inventory in record.inventories.items():
            there[name, ""] = inventory.total
            there.update({(name, unit): 1 for unit in inventory.units})
    return there


class Told:
    """One pass over what applied in all cells, in order."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.final = {
            writeset: state
            for store in world.stores.values()
            for writeset, state in store.decided
            if state not in (None, Decision.PREPARING)
        }
        self.state: dict[str, Decision | None] = {}
        self.rows: dict[tuple[str, str], HostRow] = {}
        self.gone: dict[tuple[str, str], set[str]] = defaultdict(set)
        #: Claims that ever held, by themselves or by a decision.
        self.settled: set[str] = set()

    def judge(self) -> None:
        """Every revision of every row and every state of every record."""
        rows = {cell: iter(store.applied) for cell, store in self.world.stores.items()}
        records = {cell: iter(store.decided) for cell, store in self.world.stores.items()}
        order = next(iter(self.world.stores.values())).order
        for what in order:
            if isinstance(what, str):
                self._record(*next(records[ids.cell_of(what)]))
            else:
                self._row(what, *next(rows[what[0]])[1:])
        for cell, store in self.world.stores.items():
            for host, row in store.rows.items():
                assert self.rows[cell, host] == row, "a row was written past its transactions"

    def _record(self, writeset: str, state: Decision | None) -> None:
        """It is made once, decided once, deleted once."""
        if state is Decision.PREPARING:
            assert writeset not in self.state, "a record was made twice"
        elif state is not None:
            assert self.state[writeset] is Decision.PREPARING, "a record was decided twice"
        self.state[writeset] = state

    def _row(self, place: tuple[str, str], if_rev: int, row: HostRow) -> None:
        before = self.rows.get(place)
        assert (before.rev if before else 0) == if_rev, "two writes follow one revision"
        assert row.rev > if_rev, "a revision did not grow"
        self.rows[place] = row
        there = room(row)
        for what, amount in used(row).items():
            assert 0 <= amount <= there.get(what, 0), f"{amount} of {what} promised on {place}"
        present = {record.id: record for record in row.claims}
        assert len(present) == len(row.claims), "an id is on the row twice"
        self.settled |= {r.id for r in row.claims if self._holds(r)}
        for old in before.claims if before else ():
            new = present.get(old.id)
            if old.tag and (new is None or new.tag != old.tag):
                self._settle(old, new)
            elif old.tag:
                assert new == old, "a tagged claim was changed"
            else:
                _step(old, new)
            if new is None:
                self.gone[place].add(old.id)
        assert self.gone[place].isdisjoint(present), "a claim came back"

    def _holds(self, record: Record) -> bool:
        """Whether it is, or is decided to become, a claim that holds."""
        return record.tag[:1] != "+" or self.final.get(record.writeset) is Decision.COMMITTED

    def _settle(self, old: Record, new: Record | None) -> None:
        """A tag goes only by what was decided before, and as that says.

        What was asked for next may ride in the same LWT, so a claim that stays may go on at once.
        """
        state = self.state.get(old.writeset, Decision.PREPARING)
        assert state is not Decision.PREPARING, f"{old.id} lost {old.tag}, which was open"
        stays = (old.tag[0] == "+") is (self.final[old.writeset] is Decision.COMMITTED)
        if new is None:
            released = self.world.told.get(old.id) != "claimed"
            assert not stays or released, f"{old.id} ({old.tag}) left against the decision"
        else:
            assert stays, f"{old.id} ({old.tag}) stayed against the decision"
            assert new.tag[:1] in ("", "-"), "a tagged claim was tagged anew"


def _step(old: Record, new: Record | None) -> None:
    """A settled record from one revision of its row to the next."""
    if new is None:
        ended = old.state in (ClaimState.CLAIMED, ClaimState.DELETING) or "anchor" in old.data
        assert ended, f"{old.id} left its row while {old.state}"
    elif new.tag:
        assert new.tag[0] == "-", "a settled claim became one to be added"


def judge(world: World) -> None:
    """The rows' whole life, what clients were told, and that nothing is left to be done."""
    told = Told(world)
    told.judge()
    settled = told.settled
    rows = {(c, h): row for c, store in world.stores.items() for h, row in store.rows.items()}
    present = {record.id: record for row in rows.values() for record in row.claims}
    for claim, state in world.told.items():
        if state == "absent":
            assert claim not in settled, "an answer of no was followed by the claim"
        elif state == "claimed":
            assert claim in present, "an acknowledged claim was lost"
            carried = "of" in present[claim].data
            assert present[claim].state is (ClaimState.BUILT if carried else ClaimState.CLAIMED)
        elif state == StepKind.GONE:
            assert claim in settled, "a claim was acknowledged that never was on the row"
            assert claim not in present, "a removed claim came back"
    for names in world.together:
        assert len({name in settled for name in names}) == 1, "a manifest was taken in part"
    for row in rows.values():
        for record in row.claims:
            waits = record.id in world.leased and record.state is ClaimState.CLAIMED
            assert not waits, f"{record.id} outlived its lease"
            assert not record.tag, f"a tag of {record.tag} was left"
            anchor = record.data.get("anchor")
            assert anchor is None or anchor in present, "an entry outlived its claim"
    for store in world.stores.values():
        assert not store.records, "a record was left"
        assert not store.noted, "a write set stayed noted"
