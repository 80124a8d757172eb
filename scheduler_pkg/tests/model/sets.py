"""A model of write sets: several rows changed as one, decided by one record (``claims/writeset.py``).

Each row has room for one entry. A write set T adds entries ``T@row`` and drops others; its record is
``absent`` (also: deleted), ``preparing``, ``committed`` or ``aborted``. A coordinator tags its rows in
parallel; who recovers may come at any time, also while the coordinator is at work, as nobody's clock
can be trusted. For the same reason a decided record may be deleted as soon as its rows are clean.
``without`` names the one rule that a mutant leaves out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from .explore import Await, Fact, Facts, Faults, Lwt, Make, Process, Read, Say, Scenario, Steps
from .explore import Violation as Wrong

ABSENT: Final = ("absent",)
PREPARING: Final = ("preparing",)
COMMITTED: Final = ("committed",)
ABORTED: Final = ("aborted",)


class Entry(NamedTuple):
    """``tag``: empty, ``+T`` or ``-T``."""

    id: str
    tag: str = ""


class Row(NamedTuple):
    rev: int
    entries: tuple[Entry, ...] = ()

    def to(self, entries: tuple[Entry, ...]) -> Row:
        return Row(self.rev + 1, tuple(sorted(entries)))

    def find(self, entry: str) -> Entry | None:
        return next((e for e in self.entries if e.id == entry), None)

    def shows(self, writeset: str) -> bool:
        return any(e.tag[1:] == writeset for e in self.entries)


class Plan(NamedTuple):
    """What a write set does to each of its rows: the entries it drops; it adds one where ``adds``."""

    adds: tuple[str, ...]
    drops: tuple[tuple[str, str], ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(sorted({*self.adds, *(row for row, _ in self.drops)}))


def answered(who: str, answer: str) -> Fact:
    return ("answer", who, answer)


def used(entries: tuple[Entry, ...]) -> int:
    """Settled entries, and for each write set the larger of what it adds and what it drops."""
    total = sum(not e.tag for e in entries)
    for writeset in {e.tag[1:] for e in entries if e.tag}:
        signs = [e.tag[0] for e in entries if e.tag[1:] == writeset]
        total += max(signs.count("+"), signs.count("-"))
    return total


class Sets:
    """The protocol, less the rule ``without``."""

    def __init__(self, plans: dict[str, Plan], without: str = "") -> None:
        self.plans = plans
        self.without = without

    def fits(self, entries: tuple[Entry, ...]) -> bool:
        if self.without == "what will be added counts":
            entries = tuple(e for e in entries if e.tag[:1] != "+" or e is entries[-1])
        if self.without == "what will be dropped counts":
            entries = tuple(e for e in entries if e.tag[:1] != "-")
        return used(entries) <= 1

    # -- the coordinator of T: one process, and one for each row that it tags

    def coordinate(self, t: str) -> Steps:
        """Record, tags, decision, answer. What it does afterwards is what recovery does."""
        rows = self.plans[t].rows
        if self.without == "record before tags":
            yield Say(("go", t))
        else:
            known = yield from self.make(t)
            if not known:
                yield Make(answered(t, "no"))
                return
            yield Say(("go", t))
        tagged = True
        for row in rows:
            said = yield Await((("tagged", t, row), ("refused", t, row)))
            tagged = tagged and said[0] == "tagged"
        if self.without == "record before tags":
            yield from self.make(t)
        if not tagged:
            # No commit was sent, so none will come: the answer needs no decision.
            yield Make(answered(t, "no"))
            return
        decision = yield from self.decide(t, COMMITTED)
        if decision == ABSENT and self.without != "a missing record says nothing":
            return  # decided and forgotten by others: the caller hears that it is open
        yield Make(answered(t, "yes" if decision == COMMITTED else "no"))

    def make(self, t: str) -> Steps:
        """Make the record; whether it is known to be there."""
        done = yield Lwt(t, "absent", PREPARING)
        if done:
            return True
        record = yield Read(t)
        return record != ABSENT

    def decide(self, t: str, wanted: tuple[str]) -> Steps:
        """What the record says once it is decided."""
        while True:
            done = yield Lwt(t, "preparing", wanted)
            if done:
                return wanted
            if done is None and self.without == "an open decision is read":
                return ABORTED
            record = yield Read(t)
            if record != PREPARING:
                return record

    def tag(self, t: str, row: str) -> Steps:
        """Tag one row, and say so once it is certain."""
        yield Await((("go", t),))
        plan = self.plans[t]
        drops = tuple(entry for place, entry in plan.drops if place == row)
        sent = 0
        while True:
            now = yield Read(row)
            if now.shows(t):
                break
            new = self.prepared(now, t, row, drops)
            if new is None or (sent and sent != now.rev):
                yield Say(("refused", t, row))
                return
            expect = None if self.without == "revision is compared" else now.rev
            done = yield Lwt(row, expect, now.to(new))
            if done or (done is None and self.without == "every tag is certain"):
                break
            sent = now.rev if done is None else sent
        yield Say(("tagged", t, row))

    def prepared(
        self, now: Row, t: str, row: str, drops: tuple[str, ...]
    ) -> tuple[Entry, ...] | None:
        """The entries with T's tags; None if that cannot be."""
        for dropped in drops:
            held = now.find(dropped)
            if held is None or (held.tag and self.without != "a tagged entry is frozen"):
                return None
        entries = tuple(Entry(e.id, f"-{t}") if e.id in drops else e for e in now.entries)
        if row in self.plans[t].adds:
            entries = (*entries, Entry(f"{t}@{row}", f"+{t}"))
        return entries if self.fits(entries) else None

    def settle(self, row: str, t: str, committed: bool) -> Steps:
        """Carry a decision out on a row, until it shows nothing of T."""
        while True:
            now = yield Read(row)
            if not now.shows(t):
                return
            done = yield Lwt(row, now.rev, now.to(self.settled(now, t, committed)))
            if done:
                return

    def settled(self, now: Row, t: str, committed: bool) -> tuple[Entry, ...]:
        kept = "+" if committed else "-"
        return tuple(
            Entry(e.id) if e.tag[1:] == t else e
            for e in now.entries
            if e.tag[1:] != t or e.tag[0] == kept
        )

    # -- others

    def claim(self, who: str, row: str) -> Steps:
        """A claim of one row; it is answered, and stays."""
        entry, sent = f"{who}@{row}", 0
        while True:
            now = yield Read(row)
            if now.find(entry) is not None:
                break
            new = (*now.entries, Entry(entry))
            if (sent and sent != now.rev) or not self.fits(new):
                return
            done = yield Lwt(row, now.rev, now.to(new))
            if done:
                break
            sent = now.rev if done is None else sent
        yield Make(answered(who, "yes"))

    def release(self, entry: str, row: str) -> Steps:
        """Give a settled entry up; a tagged one is left alone."""
        while True:
            now = yield Read(row)
            held = now.find(entry)
            if held is None or (held.tag and self.without != "a tagged entry is frozen"):
                return
            left = tuple(e for e in now.entries if e.id != entry)
            done = yield Lwt(row, now.rev, now.to(left))
            if done:
                yield Make(answered(f"release of {entry}", "yes"))
                return

    # -- recovery: anybody, at any time

    def recover_row(self, row: str) -> Steps:
        """Decide the tags of a row: the row first, the records second."""
        early: tuple[tuple[str], ...] = ()
        if self.without == "row first and record second":
            for t in sorted(self.plans):
                record = yield Read(t)
                early = (*early, record)
        now = yield Read(row)
        for t in sorted({e.tag[1:] for e in now.entries if e.tag}):
            if early:
                record = early[sorted(self.plans).index(t)]
            else:
                record = yield Read(t, far=True)
            if record is None:
                if self.without != "out of reach is not missing":
                    continue
                record = ABSENT
            if record == PREPARING and self.without != "abort before any roll back":
                done = yield Lwt(t, "preparing", ABORTED)
                record = ABORTED if done else (yield Read(t))
                if record == PREPARING:
                    continue
            if record == ABSENT and self.without == "missing means aborted, not open":
                continue
            committed = record == COMMITTED
            if record == ABSENT and self.without == "missing means aborted, not committed":
                committed = True
            yield from self.settle(row, t, committed)

    def recover_record(self, t: str) -> Steps:
        """Abort what is open, clean its rows, and delete the record once all are."""
        record = yield Read(t)
        if record == ABSENT:
            return
        if record == PREPARING:
            yield Lwt(t, "preparing", ABORTED)
            record = yield Read(t)
            if record in (PREPARING, ABSENT):
                return
        if self.without != "the record outlives its tags":
            for row in self.plans[t].rows:
                yield from self.settle(row, t, record == COMMITTED)
        yield Lwt(t, record[0], ABSENT)


def scenario(
    name: str,
    sets: Sets,
    store: dict[str, Any],
    *others: Process,
    faults: Faults,
    during: tuple[str, ...] = (),
) -> Scenario:
    """All write sets of ``sets`` and ``others``; recovery of all in the end, and ``during`` the run of
    the rows and records that are named."""
    coordinators = tuple(
        process
        for t, plan in sets.plans.items()
        for process in (
            Process(t, sets.coordinate, (t,), group=t),
            *(Process(f"{t} on {row}", sets.tag, (t, row), group=t) for row in plan.rows),
        )
    )
    rows = tuple(key for key, value in store.items() if isinstance(value, Row))
    recovery = (
        *(Process(f"recovery of {row}", sets.recover_row, (row,), loops=True) for row in rows),
        *(Process(f"recovery of {t}", sets.recover_record, (t,), loops=True) for t in sets.plans),
    )
    meanwhile = tuple(process for process in recovery if process.args[0] in during)
    records = dict.fromkeys(sets.plans, ABSENT)

    def safe(now: dict[str, Any], facts: Facts) -> None:
        for row in rows:
            if used(now[row].entries) > 1:
                raise Wrong(f"row {row} has room for one and holds {now[row].entries}")
        for _, who, answer in [fact for fact in facts if fact[0] == "answer"]:
            _kept(sets.plans, now, who, answer, facts)

    def right(now: dict[str, Any], facts: Facts) -> None:
        for row in rows:
            if any(entry.tag for entry in now[row].entries):
                raise Wrong(f"row {row} keeps a tag for ever: {now[row].entries}")
        for t, plan in sets.plans.items():
            if now[t] != ABSENT:
                raise Wrong(f"the record of {t} stays: {now[t]}")
            there = {row for row in plan.adds if now[row].find(f"{t}@{row}")}
            if there not in (set(), set(plan.adds)):
                raise Wrong(f"half of {t} is there: {sorted(there)}")

    return Scenario(
        name,
        {**store, **records},
        (*coordinators, *others, *meanwhile),
        faults,
        safe,
        lambda number: recovery,
        right,
    )


def _kept(plans: dict[str, Plan], now: dict[str, Any], who: str, answer: str, facts: Facts) -> None:
    """Raises Wrong if what ``who`` was told is not so."""
    plan = plans.get(who)
    if plan is None:
        if not who.startswith("release of ") and not any(
            entry.id.startswith(f"{who}@")
            for row in now.values()
            if isinstance(row, Row)
            for entry in row.entries
        ):
            raise Wrong(f"{who} was told yes, and its entry is nowhere")
        return
    for row in plan.adds:
        entry = now[row].find(f"{who}@{row}")
        there = entry is not None and (not entry.tag or now[who] == COMMITTED)
        if there != (answer == "yes"):
            raise Wrong(f"{who} was told {answer}, and row {row} holds {now[row].entries}")
    for row, dropped in plan.drops:
        if answer == "yes" and answered(f"release of {dropped}", "yes") in facts:
            raise Wrong(f"{dropped} on {row} was both released and moved by {who}")
