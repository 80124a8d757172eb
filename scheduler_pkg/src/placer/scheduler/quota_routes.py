"""The internal routes of quotas, for the API servers of the cell. Both can be repeated."""

from __future__ import annotations

from typing import Final

from litestar import post, put
from litestar.datastructures import State

from placer.model.quotas import Quota, QuotaView
from placer.scheduler.process import SchedulerProcess


@put("/internal/v1/quotas")
async def put_quota(data: Quota, state: State) -> QuotaView:
    """Bring a quota that was stored to the rows of all cells that answer."""
    process: SchedulerProcess = state.process
    return await process.quotas.put(data)


@post("/internal/v1/quotas/view", status_code=200)
async def view_quota(data: Quota, state: State) -> QuotaView:
    """What is used of a quota in every cell that answers."""
    process: SchedulerProcess = state.process
    return await process.quotas.view(data)


QUOTA_ROUTES: Final = (put_quota, view_quota)
