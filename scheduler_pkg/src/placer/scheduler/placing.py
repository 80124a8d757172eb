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
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from placer.claims.operations import Refusal
from placer.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    Overloaded,
    StoreError,
    StoreUnknown,
)
from placer.model import ids
from placer.model.destinations import Destination, Destinations
from placer.model.groups import Place, ServerGroup
from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow
from placer.model.request import Alternate, Reason, Request, RequestSpec, Strategy
from placer.scheduler import explain, groups, pools
from placer.scheduler.addresses import Addresses
from placer.scheduler.claimer import Claimer, Effort, Made, Want
from placer.scheduler.groups import GroupFacts
from placer.scheduler.network import NETWORK_UNKNOWN
from placer.scheduler.plan import plan
from placer.scheduler.pools import Completed
from placer.scheduler.searching import Found, Searching
from placer.settings import Settings
from placer.store.base import CellStores

NO_VALID_HOST: Final = explain.NO_VALID_HOST
HOST_UNKNOWN: Final = "host_unknown"
CELL_UNREACHABLE: Final = "cell_unreachable"
CLAIM_UNKNOWN: Final = "claim_unknown"
CLAIM_CONTENDED: Final = "claim_contended"
OVERLOADED: Final = "overloaded"
INVALID_INPUT: Final = "invalid_input"
BUILD_FAILED: Final = "build_failed"
#: End of the reason of a host that has nothing of a class.
NOT_OFFERED: Final = ":not_offered"
SERVER_GROUP_UNKNOWN: Final = "server_group_unknown"

#: Outcomes that may be different a moment later: worth waiting for until the request's deadline.
PASSING: Final = frozenset(
    {NO_VALID_HOST, CELL_UNREACHABLE, CLAIM_UNKNOWN, CLAIM_CONTENDED, OVERLOADED}
)


class Placed(Struct, frozen=True):
    """Claims that stand, and hosts that would have done as well."""

    made: tuple[Made, ...]
    alternates: tuple[Alternate, ...] = ()


class Nowhere(Struct, frozen=True):
    """A cell in which no host was left to try. ``refused``: hosts whose own rows said no."""

    found: Found
    refused: dict[str, int]


#: The definition of a server group; raises NotFound, StoreError.
FindGroup = Callable[[str], Awaitable[ServerGroup]]
#: Settle what others left on a row (cell, host). Raises StoreError, Conflict.
Repair = Callable[[str, str], Awaitable[HostRow | None]]


class _Target(Struct, frozen=True):
    """A host to try. ``rev``: the revision that speaks for it; 0: none was seen."""

    cell: str
    host: str
    name: str
    rev: int = 0
    completed: Completed | None = None

    @property
    def alternate(self) -> Alternate:
        return Alternate(self.cell, self.host, self.name)


class Placing:
    """Makes the claims that a request lacks. Stateless but for its parts."""

    def __init__(
        self,
        settings: Settings,
        stores: CellStores,
        claimer: Claimer,
        searching: Searching,
        addresses: Addresses,
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
        self._find_group = find_group
        self._repair = repair
        self._rng = rng

    async def place(
        self, request: Request, effort: Effort, *, searching: bool = True
    ) -> Placed | Reason:
        """Claims for what ``request`` lacks: all of it, or with ``partial`` as many as have room.

        Without ``searching`` only the alternates of an earlier selection are tried. Raises nothing that a request can cause. Not safe to repeat: every call makes new claims.
        """
        try:
            facts = await self._facts(request.spec)
        except NotFound as error:
            return Reason(SERVER_GROUP_UNKNOWN, error.message, remedy=error.remedy)
        except StoreError as error:
            return Reason(CELL_UNREACHABLE, error.message, remedy=error.remedy)
        if not searching and not request.alternates:
            return _no_alternates(request)
        cells = self._cells(request.spec)
        missing = request.spec.count - len(request.placements)
        if facts is not None and facts.group.has_row:
            return await self._joining(request, cells, missing, facts, effort)
        placed: list[Made] = []
        alternates: tuple[Alternate, ...] = ()
        misses: list[Reason | Nowhere] = []
        for cell in cells:
            found = await self._in_cell(request, cell, missing - len(placed), facts, effort)
            if not isinstance(found, Placed):
                misses.append(found)
                continue
            placed += found.made
            alternates = alternates or found.alternates
            if len(placed) == missing:
                break
        if not placed:
            return _joined(misses)
        for one in placed:
            self._addresses.top_up(one.cell, one.row, request.spec.network)
        return Placed(tuple(placed), alternates)

    async def destinations(self, spec: RequestSpec) -> Destinations:
        """Where ``spec`` would go, without claiming anything; a reason where that is nowhere.

        With a server group that keeps its rule in a row, or in several cells, each cell is looked at
        for itself: what is returned is a good guess. Raises NotFound for an unknown server group.
        """
        facts = await self._facts(spec)
        misses: list[Reason | Nowhere] = []
        for cell in self._cells(spec):
            try:
                hosts = spec.count + spec.alternates
                found = await self._searching.search(cell, spec, facts, hosts=hosts)
            except (StoreError, InvalidInput) as error:
                misses.append(_trouble(error))
                continue
            ranked = [v for v in found.selection.ranked if spec.host in ("", v.name)]
            chosen = plan(
                spec.count,
                ranked,
                found.wanted,
                pack=spec.strategy is Strategy.PACK,
                per_host=facts.group.max_per_host if facts else 0,
            )
            if sum(n for _, n in chosen) < (1 if spec.partial else spec.count):
                misses.append(Nowhere(found, {}))
                continue
            taken = {view.host for view, _ in chosen}
            rest = [view for view in ranked if view.host not in taken]
            return Destinations(
                destinations=tuple(
                    Destination(cell, view.host, view.name) for view, n in chosen for _ in range(n)
                ),
                alternates=tuple(
                    Alternate(cell, view.host, view.name) for view in rest[: spec.alternates]
                ),
            )
        return Destinations(reason=_joined(misses))

    async def _facts(self, spec: RequestSpec) -> GroupFacts | None:
        if not spec.server_group:
            return None
        group = await self._find_group(spec.server_group)
        return await groups.read_facts(await self._stores.cell(group.home_cell), group)

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
            if count == 1:
                return await self._one(request, cell, facts, effort)
            return await self._several(request, cell, count, facts, effort)
        except (StoreError, Overloaded, Conflict, InvalidInput) as error:
            return _trouble(error)

    # -- one instance on a row of its own

    async def _one(
        self, request: Request, cell: str, facts: GroupFacts | None, effort: Effort
    ) -> Placed | Reason | Nowhere:
        spec = request.spec
        tried = set(request.tried)
        refusals: Counter[str] = Counter()
        for _ in range(self._settings.scheduler.attempts_max):
            if effort.left_s <= 0:
                break
            targets = await self._targets(request, cell, facts, effort, 1, tried)
            if isinstance(targets, Found):
                return Nowhere(targets, dict(refusals))
            best, *others = targets
            outcome = await self._try(request, best, facts, effort)
            if isinstance(outcome, list):
                return Placed(tuple(outcome), tuple(t.alternate for t in others))
            if outcome is not None:
                refusals[outcome.reason] += 1
                if outcome.reason == NETWORK_UNKNOWN:
                    return _no_network(cell, spec.network)
                if spec.host:
                    return _named(cell, spec.host, outcome)
                tried.add(best.host)
        return _contended(cell, effort, refusals, len(tried))

    async def _try(
        self, request: Request, target: _Target, facts: GroupFacts | None, effort: Effort
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
                return _no_network(want.cell, network)
        return None

    async def _targets(
        self,
        request: Request,
        cell: str,
        facts: GroupFacts | None,
        effort: Effort,
        wanted: int,
        tried: set[str],
    ) -> list[_Target] | Found:
        """Hosts to try, the best first; where there are none, what was found instead."""
        spec = request.spec
        if spec.host:
            return [_Target(cell, ids.host_uuid(cell, spec.host), spec.host)]
        if request.tried:
            # After a failed build the alternates come first; they are not claimed yet.
            left = [a for a in request.alternates if a.cell == cell and a.host not in tried]
            if left:
                return [_Target(a.cell, a.host, a.host_name) for a in left]
        found = await self._search(cell, spec, facts, effort, wanted + spec.alternates, tried)
        targets = [
            _Target(
                cell, view.host, view.name, view.rev, _completed(spec, view, found.wanted.pools)
            )
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
        refusals: Counter[str] = Counter()
        done: list[Made] = []
        reason: Reason | Nowhere | None = None
        for _ in range(self._settings.scheduler.attempts_max):
            if effort.left_s <= 0 or len(done) == count:
                break
            wants = await self._spread(request, cell, count - len(done), facts, effort, tried)
            if isinstance(wants, Found):
                reason = Nowhere(wants, dict(refusals))
                break
            if reason := await self._fill(wants, spec.network):
                break
            if spec.partial:
                made, refused = await self._each(request, wants, facts, effort)
            else:
                made, refused = await self._claimer.claim_all(request, wants, effort, facts)
            done += made
            for host, why in refused.items():
                refusals[why] += 1
                tried.add(host)
            if spec.host and refused:
                reason = _named(cell, spec.host, Refusal(min(refused.values())))
                break
        if done:
            return Placed(tuple(done))
        return reason or _contended(cell, effort, refusals, len(tried))

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
        return [
            Want(
                cell,
                view.host,
                n,
                await self._claimer.fresh_row(cell, view.host, view.rev),
                _completed(spec, view, found.wanted.pools),
            )
            for view, n in chosen
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

    # -- groups that keep their rule in a row of their own

    async def _joining(
        self,
        request: Request,
        cells: list[str],
        count: int,
        facts: GroupFacts,
        effort: Effort,
    ) -> Placed | Reason:
        """Instances that join a group row: host by host as the rule leaves them, then one write set.

        With ``partial`` each instance is a write set of its own.
        """
        tried = set(request.tried)
        refusals: Counter[str] = Counter()
        done: list[Made] = []
        for _ in range(self._settings.scheduler.attempts_max):
            if effort.left_s <= 0 or len(done) == count:
                break
            at_once = 1 if request.spec.partial else count
            try:
                wants = await self._apart(request, cells, at_once, facts, effort, tried)
                if isinstance(wants, Reason):
                    return Placed(tuple(done)) if done else wants
                if reason := await self._fill(wants, request.spec.network):
                    return Placed(tuple(done)) if done else reason
                made, refused = await self._claimer.claim_all(request, wants, effort, facts)
                if facts.group.id in refused:
                    # It may hold members that are gone, or that nobody decided.
                    await self._repair(facts.group.home_cell, facts.group.id)
                if refused:
                    facts = await self._facts(request.spec) or facts
            except (StoreError, Overloaded, NotFound, Conflict, InvalidInput) as error:
                return Placed(tuple(done)) if done else _trouble(error)
            for claim in made:
                done.append(claim)
                facts = facts.joined(self._place_of(claim.cell, claim.row.host))
            for host, why in refused.items():
                refusals[why] += 1
                if host != facts.group.id:
                    tried.add(host)
        if done:
            return Placed(tuple(done))
        return _contended(", ".join(cells), effort, refusals, len(tried))

    async def _apart(
        self,
        request: Request,
        cells: list[str],
        count: int,
        facts: GroupFacts,
        effort: Effort,
        tried: set[str],
    ) -> list[Want] | Reason:
        """A host for each of ``count`` instances, each chosen as if those before it had joined."""
        wants: list[Want] = []
        taken: Counter[str] = Counter()
        known = [self._settings.cluster.cell(name) for name in cells]
        for _ in range(count):
            left = groups.cells_left(facts, known)
            misses: list[Reason | Nowhere] = []
            for cell in left:
                targets = await self._targets(request, cell, facts, effort, 1 + len(taken), tried)
                if isinstance(targets, Found):
                    misses.append(Nowhere(targets, {}))
                    continue
                best = min(targets, key=lambda target: taken[target.host])
                taken[best.host] += 1
                wants.append(Want(cell, best.host, completed=best.completed))
                facts = facts.joined(self._place_of(cell, best.host))
                break
            else:
                return _joined(misses) if misses else _no_cell(facts, cells)
        return _merged(wants)

    def _place_of(self, cell: str, host: str) -> Place:
        return Place(self._settings.cluster.cell(cell).region, cell, host)


def _merged(wants: Iterable[Want]) -> list[Want]:
    """One entry a host."""
    sums: dict[tuple[str, str], Want] = {}
    for want in wants:
        held = sums.get((want.cell, want.host))
        count = want.count + (held.count if held else 0)
        sums[want.cell, want.host] = msgspec.structs.replace(want, count=count)
    return list(sums.values())


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


def _no_network(cell: str, network: str) -> Reason:
    return Reason(
        NETWORK_UNKNOWN,
        f"Cell {cell} has no network {network!r}.",
        remedy="GET /v1/networks lists them; an operator's PUT /v1/networks/{name} makes one.",
    )


def _trouble(error: Exception) -> Reason:
    """What went wrong in a cell, as a reason."""
    text = str(error)
    if isinstance(error, StoreUnknown):
        return Reason(CLAIM_UNKNOWN, f"{text} A claim that was made ends with its lease.")
    if isinstance(error, Overloaded):
        return Reason(OVERLOADED, text)
    if isinstance(error, InvalidInput):
        return Reason(INVALID_INPUT, error.message, remedy=error.remedy)
    if isinstance(error, Conflict):
        return Reason(CLAIM_CONTENDED, text)
    return Reason(CELL_UNREACHABLE, text)


def _no_alternates(request: Request) -> Reason:
    return Reason(
        BUILD_FAILED,
        f"The build failed on {len(request.tried)} hosts; no alternate is left and the request's "
        "deadline has passed.",
        remedy="Ask for alternates, or with a longer deadline_s; and see why builds fail.",
    )


def _named(cell: str, host: str, refusal: Refusal) -> Reason:
    if refusal.reason == "host_unknown":
        return Reason(
            HOST_UNKNOWN,
            f"Cell {cell} has no host called {host!r}.",
            remedy="GET /v1/hosts lists them.",
        )
    return Reason(
        NO_VALID_HOST,
        f"Host {host} of cell {cell} cannot take it: {refusal.reason}.",
        rejected={refusal.reason: 1},
        hosts_seen=1,
    )


def _contended(cell: str, effort: Effort, refusals: Counter[str], hosts: int) -> Reason:
    return Reason(
        CLAIM_CONTENDED,
        f"No claim succeeded in {effort.attempts} attempts in {cell}.",
        rejected=dict(refusals),
        hosts_seen=hosts,
        remedy="Ask again.",
    )


def _no_cell(facts: GroupFacts, cells: list[str]) -> Reason:
    group = facts.group
    return Reason(
        NO_VALID_HOST,
        f"No cell of {', '.join(cells)} suits the {group.policy} of group {group.name}.",
        remedy="Allow more cells, or use another group.",
    )


def _joined(misses: list[Reason | Nowhere]) -> Reason:
    """One reason for all cells that were tried: what any of them lacks, and what went wrong."""
    nowhere = [miss for miss in misses if isinstance(miss, Nowhere)]
    reasons = [miss for miss in misses if isinstance(miss, Reason)]
    if nowhere:
        refused: Counter[str] = Counter()
        for miss in nowhere:
            refused.update(miss.refused)
        selections = [miss.found.selection for miss in nowhere]
        reasons.append(explain.refusal(nowhere[0].found.wanted, selections, dict(refused)))
    if not reasons:
        return Reason(
            NO_VALID_HOST,
            "Every cell that the request allows is to be avoided.",
            remedy="Allow another cell.",
        )
    # What may pass speaks for all: it is worth asking again.
    chief = min(reasons, key=lambda reason: reason.code not in PASSING)
    return msgspec.structs.replace(
        chief, message=" ".join(dict.fromkeys(reason.message for reason in reasons))
    )
