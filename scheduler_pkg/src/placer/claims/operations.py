"""Changes of one row, each a pure function of the row. The protocol merges them in one LWT.

An operation says what it does to a row (``apply``) and whether a row shows that it was done
(``done``). The second settles unknown outcomes: each member of a group is judged by its own id in
the row, never by the fate of the group (claim protocol, rule 3).

A *tagged* entry belongs to a write set that is not decided yet. It is frozen: every operation here
leaves it alone or refuses with ``claim_tagged``, which means "ask again once it is settled"; only
``claims/tags.py`` changes it.
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Struct

from placer.model import fitting, ids, records
from placer.model.fitting import Demand, Group
from placer.model.messages import ProviderReport, StepKind
from placer.model.records import (
    ClaimState,
    HostRow,
    HostStatus,
    Inventory,
    Record,
    RowKind,
)

#: The entry is being decided by a write set: nothing can be said of it yet.
TAGGED = "claim_tagged"


class Refusal(Struct, frozen=True):
    """Why an operation cannot be done on the row it was tried on; a stable word."""

    reason: str


class Operation(Protocol):
    """A change of one row."""

    @property
    def retry_after_unknown(self) -> bool:
        """Whether it may be tried again once its attempt is known to have left no trace.

        False for adding an entry: absent may mean "applied, then removed again", and an id that was
        ever on a row must not come back. The caller retries with a new id.
        """

    def founding(self, host: str) -> HostRow | None:
        """The row it makes where there is none (``rev`` 0); None: it needs one that is there."""

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        """The row with the change (``rev`` untouched), or why not. Equal rows mean nothing to do."""

    def done(self, row: HostRow) -> bool:
        """Whether ``row`` shows that this operation was applied."""


class Change(Struct, frozen=True):
    """What most operations have in common: safe to try again, and only on a row that is there."""

    @property
    def retry_after_unknown(self) -> bool:
        return True

    def founding(self, host: str) -> HostRow | None:
        return None


def with_records(row: HostRow, new: tuple[Record, ...]) -> HostRow:
    return msgspec.structs.replace(row, records=new)


def swap(row: HostRow, record: Record) -> HostRow:
    """``row`` with ``record`` in the place of the one that has its id."""
    return with_records(row, tuple(record if r.id == record.id else r for r in row.records))


def without(row: HostRow, record_id: str) -> HostRow:
    return with_records(row, tuple(r for r in row.records if r.id != record_id))


class AddClaim(Change, frozen=True):
    """Promise what ``demand`` asks for to ``consumer`` until ``lease_until_ms``.

    Arranged on the row itself, so a stale view can choose a full host but never book it.
    ``group``: the server group it belongs to, of which the host may hold ``group_max`` (0: any).
    ``aggregates``: the host must be in one of them. ``image``: what the instance is made from.
    ``anchor``: the claim, on another row, that this entry goes with (a pool's share of an instance);
    it then has no lease and no agent, and is given back when its anchor goes, or with a write set.
    ``shares``: the rows with such entries for this claim; a write set fills them in. ``epoch``: the
    consumer's claims before.
    """

    claim: str
    consumer: str
    request: str
    project: str
    demand: Demand
    lease_until_ms: int
    group: str = ""
    group_max: int = 0
    aggregates: tuple[str, ...] = ()
    anchor: str = ""
    image: str = ""
    trace: str = ""
    epoch: int = 0
    shares: tuple[str, ...] = ()

    @property
    def retry_after_unknown(self) -> bool:
        return False

    def done(self, row: HostRow) -> bool:
        return row.find(self.claim) is not None

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        entry = self.entry(row, now_ms, "")
        if isinstance(entry, Refusal):
            return entry
        return with_records(row, (*row.records, entry))

    def entry(self, row: HostRow, now_ms: int, writeset: str) -> Record | Refusal:
        """The record it would add. What ``writeset`` drops on this row is there to be taken."""
        if row.not_chosen:
            return Refusal(row.not_chosen)
        standing = tuple(r for r in row.records if not writeset or r.tag != f"-{writeset}")
        if self.aggregates and records.aggregates(standing).isdisjoint(self.aggregates):
            return Refusal("not_in_aggregate")
        members = sum(r.group == self.group for r in standing if r.is_claim) if self.group else 0
        if self.group_max and members >= self.group_max:
            return Refusal("group_anti_affinity")
        found = fitting.arrange(self.demand, fitting.tree_of(standing))
        if isinstance(found, str):
            return Refusal(found)
        return Record(
            id=self.claim,
            provider=next(r.provider for r in row.records if not r.is_claim and not r.key),
            amounts={name: -amount for name, amount in found.amounts.items()},
            consumer=self.consumer,
            request=self.request,
            project=self.project,
            state=ClaimState.BUILT if self.anchor else ClaimState.CLAIMED,
            created_ms=now_ms,
            lease_until_ms=0 if self.anchor else self.lease_until_ms,
            units={name: devices for name, devices in found.units.items() if devices},
            group=self.group,
            data={"anchor": self.anchor} if self.anchor else {},
            image=self.image,
            trace=self.trace,
            epoch=self.epoch,
            shares=self.shares,
        )


class AddClaims(Change, frozen=True):
    """Several claims on one row, all or none (a part of a manifest that needs no record)."""

    claims: tuple[AddClaim, ...]

    @property
    def retry_after_unknown(self) -> bool:
        return False

    def done(self, row: HostRow) -> bool:
        return all(claim.done(row) for claim in self.claims)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        for claim in self.claims:
            result = claim.apply(row, now_ms)
            if isinstance(result, Refusal):
                return result
            row = result
        return row


#: Step -> (states it may start from, state it leads to); None: the record is removed.
#: An entry leaves the row only from ``claimed`` or ``deleting``: in neither can an instance come
#: into being (claim protocol, section 6).
_STEPS: dict[StepKind, tuple[tuple[ClaimState, ...], ClaimState | None]] = {
    StepKind.ADOPT: ((ClaimState.CLAIMED,), ClaimState.BUILDING),
    StepKind.BUILT: ((ClaimState.BUILDING,), ClaimState.BUILT),
    StepKind.DELETING: ((ClaimState.BUILDING, ClaimState.BUILT), ClaimState.DELETING),
    StepKind.GONE: ((ClaimState.CLAIMED, ClaimState.DELETING), None),
}


class AgentStep(Change, frozen=True):
    """A step of the agent's loop on one claim."""

    claim: str
    kind: StepKind

    def done(self, row: HostRow) -> bool:
        record = row.find(self.claim)
        target = _STEPS[self.kind][1]
        return record is None if target is None else record is not None and record.state is target

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        record = row.find(self.claim)
        if record is None:
            return Refusal("claim_gone")
        if record.tag:
            return Refusal(TAGGED)
        sources, target = _STEPS[self.kind]
        if record.state not in sources:
            return Refusal(f"claim_{record.state}")
        if target is None:
            return without(row, self.claim)
        # Adopting ends the lease: from here on only the agent removes the claim.
        return swap(row, msgspec.structs.replace(record, state=target, lease_until_ms=0))


class Release(Change, frozen=True):
    """Give a claim up: not adopted, it goes at once; adopted, its agent is to destroy the instance.

    Entries that are anchored to another row have no agent and go at once too.
    """

    claim: str

    def done(self, row: HostRow) -> bool:
        record = row.find(self.claim)
        if record is None:
            return True
        return record.state is ClaimState.DELETING and not record.tag and not ended(record)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        record = row.find(self.claim)
        if record is None or self.done(row):
            return row
        if record.tag:
            return Refusal(TAGGED)
        never_adopted = record.state is ClaimState.CLAIMED or ended(record)
        if never_adopted or record.data.get("anchor"):
            return without(row, self.claim)
        return swap(
            row, msgspec.structs.replace(record, state=ClaimState.DELETING, lease_until_ms=0)
        )


class Resize(Change, frozen=True):
    """Another amount for a claim where it is, in one step: what it has may be part of what it gets."""

    claim: str
    demand: Demand

    def done(self, row: HostRow) -> bool:
        record = row.find(self.claim)
        return record is not None and _totals(record) == self.demand.totals

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        record = row.find(self.claim)
        if record is None:
            return Refusal("claim_gone")
        if record.tag:
            return Refusal(TAGGED)
        if record.state not in (ClaimState.CLAIMED, ClaimState.BUILT):
            return Refusal(f"claim_{record.state}")
        kept = self._kept(record)
        demand = self.demand if kept is None else self._rest(kept)
        others = without(row, self.claim) if kept is None else swap(row, kept)
        found = fitting.arrange(demand, fitting.tree_of(others.records))
        if isinstance(found, str):
            return Refusal(found)
        amounts = {name: -amount for name, amount in found.amounts.items()}
        units = {name: devices for name, devices in found.units.items() if devices}
        if kept is not None:
            amounts, units = {**kept.amounts, **amounts}, {**kept.units, **units}
        return swap(row, msgspec.structs.replace(record, amounts=amounts, units=units))

    def _kept(self, record: Record) -> Record | None:
        """The claim with the classes that do not change: an instance keeps its address, its devices.

        None where a named group says what must come from one provider: all is arranged anew then.
        """
        if any(name and not name.startswith("network:") for name in self.demand.groups):
            return None
        held, wanted = _totals(record), self.demand.totals
        same = {name for name, amount in wanted.items() if held.get(name) == amount}
        return msgspec.structs.replace(
            record,
            amounts={s: a for s, a in record.amounts.items() if records.class_of(s) in same},
            units={s: d for s, d in record.units.items() if records.class_of(s) in same},
        )

    def _rest(self, kept: Record) -> Demand:
        """What there has to be beside ``kept``."""
        held = _totals(kept)
        rest = {n: amount for n, amount in self.demand.totals.items() if n not in held}
        unnamed = self.demand.groups.get("", Group({}))
        return Demand({"": msgspec.structs.replace(unnamed, resources=rest)})


def _totals(record: Record) -> dict[str, int]:
    """Amount of each class that a claim holds."""
    totals: dict[str, int] = {}
    for name, amount in record.amounts.items():
        kind = records.class_of(name)
        totals[kind] = totals.get(kind, 0) - amount
    return totals


class EndLeases(Change, frozen=True):
    """Bar claims that no agent adopted before their lease ended: nobody can adopt them any more.

    ``orphans`` are barred before: claims that nobody waits for, if no agent has adopted them. Their
    amounts are free at once. The entry, without them, stays until its request was told
    (``claims/expiry.py``).
    """

    orphans: frozenset[str] = frozenset()

    def done(self, row: HostRow) -> bool:
        # Nothing of its own to find: what it barred may be gone, what is left another pass bars.
        return False

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return with_records(
            row,
            tuple(
                _barred(r) if lapsed(r, now_ms) or (r.id in self.orphans and waits(r)) else r
                for r in row.records
            ),
        )


class DropEnded(Change, frozen=True):
    """Take barred claims off the row. To be made only once their requests were told."""

    claims: frozenset[str]

    def done(self, row: HostRow) -> bool:
        return not any(r.id in self.claims and ended(r) for r in row.records)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return with_records(
            row, tuple(r for r in row.records if not (r.id in self.claims and ended(r)))
        )


def _barred(record: Record) -> Record:
    """Group and amounts go: another claim may have the place. What goes with it can be given back."""
    return msgspec.structs.replace(
        record,
        state=ClaimState.DELETING,
        amounts={},
        units={},
        group="",
        lease_until_ms=max(1, record.lease_until_ms),
    )


def lapsed(record: Record, now_ms: int) -> bool:
    """Whether ``record`` is a settled, unadopted claim whose lease has ended."""
    return waits(record) and record.lease_until_ms < now_ms


def waits(record: Record) -> bool:
    """Whether ``record`` is a settled claim that waits for its agent."""
    return record.state is ClaimState.CLAIMED and not record.tag


def ended(record: Record) -> bool:
    """Whether ``record`` lapsed and was barred: no agent ever had it, and none will.

    Adoption takes the lease away, so only a claim that was never adopted still has one.
    """
    return record.state is ClaimState.DELETING and record.lease_until_ms > 0 and not record.tag


class ReportInventory(Change, frozen=True):
    """The owner's own report: replaces what the row offers, keeps every claim and every slice.

    It makes the row where there is none. A host that was down is up again; one that an operator
    disabled stays so.
    """

    provider: str
    name: str
    inventories: dict[str, Inventory]
    traits: tuple[str, ...] = ()
    children: tuple[ProviderReport, ...] = ()
    aggregates: tuple[str, ...] = ()
    kind: RowKind = RowKind.HOST

    def offers(self) -> tuple[Record, ...]:
        """The provider records of the tree, the root first."""
        root = records.inventory_record(
            self.provider, self.inventories, self.traits, in_aggregates=self.aggregates
        )
        return root, *(
            records.inventory_record(
                ids.child_uuid(self.provider, child.key),
                child.inventories,
                child.traits,
                key=child.key,
                parent=child.parent,
            )
            for child in self.children
        )

    def founding(self, host: str) -> HostRow | None:
        return HostRow(
            host=host,
            name=self.name,
            rev=0,
            status=HostStatus.UP,
            records=self.offers(),
            kind=self.kind,
        )

    def done(self, row: HostRow) -> bool:
        offered = tuple(r for r in row.records if not r.is_claim and not r.is_slice)
        return (
            row.status is not HostStatus.DOWN and row.name == self.name and offered == self.offers()
        )

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        kept = tuple(r for r in row.records if r.is_claim or r.is_slice)
        changed = with_records(row, (*self.offers(), *kept))
        if row.status is HostStatus.DOWN:
            health = msgspec.structs.replace(row.health, reason="")
            changed = msgspec.structs.replace(changed, status=HostStatus.UP, health=health)
        return msgspec.structs.replace(changed, name=self.name)


class SetStatus(Change, frozen=True):
    """Mark the host and say why; its records stay as they are."""

    status: HostStatus
    reason: str = ""

    def done(self, row: HostRow) -> bool:
        return row.status is self.status and row.health.reason == self.reason

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        health = msgspec.structs.replace(row.health, reason=self.reason)
        return msgspec.structs.replace(row, status=self.status, health=health)


class NoteBuild(Change, frozen=True):
    """Remember how a build of ``at_ms`` went: failures count up until one goes well."""

    ok: bool
    at_ms: int

    def done(self, row: HostRow) -> bool:
        health = row.health
        return not health.failures if self.ok else health.failed_ms >= self.at_ms

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        failures, failed_ms = (0, 0) if self.ok else (row.health.failures + 1, self.at_ms)
        health = msgspec.structs.replace(row.health, failures=failures, failed_ms=failed_ms)
        return msgspec.structs.replace(row, health=health)
