"""Which projects have a quota, and giving back the share of a claim that is gone.

Every scheduler process keeps the list of all quotas and reads it again every few seconds, so that a
request of a project without one is told so from memory. What cannot be read again stays as it was
known: a cell that is cut off goes on with its slice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import structlog

from placer.claims.operations import Refusal, Release
from placer.claims.protocol import HostWriter
from placer.errors import PlacerError
from placer.model import quotas
from placer.model.quotas import Quota
from placer.store.base import NamedStore

log = structlog.get_logger(__name__)

#: The writer of a cell's rows; raises StoreUnavailable while the cell is cut off.
Writer = Callable[[str], Awaitable[HostWriter]]


class QuotaList:
    """One per process. ``deadline_s`` bounds the giving back of one share."""

    def __init__(self, defined: NamedStore[Quota], writer: Writer, deadline_s: float) -> None:
        self._defined = defined
        self._writer = writer
        self._deadline_s = deadline_s
        self._known: dict[str, Quota] = {}

    def of(self, project: str) -> Quota | None:
        """The project's quota as it was last read."""
        return self._known.get(project)

    def all(self) -> list[Quota]:
        return list(self._known.values())

    async def refresh(self) -> list[Quota]:
        """Read the list again; those that are new or changed. Raises StoreError."""
        found = await self._defined.page(limit=quotas.QUOTAS_MAX)
        changed = [quota for quota in found if self._known.get(quota.project) != quota]
        self._known = {quota.project: quota for quota in found}
        return changed

    def put(self, quota: Quota) -> None:
        """Take in a quota that was just put, without waiting for the next reading."""
        known = self._known.get(quota.project)
        if known is None or known.rev < quota.rev:
            self._known[quota.project] = quota

    async def give_back(self, cell: str, project: str, claim: str) -> None:
        """Release the share of a claim that is gone, or comes to nothing. Safe to repeat.

        One that cannot be given back now is when its row is put in order: nobody waits for it.
        """
        if project not in self._known:
            return
        operation = Release(quotas.share_id(claim))
        row = quotas.row_id(cell, project)
        try:
            writer = await self._writer(cell)
            result = await writer.submit(row, operation, deadline_s=self._deadline_s)
        except PlacerError as error:
            log.info("share_left_to_recovery", claim=claim, why=str(error))
            return
        if isinstance(result, Refusal):
            log.info("share_left_to_recovery", claim=claim, why=result.reason)
