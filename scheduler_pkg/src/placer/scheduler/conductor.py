"""The conductor: takes a request from the log to its claim.

    target cell -> candidates -> select -> read the chosen row -> claim -> write the outcome

The request's row says at all times what has become of it. A host that refuses because its view was
stale is left out and the next choice is made on fresh views: a claim is never tried on a second host
before the first is known not to hold it. Where even that is not known by the deadline the request
is refused as ``claim_unknown``, and whatever may still be on the host ends with its lease.
"""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import structlog
from msgspec import Struct

from placer import metrics
from placer.claims.operations import AddClaim, Refusal
from placer.claims.protocol import HostWriter, Tally
from placer.errors import Conflict, NotFound, Overloaded, StoreError, StoreUnknown
from placer.history import Acknowledged, HistoryWriter, now_us
from placer.model import ids
from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow, Record
from placer.model.request import Choice, Reason, Request, RequestSpec, Stage, Timings
from placer.scheduler.candidates import sampled
from placer.scheduler.select import Selection, first_reason, select
from placer.settings import Settings
from placer.store.base import CellStore, CellStores

log = structlog.get_logger(__name__)

NO_VALID_HOST: Final = "no_valid_host"
HOST_UNKNOWN: Final = "host_unknown"
CELL_UNREACHABLE: Final = "cell_unreachable"
CLAIM_UNKNOWN: Final = "claim_unknown"
CLAIM_CONTENDED: Final = "claim_contended"
OVERLOADED: Final = "overloaded"

#: Called with each claim that was made: cell, row, record. Fire and forget.
Notify = Callable[[str, HostRow, Record], None]


class _Placed(Struct, frozen=True):
    row: HostRow
    record: Record
    alternates: tuple[HostView, ...]


class _Effort:
    """What one request has cost so far."""

    def __init__(self) -> None:
        self.attempts = 0
        self.tally = Tally()
        self.select_s = 0.0
        self.claim_s = 0.0


class Conductor:
    """Decides requests. ``writer`` gives the HostWriter of a cell."""

    def __init__(
        self,
        settings: Settings,
        stores: CellStores,
        writer: Callable[[str], Awaitable[HostWriter]],
        history: HistoryWriter,
        notify: Notify,
        *,
        rng: random.Random | None = None,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._writer = writer
        self._history = history
        self._notify = notify
        self._rng = rng or random.Random()

    async def schedule(self, request: Request) -> Request:
        """``request`` with its outcome, stored. Raises nothing that a request can cause."""
        effort = _Effort()
        cell = self._target(request.spec)
        try:
            outcome = await self._place(request, cell, effort)
        except StoreUnknown as error:
            outcome = Reason(CLAIM_UNKNOWN, f"{error} A claim that was made ends with its lease.")
        except StoreError as error:
            outcome = Reason(CELL_UNREACHABLE, str(error))
        except Overloaded as error:
            outcome = Reason(OVERLOADED, str(error))
        decided = self._decided(request, cell, outcome, effort)
        metrics.decisions.labels(
            cell, decided.reason.code if decided.reason else decided.stage.value
        ).inc()
        if isinstance(outcome, _Placed):
            self._history.add(
                Acknowledged(
                    process=self._history.process,
                    cell=cell,
                    host=outcome.row.host,
                    claim=outcome.record.id,
                    request=request.id,
                    at_us=now_us(),
                )
            )
            self._notify(cell, outcome.row, outcome.record)
        await self._store_outcome(decided)
        return decided

    def _target(self, spec: RequestSpec) -> str:
        """The cell to place in: named, else one of the region's, else the own one."""
        if spec.cell:
            return spec.cell
        home = self._settings.home
        if not spec.region or spec.region == home.region:
            return home.name
        cells = [c.name for c in self._settings.cluster.cells if c.region == spec.region]
        return self._rng.choice(cells)

    async def _place(self, request: Request, cell: str, effort: _Effort) -> _Placed | Reason:
        deadline = time.monotonic() + self._settings.cluster.claim_deadline_s
        store = await self._stores.cell(cell)
        tried: set[str] = set()
        refusals: Counter[str] = Counter()
        for _ in range(self._settings.scheduler.attempts_max):
            if time.monotonic() >= deadline:
                break
            started = time.perf_counter()
            chosen = await self._choose(store, request.spec, frozenset(tried))
            effort.select_s += time.perf_counter() - started
            if isinstance(chosen, Reason):
                return msgspec.structs.replace(
                    chosen, rejected={**chosen.rejected, **dict(refusals)}
                )
            row, alternates = chosen
            outcome = await self._claim(request, cell, row, deadline, effort)
            if isinstance(outcome, _Placed):
                return msgspec.structs.replace(outcome, alternates=alternates)
            if outcome is not None:
                # The view was stale: the row itself says no. That is a conflict lost to somebody.
                effort.tally.conflicts += 1
                refusals[outcome.reason] += 1
                if request.spec.host:
                    return Reason(
                        NO_VALID_HOST,
                        f"Host {request.spec.host} of cell {cell} cannot take it: "
                        f"{outcome.reason}.",
                        rejected=dict(refusals),
                        hosts_seen=1,
                    )
                tried.add(row.host)
        return Reason(
            CLAIM_CONTENDED,
            f"No claim succeeded in {effort.attempts} attempts in cell {cell}; ask again.",
            rejected=dict(refusals),
            hosts_seen=len(tried),
        )

    async def _choose(
        self, store: CellStore, spec: RequestSpec, tried: frozenset[str]
    ) -> tuple[HostRow, tuple[HostView, ...]] | Reason:
        """The row of the host to try and its alternates, or why there is none."""
        if spec.host:
            return await self._named_host(store, spec)
        scheduler = self._settings.scheduler
        buckets = self._settings.cluster.cell(store.cell).host_buckets
        wanted = 1 + spec.alternates
        views: list[HostView] = []
        selection = Selection((), {}, 0)
        async for batch in sampled(store, buckets, scheduler, self._rng):
            views += batch
            selection = select(
                spec,
                views,
                rng=self._rng,
                pick_from=scheduler.pick_from,
                wanted=wanted,
                excluded=tried,
            )
            if len(selection.ranked) >= wanted:
                break
        if selection.ranked:
            best, *alternates = selection.ranked
            row = await store.read_row(best.host)
            if row is not None:
                return row, tuple(alternates)
        return Reason(
            NO_VALID_HOST,
            f"None of {selection.hosts_seen} hosts of cell {store.cell} can take it.",
            rejected=selection.rejected,
            hosts_seen=selection.hosts_seen,
        )

    async def _named_host(
        self, store: CellStore, spec: RequestSpec
    ) -> tuple[HostRow, tuple[HostView, ...]] | Reason:
        row = await store.read_row(ids.host_uuid(store.cell, spec.host))
        if row is None:
            return Reason(
                HOST_UNKNOWN,
                f"Cell {store.cell} has no host called {spec.host!r}. GET /v1/hosts lists them.",
            )
        view = summarize(row, cell=store.cell, region=store.region)
        if (reason := first_reason(spec, view)) and reason.startswith("trait"):
            # Traits do not change under a claim; capacity does, so that the row itself decides it.
            return Reason(
                NO_VALID_HOST,
                f"Host {spec.host} of cell {store.cell} cannot take it: {reason}.",
                rejected={reason: 1},
                hosts_seen=1,
            )
        return row, ()

    async def _claim(
        self, request: Request, cell: str, row: HostRow, deadline: float, effort: _Effort
    ) -> _Placed | Refusal | None:
        """One claim on one host; None: it was not written, try again under a new id."""
        effort.attempts += 1
        writer = await self._writer(cell)
        now_ms = time.time_ns() // 1_000_000
        operation = AddClaim(
            claim=ids.new_claim_id(cell, row.host),
            consumer=request.instance or str(uuid.uuid4()),
            request=request.id,
            project=request.spec.project,
            demand=request.spec.resources,
            lease_until_ms=now_ms + int(self._settings.cluster.claim_lease_s * 1000),
            required_traits=request.spec.required_traits,
            forbidden_traits=request.spec.forbidden_traits,
        )
        started = time.perf_counter()
        try:
            result = await writer.submit(
                row.host,
                operation,
                seed=row,
                deadline_s=max(0.001, deadline - time.monotonic()),
                tally=effort.tally,
            )
        except Conflict:
            effort.tally.conflicts += 1
            return None
        finally:
            elapsed = time.perf_counter() - started
            effort.claim_s += elapsed
            metrics.claim_seconds.labels(cell).observe(elapsed)
        if isinstance(result, Refusal):
            return result
        record = result.find(operation.claim)
        if record is None:
            raise NotFound(f"The claim {operation.claim} is not on the row that acknowledged it.")
        return _Placed(row=result, record=record, alternates=())

    def _decided(
        self, request: Request, cell: str, outcome: _Placed | Reason, effort: _Effort
    ) -> Request:
        now = now_us()
        common = {
            # One process decides a request, so the larger of clock and successor orders its writes.
            "rev": max(now, request.rev + 1),
            "updated_ms": now // 1000,
            "attempts": effort.attempts,
            "conflicts": effort.tally.conflicts,
            "timings": Timings(
                select_ms=round(effort.select_s * 1000, 3),
                claim_ms=round(effort.claim_s * 1000, 3),
            ),
        }
        if isinstance(outcome, Reason):
            return msgspec.structs.replace(request, stage=Stage.REFUSED, reason=outcome, **common)
        return msgspec.structs.replace(
            request,
            stage=Stage.PLACED,
            instance=outcome.record.consumer,
            choice=Choice(
                cell=cell,
                host=outcome.row.host,
                host_name=outcome.row.name,
                claim=outcome.record.id,
            ),
            alternates=tuple(
                Choice(cell=cell, host=view.host, host_name=view.name)
                for view in outcome.alternates
            ),
            **common,
        )

    async def _store_outcome(self, decided: Request) -> None:
        """Write the outcome to the log; the claim stands whether this succeeds or not."""
        for attempt in range(1, 4):
            try:
                store = await self._stores.cell(self._settings.cell)
                await store.put_request(decided)
                return
            except StoreError as error:
                log.warning(
                    "outcome_not_stored", request=decided.id, attempt=attempt, error=str(error)
                )
                await asyncio.sleep(0.05 * attempt)
