"""The operator's word on a host, in the host's own row: enabled, disabled, draining, evacuating.

Kept apart from whether the host's agent is there: a host that comes back is up, and still disabled.
"""

from __future__ import annotations

import msgspec

from placer.claims.fencing import HOST_UP
from placer.claims.operations import Change, Refusal
from placer.model.records import Duty, HostDuty, HostRow, HostStatus, RowKind

#: Refused because the row is a pool's, or a group's.
NOT_A_HOST = "not_a_host"


class SetDuty(Change, frozen=True):
    """Give a host its duty. Only one that is down is evacuated: the row decides which comes first,
    the operator's word or the host's return."""

    duty: Duty

    def done(self, row: HostRow) -> bool:
        return msgspec.structs.replace(row.duty, since_ms=0) == msgspec.structs.replace(
            self.duty, since_ms=0
        )

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        if row.kind is not RowKind.HOST:
            return Refusal(NOT_A_HOST)
        if self.done(row):
            return row
        if self.duty.state is HostDuty.EVACUATING and row.status is not HostStatus.DOWN:
            return Refusal(HOST_UP)
        health = msgspec.structs.replace(row.health, duty=self.duty)
        return msgspec.structs.replace(row, health=health)
