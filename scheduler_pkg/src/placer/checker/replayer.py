"""A host's row replayed revision by revision, every bound verified after each.

Sums are kept by difference: a revision costs as much as what it changed, however long the row is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from msgspec import Struct

from placer.checker.verdict import Kind
from placer.errors import UnknownResourceClass
from placer.history import Write, WriteOutcome
from placer.model import resource_classes
from placer.model.records import ClaimState, HostRow, HostStatus, Inventory, Record

#: Order of a claim's life; a group commit may take several steps in one revision, never one back.
_ORDER: Final = {state: place for place, state in enumerate(ClaimState)}

#: States that a claim may leave the row from: in neither can an instance come into being.
_LEAVES_FROM: Final = frozenset({ClaimState.CLAIMED, ClaimState.DELETING})


#: Problems of one row that are told with the claims that show them; all are counted.
SHOWN_MAX: Final = 100

#: Stands for a record that was not there.
_NOTHING: Final = Record(id="", provider="", amounts={})


class Life(Struct):
    """What the history says of a claim: where it is, or how it left.

    ``made_rev`` put it on its row (0: not known), under ``tag`` if a write set did. ``built_us`` is
    when it was certainly built and ``left_us`` when it may have begun to go; 0: never. ``share``: an
    entry of a pool, a group or a quota: no place of an instance.
    """

    host: str
    consumer: str
    state: ClaimState
    lease_until_ms: int
    epoch: int = 0
    request: str = ""
    trace: str = ""
    tag: str = ""
    share: bool = False
    made_rev: int = 0
    built_us: int = 0
    left_us: int = 0
    dropped_rev: int = 0
    expired: bool = False
    aborted: bool = False
    open: bool = False


class Trace(Struct):
    """What a row shows of a write set: the revisions at which it was tagged, carried out, undone."""

    tagged: int = 0
    carried: int = 0
    undone: int = 0


class Problem(Struct, frozen=True):
    """A broken bound at revision ``rev``, in words that name no host; ``claims`` show it."""

    kind: Kind
    rev: int
    words: str
    claims: tuple[str, ...] = ()


class Replayer:
    """The state of one host's row, and the lives of all claims that were ever on it."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.records: dict[str, Record] = {}
        self.status = HostStatus.UP
        self.lives: dict[str, Life] = {}
        self.problems: list[Problem] = []
        self.shrunk = 0
        self.traces: dict[str, Trace] = {}
        #: {(write set, slot, device): (amount to be added, amount to be dropped)}
        self._open: dict[tuple[str, str, str], tuple[int, int]] = {}
        self._capacity: dict[str, int] = {}
        self._offered: dict[str, Inventory] = {}
        self._promised: dict[str, int] = {}
        self._given: dict[tuple[str, str], int] = {}

    def apply(self, write: Write) -> None:
        """Take the row to ``write.next`` and verify all that it touched."""
        touched: set[str] = set()
        grew: set[tuple[str, str]] = set()
        # Removed amounts first, then what is offered: a swap in one revision never needs both.
        for record_id in write.drop:
            self._drop(record_id, write, touched)
        offers = [record for record in write.put if not record.is_claim]
        for record in offers:
            self._offer(record, touched)
        for record in write.put:
            if record.is_claim:
                self._put(record, write, touched, grew)
        self.status = write.status
        self._verify(write.next, touched, grew, bool(offers))

    def live_only(self, write: Write) -> None:
        """Follow the claims of ``write`` without sums: the row before it is not known."""
        for record_id in write.drop:
            if (life := self.lives.get(record_id)) and not life.dropped_rev:
                life.dropped_rev = write.next
                life.expired = _lapsed(life, write)
        for record in write.put:
            if record.is_claim:
                self._follow(record, write)

    def differs_from(self, row: HostRow) -> str:
        """How ``row`` differs from the replayed state; empty if it does not."""
        actual = {record.id: record for record in row.records}
        missing = sorted(self.records.keys() - actual.keys())
        extra = sorted(actual.keys() - self.records.keys())
        changed = sorted(key for key, record in self.records.items() if actual.get(key) != record)
        if missing:
            return f"the row lacks {_some(missing)}, which the history put there"
        if extra:
            return f"the row has {_some(extra)}, which no recorded write put there"
        if changed:
            return f"{_some(changed)} is not as it was last written"
        if row.status is not self.status:
            return f"the row says {row.status}, the last write said {self.status}"
        return ""

    # -- the parts of a revision

    def _drop(self, record_id: str, write: Write, touched: set[str]) -> None:
        record = self.records.pop(record_id, None)
        if record is None:
            self._problem(
                Kind.BAD_STEP, write.next, f"{record_id} was dropped but was not there", record_id
            )
            return
        if not record.is_claim:
            self._withdraw(record, touched)
            return
        self._count(record, -1, touched)
        life = self.lives[record_id]
        life.dropped_rev = write.next
        life.left_us = life.left_us or write.started_us
        life.expired = not record.tag and _lapsed(life, write)
        stays = self._settled(record, write)
        life.aborted = record.tag[:1] == "+" and not stays
        if stays and record.state not in _LEAVES_FROM and not record.data.get("anchor"):
            self._problem(
                Kind.BAD_STEP,
                write.next,
                f"claim {record_id} was removed while {record.state}",
                record_id,
            )

    def _put(
        self, record: Record, write: Write, touched: set[str], grew: set[tuple[str, str]]
    ) -> None:
        rev = write.next
        before = self.records.get(record.id, _NOTHING)
        self._tags(before, record, write)
        self._follow(record, write)
        self._well_formed(record, before, rev)
        self._count(before, -1, touched)
        self._count(record, 1, touched)
        # Only what takes more than it did can book twice: a step or a release cannot.
        for name, amount in record.amounts.items():
            if amount < before.amounts.get(name, 0):
                grew.add((name, ""))
        if record.units != before.units:
            for name, devices in record.units.items():
                had = before.units.get(name, {})
                grew.update((name, d) for d, amount in devices.items() if amount > had.get(d, 0))
        self.records[record.id] = record

    def _settled(self, record: Record, write: Write) -> bool:
        """Note what ``write`` did to the tag of ``record``, which then had none or was gone.

        Whether the record itself was to stay; then something else took it away.
        """
        if not record.tag:
            return True
        committed = record.writeset in write.committed
        trace = self.traces.setdefault(record.writeset, Trace())
        if committed:
            trace.carried = trace.carried or write.next
        else:
            trace.undone = trace.undone or write.next
        return (record.tag[0] == "+") is committed

    def _tags(self, before: Record, record: Record, write: Write) -> None:
        """A tagged claim is frozen until its write set is settled, and then goes as that says."""
        if before.tag and record.tag == before.tag:
            if record != before:
                self._problem(
                    Kind.NOT_FROZEN,
                    write.next,
                    f"claim {record.id} was changed while {record.tag} was open",
                    record.id,
                )
            return
        if before.tag and not self._settled(before, write):
            self._problem(
                Kind.NOT_FROZEN,
                write.next,
                f"claim {record.id} lost {before.tag} and stayed, against what was settled",
                record.id,
            )
        if not record.tag:
            return
        trace = self.traces.setdefault(record.writeset, Trace())
        trace.tagged = trace.tagged or write.next
        if (record.tag[0] == "+") is not (before is _NOTHING):
            self._problem(
                Kind.BAD_RECORD,
                write.next,
                f"claim {record.id} cannot be tagged {record.tag}",
                record.id,
            )

    def _follow(self, record: Record, write: Write) -> None:
        """The claim's life goes on, forward only."""
        assert record.state is not None
        rev = write.next
        life = self.lives.get(record.id)
        if life is None:
            life = self.lives[record.id] = life_of(self.host, record, rev)
        elif life.dropped_rev:
            self._problem(
                Kind.RESURRECTED,
                rev,
                f"claim {record.id} came back; it had left at revision {life.dropped_rev}",
                record.id,
            )
            life.dropped_rev = 0
        elif _ORDER[record.state] < _ORDER[life.state]:
            self._problem(
                Kind.BAD_STEP,
                rev,
                f"claim {record.id} went from {life.state} to {record.state}",
                record.id,
            )
        life.state = record.state
        life.lease_until_ms = record.lease_until_ms
        life.open = bool(record.tag)
        if record.state is ClaimState.BUILT:
            if not life.built_us and write.outcome is WriteOutcome.APPLIED:
                life.built_us = write.ended_us
        elif record.state is ClaimState.DELETING and not life.left_us:
            life.left_us = write.started_us

    def _well_formed(self, record: Record, before: Record, rev: int) -> None:
        """A claim only takes, and its devices are there and add up to what it takes.

        Only what it takes anew is judged: a report may withdraw a device from under a claim, which
        keeps it through all its further steps.
        """
        for name, amount in record.amounts.items():
            devices, had = record.units.get(name, {}), before.units.get(name, {})
            if amount == before.amounts.get(name) and devices == had:
                continue
            if amount >= 0:
                self._problem(
                    Kind.BAD_RECORD,
                    rev,
                    f"claim {record.id} takes {-amount} of {name}",
                    record.id,
                )
            offered = self._offered.get(name)
            if (devices or (offered and offered.units)) and sum(devices.values()) != -amount:
                self._problem(
                    Kind.BAD_RECORD,
                    rev,
                    f"claim {record.id} takes {-amount} of {name} "
                    f"but its devices give {sum(devices.values())}",
                    record.id,
                )
            for device, given in devices.items():
                if given > had.get(device, 0) and not self._room(name, device):
                    self._problem(
                        Kind.BAD_RECORD,
                        rev,
                        f"claim {record.id} takes device {device} of {name}, which is not there",
                        record.id,
                    )

    def _offer(self, record: Record, touched: set[str]) -> None:
        """Inventory: what may be promised from here on."""
        self._withdraw(self.records.get(record.id, _NOTHING), touched)
        for name, inventory in record.inventories.items():
            touched.add(name)
            self._capacity[name] = inventory.capacity
            self._offered[name] = inventory
        self.records[record.id] = record

    def _withdraw(self, record: Record, touched: set[str]) -> None:
        for name in record.inventories:
            touched.add(name)
            self._capacity.pop(name, None)
            self._offered.pop(name, None)

    def _count(self, record: Record, sign: int, touched: set[str]) -> None:
        for name, amount in record.amounts.items():
            touched.add(name)
            more = self._difference(record.tag, name, "", -sign * amount)
            self._promised[name] = self._promised.get(name, 0) + more
        for name, devices in record.units.items():
            for device, amount in devices.items():
                more = self._difference(record.tag, name, device, sign * amount)
                key = (name, device)
                self._given[key] = self._given.get(key, 0) + more

    def _difference(self, tag: str, name: str, device: str, amount: int) -> int:
        """By how much a sum changes: settled amounts count as they are, those of an open write set
        by the larger of what it adds and what it drops."""
        if not tag:
            return amount
        key = (tag[1:], name, device)
        adds, drops = self._open.get(key, (0, 0))
        before = max(adds, drops)
        adds, drops = (adds + amount, drops) if tag[0] == "+" else (adds, drops + amount)
        self._open[key] = adds, drops
        return max(adds, drops) - before

    def _verify(
        self, rev: int, touched: set[str], grew: set[tuple[str, str]], offered: bool
    ) -> None:
        for name in touched:
            promised, capacity = self._promised.get(name, 0), self._capacity.get(name, 0)
            if promised < 0:
                self._problem(Kind.BAD_RECORD, rev, f"{-promised} of {name} less than nothing")
            elif promised > capacity and (name, "") in grew:
                self._problem(
                    Kind.DOUBLE_BOOKING,
                    rev,
                    f"{promised} of {name} promised, {capacity} there",
                    *self._takers(name, "", capacity),
                )
            elif promised > capacity:
                self.shrunk += offered
        for name, device in grew:
            given = self._given.get((name, device), 0)
            room = self._room(name, device)
            if room and given > room:
                self._problem(
                    Kind.DOUBLE_BOOKING,
                    rev,
                    f"device {device} of {name} gives {given}, it has {room}",
                    *self._takers(name, device, room),
                )

    def _room(self, name: str, device: str) -> int:
        """What a device of a slot can give; 0 if it is not there.

        For a class that this version does not know, an equal part for each unit.
        """
        offered = self._offered.get(name)
        if offered is None:
            return 0
        try:
            return resource_classes.get(name).device_capacity(offered, device)
        except UnknownResourceClass:
            return offered.capacity // len(offered.units) if device in offered.units else 0

    def _takers(self, name: str, device: str, room: int) -> tuple[str, ...]:
        """The fewest claims that together take more than ``room``: the largest ones."""
        if len(self.problems) >= SHOWN_MAX:
            return ()
        taken = {
            record.id: record.units.get(name, {}).get(device, 0)
            if device
            else -record.amounts.get(name, 0)
            for record in self.records.values()
            if record.is_claim
        }
        shown: list[str] = []
        total = 0
        for claim in sorted(taken, key=lambda claim: (-taken[claim], claim)):
            if total > room:
                break
            shown.append(claim)
            total += taken[claim]
        return tuple(shown)

    def _problem(self, kind: Kind, rev: int, words: str, *claims: str) -> None:
        self.problems.append(Problem(kind=kind, rev=rev, words=words, claims=claims))


def life_of(host: str, record: Record, rev: int) -> Life:
    """A claim's life from the revision that put it on its row; 0 for one whose making nobody tells."""
    assert record.state is not None
    return Life(
        host=host,
        consumer=record.consumer,
        state=record.state,
        lease_until_ms=record.lease_until_ms,
        epoch=record.epoch,
        request=record.request,
        trace=record.trace,
        tag=record.writeset,
        share=bool(record.data.get("anchor")),
        made_rev=rev,
        open=bool(record.tag),
    )


def overbooked(row: HostRow) -> Iterator[str]:
    """What the row itself promises beyond what it has, in words. For rows without a whole history."""
    replayer = Replayer(row.host)
    write = Write(
        process="",
        cell="",
        host=row.host,
        rev=row.rev,
        next=row.rev,
        outcome=WriteOutcome.APPLIED,
        started_us=0,
        ended_us=0,
        put=row.records,
    )
    replayer.apply(write)
    for problem in replayer.problems:
        if problem.kind is Kind.DOUBLE_BOOKING:
            yield problem.words


def _lapsed(life: Life, write: Write) -> bool:
    """A claim that still has a lease was never adopted; barred, it is ``deleting``."""
    waited = life.state in (ClaimState.CLAIMED, ClaimState.DELETING) and life.lease_until_ms > 0
    return waited and life.lease_until_ms * 1000 < write.ended_us


def _some(identifiers: list[str]) -> str:
    more = len(identifiers) - 1
    return identifiers[0] + (f" and {more} more" if more else "")
