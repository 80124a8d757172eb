"""From "this host, so many instances" to claims: one transaction on one row, or a write set.

What a claim needs decides the way (the one rule of the design): claims on one host's row ride in one
transaction; several hosts that must all say yes, a sharing pool, or a server group that keeps its
rule in a row of its own make a write set.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence

import msgspec
from msgspec import Struct

from placer import metrics, telemetry
from placer.claims.operations import AddClaim, AddClaims, Operation, Refusal
from placer.claims.protocol import HostWriter, Tally
from placer.claims.tags import JoinGroup
from placer.claims.writeset import Participant, Refused, WriteSets
from placer.errors import Conflict, NotFound
from placer.model import ids
from placer.model.groups import Place, ServerGroup
from placer.model.moves import sought_for
from placer.model.records import HostRow, Record
from placer.model.request import Placement, Request
from placer.scheduler import quotas
from placer.scheduler.groups import GroupFacts
from placer.scheduler.pools import Completed, divide
from placer.scheduler.quotas import Quotas
from placer.scheduler.worklog import clock_ms
from placer.settings import Settings
from placer.store.base import CellStores

#: The writer of a cell's rows; raises StoreUnavailable while the cell is cut off.
Writer = Callable[[str], Awaitable[HostWriter]]


class Want(Struct, frozen=True):
    """``count`` instances on one host. ``seed``: a recent row of it, if one was read.

    ``completed``: what of each instance comes from sharing pools, if anything does.
    """

    cell: str
    host: str
    count: int = 1
    seed: HostRow | None = None
    completed: Completed | None = None


class Made(Struct, frozen=True):
    """A claim that is on its row."""

    cell: str
    row: HostRow
    record: Record

    @property
    def placement(self) -> Placement:
        return Placement(
            cell=self.cell,
            host=self.row.host,
            host_name=self.row.name,
            claim=self.record.id,
            instance=self.record.consumer,
            units=self.record.units,
            epoch=self.record.epoch,
        )


class Effort:
    """What one decision costs. ``deadline`` is the event loop's time at which it must end;
    without ``searching`` it may only try hosts that were selected before."""

    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.searching = True
        self.attempts = 0
        self.tally = Tally()
        self.select_s = 0.0
        self.claim_s = 0.0

    @property
    def left_s(self) -> float:
        return self.deadline - asyncio.get_running_loop().time()


class Claimer:
    """Writes claims for requests; every id is new, whatever became of an earlier attempt."""

    def __init__(
        self,
        settings: Settings,
        stores: CellStores,
        writer: Writer,
        write_sets: WriteSets,
        quotas_: Quotas,
        *,
        now_ms: Callable[[], int] = clock_ms,
    ) -> None:
        self._now_ms = now_ms
        self._settings = settings
        self._stores = stores
        self._writer = writer
        self._write_sets = write_sets
        self._quotas = quotas_

    async def claim(
        self, request: Request, want: Want, effort: Effort, facts: GroupFacts | None = None
    ) -> list[Made] | Refusal | None:
        """All of ``want`` by one transaction, or why not; None: nothing was written, ask again.

        What needs a pool or a quota is a write set. Raises StoreUnavailable, StoreUnknown, Overloaded.
        """
        pooled = want.completed is not None and want.completed.pools
        if pooled or self._quotas.limiting(request.spec):
            claims, refused = await self.claim_all(request, (want,), effort, facts)
            return Refusal(quotas.chief(refused)) if refused else claims or None
        with telemetry.span("claim", cell=want.cell, host=want.host, request=request.id):
            return await self._claim(request, want, effort, facts)

    async def _claim(
        self, request: Request, want: Want, effort: Effort, facts: GroupFacts | None
    ) -> list[Made] | Refusal | None:
        effort.attempts += 1
        adds = self._adds(request, want, facts)
        operation: Operation = adds[0] if len(adds) == 1 else AddClaims(adds)
        writer = await self._writer(want.cell)
        started = time.perf_counter()
        try:
            result = await writer.submit(
                want.host,
                operation,
                seed=want.seed,
                deadline_s=max(0.001, effort.left_s),
                tally=effort.tally,
            )
        except Conflict:
            effort.tally.conflicts += 1
            return None
        finally:
            elapsed = time.perf_counter() - started
            effort.claim_s += elapsed
            metrics.claim_seconds.labels(want.cell).observe(elapsed)
        if isinstance(result, Refusal):
            # The view was stale: the row itself says no. That is a race lost to somebody.
            effort.tally.conflicts += 1
            return result
        return _made(want.cell, result, adds)

    async def fresh_row(self, cell: str, host: str, rev: int) -> HostRow | None:
        """The row to try the first LWT on, unless the writer's own guess is as new as ``rev``.

        ``rev`` 0: nothing was seen of the host, so that the guess, if there is one, will do.
        """
        known = (await self._writer(cell)).known(host)
        if known is not None and known.rev >= rev:
            return None
        store = await self._stores.cell(cell)
        return await store.read_row(host)

    async def claim_all(
        self,
        request: Request,
        wants: Sequence[Want],
        effort: Effort,
        facts: GroupFacts | None = None,
    ) -> tuple[list[Made], dict[str, str]]:
        """All of ``wants`` or none: the claims, or by row why not (empty: ask again).

        One host is one transaction; more, a group that is to be joined, or a quota are a write set.
        Raises StoreUnavailable, StoreUnknown, Overloaded.
        """
        pooled = any(want.completed and want.completed.pools for want in wants)
        limited = self._quotas.limiting(request.spec) is not None
        if len(wants) == 1 and not pooled and not limited and not (facts and facts.group.has_row):
            single = await self.claim(request, wants[0], effort, facts)
            if isinstance(single, Refusal):
                return [], {wants[0].host: single.reason}
            return single or [], {}
        effort.attempts += 1
        adds, participants = self._divided(request, wants, facts)
        if facts and facts.group.has_row:
            group = facts.group
            participants.append(
                Participant(group.home_cell, group.id, adds=self._joins(adds, group))
            )
        participants += await self._quotas.shares(request, adds)
        participants = list(await asyncio.gather(*map(self._seeded, participants)))
        started = time.perf_counter()
        try:
            with telemetry.span("claim", rows=len(participants), request=request.id):
                outcome = await self._write_sets.commit(
                    request.home_cell,
                    participants,
                    deadline_s=max(0.001, effort.left_s),
                    tally=effort.tally,
                )
        except Conflict:
            effort.tally.conflicts += 1
            return [], {}
        finally:
            effort.claim_s += time.perf_counter() - started
        if isinstance(outcome, Refused):
            effort.tally.conflicts += 1
            return [], quotas.said({host: reason for (_, host), reason in outcome.by.items()})
        return [
            one
            for (cell, host), claims in adds.items()
            for one in _made(cell, outcome.rows[cell, host], claims)
        ], {}

    async def _seeded(self, part: Participant) -> Participant:
        """With its row as read now, unless this process knows it or the choice read it already.
        Reading belongs to the choice and not to the claim's time, here as for a single instance."""
        if part.seed is not None:
            return part
        row = await self.fresh_row(part.cell, part.host, 0)
        return msgspec.structs.replace(part, seed=row) if row else part

    def _divided(
        self, request: Request, wants: Sequence[Want], facts: GroupFacts | None
    ) -> tuple[dict[tuple[str, str], tuple[AddClaim, ...]], list[Participant]]:
        """The claims by host, and the rows of hosts and pools that take part."""
        hosts: dict[tuple[str, str], tuple[AddClaim, ...]] = {}
        shares: dict[tuple[str, str], list[AddClaim]] = {}
        for want in wants:
            own: list[AddClaim] = []
            for claim in self._adds(request, want, facts):
                parts: dict[str, AddClaim] = {}
                if want.completed is not None:
                    claim, parts = divide(claim, want.completed)
                own.append(claim)
                for pool, part in parts.items():
                    shares.setdefault((want.cell, pool), []).append(part)
            hosts[want.cell, want.host] = tuple(own)
        rows = {**hosts, **{place: tuple(parts) for place, parts in shares.items()}}
        seeds = {(want.cell, want.host): want.seed for want in wants}
        return hosts, [
            Participant(cell, row, adds=adds, seed=seeds.get((cell, row)))
            for (cell, row), adds in rows.items()
        ]

    def _joins(
        self, adds: dict[tuple[str, str], tuple[AddClaim, ...]], group: ServerGroup
    ) -> tuple[JoinGroup, ...]:
        """An entry of the group row for each claim."""
        return tuple(
            JoinGroup(
                claim=add.claim,
                policy=group.policy,
                scope=group.scope,
                place=Place(self._settings.cluster.cell(cell).region, cell, host),
                consumer=add.consumer,
                request=add.request,
                project=add.project,
            )
            for (cell, host), claims in adds.items()
            for add in claims
        )

    def _adds(self, request: Request, want: Want, facts: GroupFacts | None) -> tuple[AddClaim, ...]:
        """The additions to the host's row, each with new ids."""
        spec = request.spec
        lease_s = self._settings.cluster.claim_lease_s
        moving = sought_for(request)
        return tuple(
            AddClaim(
                claim=ids.new_claim_id(want.cell, want.host),
                consumer=moving.instance if moving else ids.new_instance_id(self._now_ms()),
                request=request.id,
                project=spec.project,
                demand=spec.demand,
                lease_until_ms=self._now_ms() + int(lease_s * 1000),
                group=spec.server_group,
                group_max=facts.group.max_per_host if facts else 0,
                aggregates=spec.aggregates,
                image=spec.image,
                trace=request.trace,
                epoch=moving.epoch + 1 if moving else 0,
            )
            for _ in range(want.count)
        )


def _made(cell: str, row: HostRow, adds: Sequence[AddClaim]) -> list[Made]:
    """The claims ``adds`` as ``row`` shows them."""
    found = []
    for add in adds:
        record = row.find(add.claim)
        if record is None:
            raise NotFound(f"The claim {add.claim} is not on the row that acknowledged it.")
        # A committed write set's tag is taken off soon; the claim stands already.
        found.append(Made(cell, row, msgspec.structs.replace(record, tag="")))
    return found


def merged(wants: Iterable[Want]) -> list[Want]:
    """One entry a host."""
    sums: dict[tuple[str, str], Want] = {}
    for want in wants:
        held = sums.get((want.cell, want.host))
        count = want.count + (held.count if held else 0)
        sums[want.cell, want.host] = msgspec.structs.replace(want, count=count)
    return list(sums.values())
