"""Which projects have a quota.

Every scheduler process keeps the list of all quotas and reads it again every few seconds, so that a
request of a project without one is told so from memory. What cannot be read again stays as it was
known: a cell that is cut off goes on with its slice.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from placer.claims.protocol import HostWriter
from placer.model import quotas
from placer.model.quotas import Quota
from placer.store.base import NamedStore

#: The writer of a cell's rows; raises StoreUnavailable while the cell is cut off.
Writer = Callable[[str], Awaitable[HostWriter]]


class QuotaList:
    """One per process; ``cells`` are those of the deployment, as this process knows them."""

    def __init__(self, defined: NamedStore[Quota], cells: Sequence[str]) -> None:
        self._defined = defined
        self._cells = cells
        self._known: dict[str, Quota] = {}

    def of(self, project: str) -> Quota | None:
        """The project's quota as it was last read."""
        return self._known.get(project)

    def all(self) -> list[Quota]:
        return list(self._known.values())

    async def refresh(self) -> list[Quota]:
        """Read the list again; those that are new or changed. Raises StoreError."""
        page = await self._defined.page(limit=quotas.QUOTAS_MAX)
        found = [quotas.among(quota, self._cells) for quota in page]
        changed = [quota for quota in found if self._known.get(quota.project) != quota]
        self._known = {quota.project: quota for quota in found}
        return changed

    def put(self, quota: Quota) -> None:
        """Take in a quota that was just put, without waiting for the next reading."""
        known = self._known.get(quota.project)
        if known is None or known.rev < quota.rev:
            self._known[quota.project] = quotas.among(quota, self._cells)
