"""Changes of one host row, each a pure function of the row. The protocol merges them in one LWT.

An operation says what it does to a row (``apply``) and whether a row shows that it was done
(``done``). The second settles unknown outcomes: each member of a group is judged by its own id in
the row, never by the fate of the group (claim protocol, rule 3).
"""

from __future__ import annotations

from typing import Protocol

import msgspec
from msgspec import Struct

from placer.model import fitting, records
from placer.model.messages import StepKind
from placer.model.records import ClaimState, HostRow, HostStatus, Inventory, Record


class Refusal(Struct, frozen=True):
    """Why an operation cannot be done on the row it was tried on; a stable word."""

    reason: str


class Operation(Protocol):
    """A change of one host row."""

    @property
    def retry_after_unknown(self) -> bool:
        """Whether it may be tried again once its attempt is known to have left no trace.

        False for adding a claim: absent may mean "applied, then removed again", and an id that was
        ever on a row must not come back. The caller retries with a new id.
        """

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        """The row with the change (``rev`` untouched), or why not. Equal rows mean nothing to do."""

    def done(self, row: HostRow) -> bool:
        """Whether ``row`` shows that this operation was applied."""


def _with(row: HostRow, new: tuple[Record, ...]) -> HostRow:
    return msgspec.structs.replace(row, records=new)


def _swap(row: HostRow, record: Record) -> HostRow:
    return _with(row, tuple(record if r.id == record.id else r for r in row.records))


class AddClaim(Struct, frozen=True):
    """Promise ``demand`` to ``consumer`` until ``lease_until_ms``; refused where it does not fit."""

    claim: str
    consumer: str
    request: str
    project: str
    demand: dict[str, int]
    lease_until_ms: int
    required_traits: tuple[str, ...] = ()
    forbidden_traits: tuple[str, ...] = ()

    @property
    def retry_after_unknown(self) -> bool:
        return False

    def done(self, row: HostRow) -> bool:
        return row.find(self.claim) is not None

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        if row.status is not HostStatus.UP:
            return Refusal(f"host_{row.status}")
        traits = records.traits(row.records)
        if not traits.issuperset(self.required_traits):
            return Refusal("trait_missing")
        if not traits.isdisjoint(self.forbidden_traits):
            return Refusal("trait_forbidden")
        offered, taken = records.inventories(row.records), records.units_taken(row.records)
        reason = fitting.rejects(self.demand, offered, records.available(row.records), taken)
        if reason:
            return Refusal(reason)
        provider = next(r.provider for r in row.records if not r.is_claim)
        record = Record(
            id=self.claim,
            provider=provider,
            amounts={name: -amount for name, amount in self.demand.items()},
            consumer=self.consumer,
            request=self.request,
            project=self.project,
            state=ClaimState.CLAIMED,
            created_ms=now_ms,
            lease_until_ms=self.lease_until_ms,
            units=fitting.take(self.demand, offered, taken),
        )
        return _with(row, (*row.records, record))


#: Step -> (states it may start from, state it leads to); None: the record is removed.
#: An entry leaves the row only from ``claimed`` or ``deleting``: in neither can an instance come
#: into being (claim protocol, section 6).
_STEPS: dict[StepKind, tuple[tuple[ClaimState, ...], ClaimState | None]] = {
    StepKind.ADOPT: ((ClaimState.CLAIMED,), ClaimState.BUILDING),
    StepKind.BUILT: ((ClaimState.BUILDING,), ClaimState.BUILT),
    StepKind.DELETING: ((ClaimState.BUILDING, ClaimState.BUILT), ClaimState.DELETING),
    StepKind.GONE: ((ClaimState.CLAIMED, ClaimState.DELETING), None),
}


class AgentStep(Struct, frozen=True):
    """A step of the agent's loop on one claim."""

    claim: str
    kind: StepKind

    @property
    def retry_after_unknown(self) -> bool:
        return True

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
        sources, target = _STEPS[self.kind]
        if record.state not in sources:
            return Refusal(f"claim_{record.state}")
        if target is None:
            return _with(row, tuple(r for r in row.records if r.id != self.claim))
        # Adopting ends the lease: from here on only the agent removes the claim.
        return _swap(row, msgspec.structs.replace(record, state=target, lease_until_ms=0))


class ExpireClaims(Struct, frozen=True):
    """Remove claims that no agent adopted before their lease ended."""

    @property
    def retry_after_unknown(self) -> bool:
        return True

    def done(self, row: HostRow) -> bool:
        # Nothing of its own to find: what it removed is gone, what is left another pass removes.
        return False

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return _with(row, tuple(r for r in row.records if not lapsed(r, now_ms)))


def lapsed(record: Record, now_ms: int) -> bool:
    """Whether ``record`` is an unadopted claim whose lease has ended."""
    return record.state is ClaimState.CLAIMED and record.lease_until_ms < now_ms


class ReportInventory(Struct, frozen=True):
    """The host's own report: replaces the inventory record, keeps every claim, marks the host up."""

    provider: str
    name: str
    inventories: dict[str, Inventory]
    traits: tuple[str, ...] = ()

    @property
    def retry_after_unknown(self) -> bool:
        return True

    def record(self) -> Record:
        return records.inventory_record(self.provider, self.inventories, self.traits)

    def done(self, row: HostRow) -> bool:
        return row.status is HostStatus.UP and row.find(self.provider) == self.record()

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        changed = _with(row, (self.record(), *row.claims))
        return msgspec.structs.replace(changed, status=HostStatus.UP, name=self.name)


class SetStatus(Struct, frozen=True):
    """Mark the host; its records stay as they are."""

    status: HostStatus

    @property
    def retry_after_unknown(self) -> bool:
        return True

    def done(self, row: HostRow) -> bool:
        return row.status is self.status

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return msgspec.structs.replace(row, status=self.status)
