"""From a request to its claims: which cell, which hosts, what to do when a row says no.

    cells in their order -> candidates -> hosts to try -> claims

A host that refuses because its view was stale is left out and the next choice is made on fresh
views: a claim is never tried on a second host before the first is known not to hold it. Where even
that is not known by the deadline the answer is ``claim_unknown``; nobody builds for a claim that its
request does not name, so what may still be on the host ends with its lease.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from placer.claims.operations import Refusal
from placer.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Overloaded,
    StoreError,
)
from placer.model import ids
from placer.model.destinations import Destinations
from placer.model.groups import ServerGroup
from placer.model.host_view import HostView, summarize
from placer.model.moves import sought_for
from placer.model.request import Alternate, Reason, Request, RequestSpec, Strategy
from placer.scheduler import destinations, groups, pools, refusals
from placer.scheduler.addresses import Addresses
from placer.scheduler.claimer import Claimer, Effort, Made, Want
from placer.scheduler.groups import GroupFacts
from placer.scheduler.joining import Joining, Repair
from placer.scheduler.network import NETWORK_UNKNOWN
from placer.scheduler.plan import plan
from placer.scheduler.pools import Completed
from placer.scheduler.quotas import Quotas, is_quota
from placer.scheduler.refusals import Nowhere
from placer.scheduler.searching import Found, Searching
from placer.scheduler.targets import Exhausted, Placed, Target
from placer.settings import Settings
from placer.store.base import CellStores

#: End of the reason of a host that has nothing of a class.
NOT_OFFERED: Final = ":not_offered"
#: What a selection says of hosts that were chosen and refused before.
TRIED_BEFORE: Final = "tried_before"

#: The definition of a server group; raises NotFound, StoreError.
FindGroup = Callable[[str], Awaitable[ServerGroup]]


class Placing:
    """Makes the claims that a request lacks. Stateless but for its parts."""

    def __init__(
        self,
        settings: Settings,
        stores: CellStores,
        claimer: Claimer,
        searching: Searching,
        addresses: Addresses,
        quotas: Quotas,
        find_group: FindGroup,
        repair: Repair,
        *,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._stores = stores
        self._claimer = claimer
        self._searching = searching
        self._addresses = addresses
        self._quotas = quotas
        self._find_group = find_group
        self._joining = Joining(
            settings, claimer, quotas, self._targets, self._fill, self._facts_for, repair
        )
        self._rng = rng

    async def place(
        self, request: Request, effort: Effort, *, searching: bool = True
    ) -> Placed | Reason:
        """Claims for what ``request`` lacks: all of it, or with ``partial`` as many as have room.

        Without ``searching`` only the alternates of an earlier selection are tried. Raises nothing
        that a request can cause. Not safe to repeat: every call makes new claims.
        """
        effort.searching = searching
        try:
            facts = await self._facts_for(request)
        except NotFound as error:
            return Reason(refusals.SERVER_GROUP_UNKNOWN, error.message, remedy=error.remedy)
        except StoreError as error:
            return Reason(refusals.CELL_UNREACHABLE, error.message, remedy=error.remedy)
        cells = self._cells(request.spec)
        missing = request.missing
        if missing <= 0:
            return Placed(())
        if facts is not None and facts.group.has_row:
            joined = await self._joining.place(request, cells, missing, facts, effort)
            if isinstance(joined, Placed):
                return joined
            return self._network_full(request.spec, ", ".join(cells), joined) or joined
        placed: list[Made] = []
        alternates: tuple[Alternate, ...] = ()
        misses: list[Reason | Nowhere] = []
        for cell in cells:
            found = await self._in_cell(request, cell, missing - len(placed), facts, effort)
            if not isinstance(found, Placed):
                misses.append(self._network_full(request.spec, cell, found) or found)
                continue
            placed += found.made
            alternates = alternates or found.alternates
            if len(placed) == missing:
                break
        if not placed:
            return refusals.joined(misses)
        for one in placed:
            self._addresses.top_up(one.cell, one.row, request.spec.network)
        return Placed(tuple(placed), alternates)

    async def destinations(self, spec: RequestSpec) -> Destinations:
        """Where ``spec`` would go, without claiming anything. Raises NotFound, StoreError."""
        facts = await self._facts(spec)
        return await destinations.look(self._searching, spec, self._cells(spec), facts)

    async def _facts_for(self, request: Request) -> GroupFacts | None:
        moving = sought_for(request)
        return await self._facts(request.spec, moving.instance if moving else "")

    async def _facts(self, spec: RequestSpec, moving: str = "") -> GroupFacts | None:
        if not spec.server_group:
            return None
        group = await self._find_group(spec.server_group)
        return await groups.read_facts(await self._stores.cell(group.home_cell), group, moving)

    def _cells(self, spec: RequestSpec) -> list[str]:
        """Cells in the order in which they are tried; names are known, the intake saw to that."""
        cluster = self._settings.cluster
        if spec.cells:
            named = list(spec.cells)
        elif spec.cell:
            named = [spec.cell]
        elif spec.region:
            named = [c.name for c in cluster.cells if c.region == spec.region]
            self._rng.shuffle(named)
        else:
            named = [self._settings.cell]
        return [
            name
            for name in named
            if name not in spec.avoid_cells and cluster.cell(name).region not in spec.avoid_regions
        ]

    async def _in_cell(
        self, request: Request, cell: str, count: int, facts: GroupFacts | None, effort: Effort
    ) -> Placed | Reason | Nowhere:
        """``count`` instances in one cell; what goes wrong there is a reason."""
        try:
            least = 1 if request.spec.partial else count
            if reason := await self._quotas.short(request, cell, least):
                return reason
            if count == 1:
                return await self._one(request, cell, facts, effort)
            return await self._several(request, cell, count, facts, effort)
        except Exhausted:
            return refusals.no_alternates(request)
        except (StoreError, Overloaded, Conflict, InvalidInput) as error:
            return refusals.trouble(error)

    def _network_full(self, spec: RequestSpec, cell: str, miss: Reason | Nowhere) -> Reason | None:
        """The network's own reason if every host that was chosen lacked nothing but an address."""
        said = miss.refused if isinstance(miss, Nowhere) else miss.rejected
        refused = {why: hosts for why, hosts in said.items() if why != TRIED_BEFORE}
        if not refused or not all(self._addresses.lacks(spec, Refusal(why)) for why in refused):
            return None
        return refusals.network_full(cell, spec.network, refused)

    # -- one instance on a row of its own

    async def _one(
        self, request: Request, cell: str, facts: GroupFacts | None, effort: Effort
    ) -> Placed | Reason | Nowhere:
        spec = request.spec
        tried = set(request.tried)
        said_no: Counter[str] = Counter()
        for _ in range(self._settings.scheduler.attempts_max):
            if effort.left_s <= 0:
                break
            targets = await self._targets(request, cell, facts, effort, 1, tried)
            if isinstance(targets, Found):
                return Nowhere(targets, dict(said_no))
            best, *others = targets
            outcome = await self._try(request, best, facts, effort)
            if isinstance(outcome, list):
                return Placed(tuple(outcome), tuple(t.alternate for t in others))
            if outcome is not None:
                said_no[outcome.reason] += 1
                if outcome.reason == NETWORK_UNKNOWN:
                    return refusals.no_network(cell, spec.network)
                if is_quota((outcome.reason,)):
                    if reason := await self._quotas.after_refusal(request, cell):
                        return reason
                    continue
                if spec.host:
                    return refusals.named(cell, spec.host, outcome)
                tried.add(best.host)
        return refusals.contended(cell, effort, said_no, len(tried))

    async def _try(
        self, request: Request, target: Target, facts: GroupFacts | None, effort: Effort
    ) -> list[Made] | Refusal | None:
        """Claim one instance on ``target``.

        Refused for it, an empty slice of addresses is filled, and what no search completed from
        pools is completed; each once, so that there are at most three claims.
        """
        cell, host, network = target.cell, target.host, request.spec.network
        seed = await self._claimer.fresh_row(cell, host, target.rev)
        want = Want(cell, host, 1, seed, target.completed)
        filled = False
        while True:
            outcome = await self._claimer.claim(request, want, effort, facts)
            if not isinstance(outcome, Refusal):
                return outcome
            if not filled and self._addresses.lacks(request.spec, outcome):
                row = await self._addresses.fill(cell, host, network)
                if isinstance(row, Refusal):
                    return row
                filled, want = True, msgspec.structs.replace(want, seed=row)
            elif want.completed is None and outcome.reason.endswith(NOT_OFFERED):
                completed = await self._from_pools(cell, host, request.spec)
                if completed is None:
                    return outcome
                want = msgspec.structs.replace(want, completed=completed)
            else:
                return outcome

    async def _from_pools(self, cell: str, host: str, spec: RequestSpec) -> Completed | None:
        """What comes from pools on a host that no search completed: a named one, an alternate."""
        store = await self._stores.cell(cell)
        shared = await pools.sharing(store)
        row = await store.read_row(host) if shared else None
        if row is None:
            return None
        view = summarize(row, cell=cell, region=store.region)
        return _completed(spec, view, shared)

    async def _fill(self, wants: Sequence[Want], network: str) -> Reason | None:
        """Addresses for all of ``wants``. Where too few are left the claims themselves are refused."""
        for want in wants if network else ():
            filled = await self._addresses.fill(want.cell, want.host, network, want.count)
            if isinstance(filled, Refusal) and filled.reason == NETWORK_UNKNOWN:
                return refusals.no_network(want.cell, network)
        return None

    async def _targets(
        self,
        request: Request,
        cell: str,
        facts: GroupFacts | None,
        effort: Effort,
        wanted: int,
        tried: set[str],
    ) -> list[Target] | Found:
        """Hosts to try, the best first; where there are none, what was found instead."""
        spec = request.spec
        if spec.host:
            return [Target(cell, ids.host_uuid(cell, spec.host), spec.host)]
        if request.tried:
            # After a failed build the alternates come first; they are not claimed yet.
            left = [a for a in request.alternates if a.cell == cell and a.host not in tried]
            if left:
                return [Target(a.cell, a.host, a.host_name) for a in left]
        found = await self._search(cell, spec, facts, effort, wanted + spec.alternates, tried)
        targets = [
            Target(cell, view.host, view.name, view.rev, _completed(spec, view, found.wanted.pools))
            for view in found.selection.ranked
        ]
        return targets or found

    async def _search(
        self,
        cell: str,
        spec: RequestSpec,
        facts: GroupFacts | None,
        effort: Effort,
        hosts: int,
        tried: set[str],
    ) -> Found:
        if not effort.searching:
            raise Exhausted
        started = time.perf_counter()
        try:
            return await self._searching.search(
                cell, spec, facts, hosts=hosts, excluded=frozenset(tried)
            )
        finally:
            effort.select_s += time.perf_counter() - started

    # -- several instances in one cell

    async def _several(
        self,
        request: Request,
        cell: str,
        count: int,
        facts: GroupFacts | None,
        effort: Effort,
    ) -> Placed | Reason | Nowhere:
        """All of ``count``, or with ``partial`` as many as there is room for.

        All or none is one transaction on one host, or a write set over several. With ``partial``
        each instance is claimed for itself; those on one host ride in one transaction all the same.
        """
        spec = request.spec
        tried = set(request.tried)
        said_no: Counter[str] = Counter()
        done: list[Made] = []
        reason: Reason | Nowhere | None = None
        for _ in range(self._settings.scheduler.attempts_max):
            if effort.left_s <= 0 or len(done) == count:
                break
            wants = await self._spread(request, cell, count - len(done), facts, effort, tried)
            if isinstance(wants, Found):
                reason = Nowhere(wants, dict(said_no))
                break
            if reason := await self._fill(wants, spec.network):
                break
            if spec.partial:
                made, refused = await self._each(request, wants, facts, effort)
            else:
                made, refused = await self._claimer.claim_all(request, wants, effort, facts)
            done += made
            if is_quota(refused.values()):
                least = 1 if spec.partial else count - len(done)
                if reason := await self._quotas.after_refusal(request, cell, least):
                    break
                continue
            for host, why in refused.items():
                said_no[why] += 1
                tried.add(host)
            if spec.host and refused:
                reason = refusals.named(cell, spec.host, Refusal(min(refused.values())))
                break
        if done:
            return Placed(tuple(done))
        return reason or refusals.contended(cell, effort, said_no, len(tried))

    async def _spread(
        self,
        request: Request,
        cell: str,
        count: int,
        facts: GroupFacts | None,
        effort: Effort,
        tried: set[str],
    ) -> list[Want] | Found:
        """How many go on which host; what was found if there is not enough room."""
        spec = request.spec
        if spec.host:
            return [Want(cell, ids.host_uuid(cell, spec.host), count)]
        found = await self._search(cell, spec, facts, effort, count, tried)
        chosen = plan(
            count,
            found.selection.ranked,
            found.wanted,
            pack=spec.strategy is Strategy.PACK,
            per_host=facts.group.max_per_host if facts else 0,
        )
        if not chosen or (sum(n for _, n in chosen) < count and not spec.partial):
            return found
        seeds = await asyncio.gather(
            *(self._claimer.fresh_row(cell, view.host, view.rev) for view, _ in chosen)
        )
        return [
            Want(cell, view.host, n, seed, _completed(spec, view, found.wanted.pools))
            for (view, n), seed in zip(chosen, seeds, strict=True)
        ]

    async def _each(
        self,
        request: Request,
        wants: Sequence[Want],
        facts: GroupFacts | None,
        effort: Effort,
    ) -> tuple[list[Made], dict[str, str]]:
        """Claim each instance for itself; one that fails takes nothing from the others."""
        single = [
            msgspec.structs.replace(want, count=1) for want in wants for _ in range(want.count)
        ]
        outcomes = await asyncio.gather(
            *(self._claimer.claim(request, want, effort, facts) for want in single),
            return_exceptions=True,
        )
        made: list[Made] = []
        refused: dict[str, str] = {}
        errors: list[BaseException] = []
        for want, outcome in zip(single, outcomes, strict=True):
            if isinstance(outcome, list):
                made += outcome
            elif isinstance(outcome, Refusal):
                refused[want.host] = outcome.reason
            elif outcome is not None:
                errors.append(outcome)
        if errors and not made:
            raise errors[0]
        return made, refused


def _completed(spec: RequestSpec, view: HostView, shared: Sequence[HostView]) -> Completed | None:
    """What of the demand comes from pools when it is placed on ``view``; None: nothing does.

    An address comes from the host's slice, which may have to be filled first: it is left out of the
    question and put back into the host's part.
    """
    if not shared:
        return None
    demand = msgspec.structs.replace(spec, network="").demand
    completed = pools.complete(demand, view, shared)
    if isinstance(completed, str) or not completed.pools:
        return None
    own = completed.host
    whole = msgspec.structs.replace(own, groups={**spec.demand.groups, **own.groups})
    return msgspec.structs.replace(completed, host=whole)
