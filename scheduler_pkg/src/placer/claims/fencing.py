"""Taking a claim from a host that is down, so that the host cannot run its instance again.

The naive way is to build the instance elsewhere and forget the host: it comes back, finds its claim
``built``, and the instance runs twice. Here the claim becomes ``deleting`` while the host is down, by an
LWT on the host's own row. The report that brings a host back is an LWT on the same row, so one comes
first: either the host is up and nothing is taken from it, or its agent finds the claim ``deleting`` in
the very answer to its report, and destroys the instance before the claim leaves the row. Until then
what it holds stays booked.
"""

from __future__ import annotations

import msgspec

from placer.claims.operations import TAGGED, Change, Refusal, swap, without
from placer.model.records import ClaimState, HostRow, HostStatus

#: Refused because the host is there: ask its agent, or move the instance.
HOST_UP = "host_is_up"


class Fence(Change, frozen=True):
    """Give up ``claim`` of a host that is down. What no agent adopted goes at once."""

    claim: str

    def done(self, row: HostRow) -> bool:
        record = row.find(self.claim)
        return record is None or (record.state is ClaimState.DELETING and not record.tag)

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        record = row.find(self.claim)
        if record is None or self.done(row):
            return row
        if record.tag:
            return Refusal(TAGGED)
        if row.status is not HostStatus.DOWN:
            return Refusal(HOST_UP)
        if record.state is ClaimState.CLAIMED:
            return without(row, self.claim)
        return swap(row, msgspec.structs.replace(record, state=ClaimState.DELETING))
