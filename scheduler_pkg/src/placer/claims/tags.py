"""What a write set does to one row: ``Prepare`` tags it, ``Settle`` carries out the decision.

A write set T changes several rows as one (claim protocol, section 3). On each row one LWT tags the
entries that T drops (``-T``) and adds those that it brings (``+T``). Both count from then on, by the
larger sum, so that either outcome of T fits. When T's record is decided, one more LWT a row settles
it: committed, the ``+`` entries lose their tag and the ``-`` entries go; aborted, the reverse.

A decision is final and a write set that was deleted is never made again, so ``Settle`` is right on
any later revision of the row, and any number of times.
"""

from __future__ import annotations

import msgspec
from msgspec import Struct

from placer.claims.operations import (
    TAGGED,
    AddClaim,
    Change,
    Refusal,
    swap,
    with_records,
    without,
)
from placer.claims.quotas import TakeShare
from placer.model import groups
from placer.model.groups import Place, Policy, Scope
from placer.model.records import ClaimState, HostRow, HostStatus, Record, RowKind

#: The server group is deleted: its row takes nobody any more.
GROUP_GONE = "group_gone"

#: States that a write set may drop an entry from: nothing is under way in them.
_DROPPED_FROM = (ClaimState.CLAIMED, ClaimState.BUILT)


class Carry(Struct, frozen=True):
    """Keep what the dropped entry ``of`` holds on this row, for another ``consumer``.

    A move leaves the instance where it was until its agent destroyed it: its capacity must stay
    counted. By the larger sum it costs nothing while the write set is open. The entry has the state
    of a built claim, and in ``data`` (``of``) the id that its agent knows the instance by.
    """

    claim: str
    of: str
    consumer: str
    request: str = ""

    def entry(self, row: HostRow, now_ms: int, writeset: str) -> Record | Refusal:
        held = row.find(self.of)
        if held is None or held.tag != f"-{writeset}":
            return Refusal("claim_gone")
        return msgspec.structs.replace(
            held,
            id=self.claim,
            consumer=self.consumer,
            request=self.request or held.request,
            created_ms=now_ms,
            data={**held.data, "of": self.of},
            shares=(),
        )


class JoinGroup(Struct, frozen=True):
    """On a group row: the instance of ``claim`` is at ``place``; refused if its rule forbids that.

    Every entry counts, also one that another write set has not decided yet: either outcome of it
    must agree with the rule. That of the same consumer does not: an instance that moves is not kept
    from its new place by itself, and counts at both until it has left the old one. The entry goes
    with its claim (``AddClaim.anchor`` says how).
    """

    claim: str
    policy: Policy
    scope: Scope
    place: Place
    consumer: str = ""
    request: str = ""
    project: str = ""

    @property
    def id(self) -> str:
        return member_id(self.claim)

    def entry(self, row: HostRow, now_ms: int, writeset: str) -> Record | Refusal:
        if row.status is not HostStatus.UP:
            return Refusal(GROUP_GONE)
        others = (r for r in row.claims if not self.consumer or r.consumer != self.consumer)
        members = [groups.place_of(r.data) for r in others if r.tag != f"-{writeset}"]
        if not groups.admits(self.policy, self.scope, members, self.place):
            return Refusal(f"group_{self.policy.replace('-', '_')}")
        return Record(
            id=self.id,
            provider=row.host,
            amounts={},
            consumer=self.consumer,
            request=self.request,
            project=self.project,
            state=ClaimState.BUILT,
            created_ms=now_ms,
            group=row.host,
            data={**self.place.data, "anchor": self.claim},
        )


def member_id(claim: str) -> str:
    """Id of the entry of a group row that goes with ``claim``."""
    return f"{claim}/member"


#: What a write set may bring to a row.
Addition = AddClaim | Carry | JoinGroup | TakeShare


class Prepare(Change, frozen=True):
    """Tag what ``writeset`` adds to and drops from this row; all of it or nothing.

    Done as soon as the row shows one of its tags, since one LWT writes them all.
    """

    writeset: str
    adds: tuple[Addition, ...] = ()
    drops: tuple[str, ...] = ()

    @property
    def retry_after_unknown(self) -> bool:
        # The ids of what it adds may have been on the row, if somebody aborted it meanwhile.
        return not self.adds

    def founding(self, host: str) -> HostRow | None:
        """A group row is made by the first that joins it."""
        if not any(isinstance(add, JoinGroup) for add in self.adds):
            return None
        return HostRow(host, host, 0, HostStatus.UP, (), kind=RowKind.GROUP)

    def done(self, row: HostRow) -> bool:
        return any(record.writeset == self.writeset for record in row.records)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if self.done(row):
            return row
        for dropped in self.drops:
            held = row.find(dropped)
            if held is None or not held.is_claim:
                return Refusal("claim_gone")
            if held.tag:
                return Refusal(TAGGED)
            if held.state not in _DROPPED_FROM:
                return Refusal(f"claim_{held.state}")
            row = swap(row, msgspec.structs.replace(held, tag=f"-{self.writeset}"))
        for add in self.adds:
            entry = add.entry(row, now_ms, self.writeset)
            if isinstance(entry, Refusal):
                return entry
            if row.find(entry.id) is not None:
                return Refusal("claim_exists")
            tagged = msgspec.structs.replace(entry, tag=f"+{self.writeset}")
            row = with_records(row, (*row.records, tagged))
        return row


class Settle(Change, frozen=True):
    """Carry out the decision on ``writeset``. To be made only for one that is decided."""

    writeset: str
    committed: bool

    def done(self, row: HostRow) -> bool:
        return all(record.writeset != self.writeset for record in row.records)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        stays = "+" if self.committed else "-"
        for record in row.records:
            if record.writeset == self.writeset:
                if record.tag.startswith(stays):
                    row = swap(row, msgspec.structs.replace(record, tag=""))
                else:
                    row = without(row, record.id)
        return row


def writesets(row: HostRow) -> tuple[str, ...]:
    """Write sets that have tagged an entry of ``row``."""
    return tuple(sorted({record.writeset for record in row.records if record.tag}))


def anchored(row: HostRow) -> tuple[Record, ...]:
    """Settled entries that go with a claim on another row."""
    return tuple(r for r in row.claims if not r.tag and r.data.get("anchor"))
