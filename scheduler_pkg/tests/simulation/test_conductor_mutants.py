"""Mutants of the conductor: each breaks one rule, and the simulation must notice.

So that a green ``test_conductor_sim.py`` means something. What a mutant breaks is in its docstring.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator

import pytest

from placer.claims.expiry import Expiry, Submit
from placer.claims.operations import DropEnded, EndLeases, ended, lapsed
from placer.model.records import HostRow
from placer.model.request import Request, Stage
from placer.model.work import Work
from placer.scheduler.lifecycle import Lifecycle
from placer.scheduler.placing import Placing
from placer.scheduler.releasing import Releasing
from placer.scheduler.worklog import Changed, Opened, RequestLog
from placer.scheduler.workscan import WorkScan

from .conducting import CellSim, World, now_ms
from .test_conductor_sim import (
    chaos,
    late_agents,
    simulate,
    worker_sleeps_past_the_lease,
)

SEEDS = range(2000, 2040)

Patch = Callable[[pytest.MonkeyPatch], None]


def plain_outcome(patch: pytest.MonkeyPatch) -> None:
    """Changes of a request are plain writes: the last of two workers wins."""

    async def change_request(self: CellSim, request: Request, *, if_rev: int) -> bool:
        await self._travel()
        self.requests[request.id] = request
        return True

    patch.setattr(CellSim, "change_request", change_request)


def unknown_is_lost(patch: pytest.MonkeyPatch) -> None:
    """An outcome whose answer was lost counts as not written, and its claims are given back."""
    put = RequestLog.put

    async def hasty(self: RequestLog, old: Request, new: Request) -> Changed:
        store = await self._stores.cell(new.home_cell)
        try:
            if await store.change_request(new, if_rev=old.rev):
                return Changed(new, stands=True)
        except Exception:
            return Changed(old, stands=False)
        return await put(self, old, new)

    patch.setattr(RequestLog, "put", hasty)


def no_scan(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks for what a dead process left."""

    async def scan(self: WorkScan) -> int:
        return 0

    patch.setattr(WorkScan, "scan", scan)


def work_row_dropped_early(patch: pytest.MonkeyPatch) -> None:
    """The work row goes when a worker takes the request, not when the request is final."""
    place = Placing.place

    async def early(self: Placing, request: Request, *args: object, **more: object) -> object:
        store = await self._stores.cell(request.home_cell)
        await store.drop_work(Work(request.id, request.changes[0].at_ms, request.created_ms))
        for work in [w for w in store.work.values() if w.id == request.id]:  # type: ignore[attr-defined]
            await store.drop_work(work)
        return await place(self, request, *args, **more)  # type: ignore[arg-type]

    patch.setattr(Placing, "place", early)


def reopened_without_work_row(patch: pytest.MonkeyPatch) -> None:
    """A failed build opens the request again, and only the process that did so knows."""
    reopen = RequestLog.reopen

    async def forgetful(
        self: RequestLog, old: Request, stage: Stage, why: str, **changed: object
    ) -> Opened | None:
        opened = await reopen(self, old, stage, why, **changed)
        if opened is not None:
            await self.drop(opened.work)
        return opened

    patch.setattr(RequestLog, "reopen", forgetful)


def cancelled_before_it_is_freed(patch: pytest.MonkeyPatch) -> None:
    """A cancelled request is called cancelled while its claims are still there."""

    async def cancel(self: Releasing, request: Request) -> Request:
        return await self.without(request, [p.claim for p in request.placements])

    patch.setattr(Releasing, "cancel", cancel)


def failure_not_told(patch: pytest.MonkeyPatch) -> None:
    """A claim of a failed build leaves its row and its request never hears of it."""

    async def deaf(self: Lifecycle, *_: object) -> None: ...

    patch.setattr(Lifecycle, "failed", deaf)
    patch.setattr(Lifecycle, "gone", deaf)


def lapse_not_told(patch: pytest.MonkeyPatch) -> None:
    """A claim that nobody adopted leaves its row and its request never hears of it."""

    async def deaf(self: Lifecycle, *_: object) -> None: ...

    patch.setattr(Lifecycle, "lapsed", deaf)


def told_before_barred(patch: pytest.MonkeyPatch) -> None:
    """A lapsed claim's request is told while an agent can still adopt it; then it is removed."""

    async def expire(self: Expiry, row: HostRow, submit: Submit) -> HostRow:
        due = [record for record in row.claims if lapsed(record, now_ms())]
        for record in due:
            await self._tell(row, record)
        row = await submit(row.host, EndLeases()) if due else row
        gone = frozenset(record.id for record in row.claims if ended(record))
        return await submit(row.host, DropEnded(gone)) if gone else row

    patch.setattr(Expiry, "expire", expire)


def adopted_unasked(patch: pytest.MonkeyPatch) -> None:
    """Agents build for claims that no request names, and nobody objects."""

    async def yes(self: Lifecycle, *_: object) -> bool:
        return True

    patch.setattr(Lifecycle, "confirmed", yes)
    patch.setattr(Lifecycle, "_disown", yes)


MUTANTS: tuple[Patch, ...] = (
    plain_outcome,
    unknown_is_lost,
    no_scan,
    work_row_dropped_early,
    reopened_without_work_row,
    cancelled_before_it_is_freed,
    failure_not_told,
    lapse_not_told,
    adopted_unasked,
)


def failures(seeds: Iterable[int]) -> Iterator[int]:
    """Seeds whose run ends with something out of order."""
    for seed in seeds:
        world = World(seed)
        try:
            simulate(world, chaos(world))
        except AssertionError:
            yield seed


def nothing_bars_a_slow_worker(patch: pytest.MonkeyPatch) -> None:
    """A request that does not name a lapsed claim yet is left at its revision."""
    patch.setattr(Lifecycle, "_bar", Lifecycle._replace)


def test_a_slow_worker_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its request names a claim that is on no row, for ever."""
    nothing_bars_a_slow_worker(monkeypatch)
    with pytest.raises(AssertionError):
        worker_sleeps_past_the_lease()


def test_a_late_adoption_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hosts build for one request."""
    told_before_barred(monkeypatch)
    wrong = []
    for seed in SEEDS:
        world = World(seed)
        with contextlib.suppress(AssertionError):
            simulate(world, late_agents(world))
        wrong += world.wrong
    assert any("run at once" in words for words in wrong)


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_the_simulation_notices(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the first seeds."""
    mutant(monkeypatch)
    assert next(failures(SEEDS), None) is not None, f"{mutant.__doc__} Nobody noticed."
