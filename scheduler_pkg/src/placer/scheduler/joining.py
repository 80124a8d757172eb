"""Instances that join a server group whose rule is kept by a row of its own.

Host by host as the rule leaves them, then one write set with the group row. The row counts every
member that it names, also one whose claim is gone by now (its entry is given back a moment later) and
one that a write set brings or drops that nobody decided yet. The naive way, believing the first
refusal, tells a caller for good what a sweep would have changed. So before a refusal that the group
has a part in is believed, the row is swept once and the choice made again; what is still undecided
then makes the answer a passing one, which the request waits out until its deadline.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence

from msgspec import Struct

from placer.claims.tags import GROUP_GONE
from placer.errors import Conflict, InvalidInput, NotFound, Overloaded, StoreError
from placer.model.groups import Place, Policy, Scope
from placer.model.records import HostRow
from placer.model.request import Reason, Request
from placer.scheduler import groups, refusals
from placer.scheduler.claimer import Claimer, Effort, Made, Want, merged
from placer.scheduler.groups import GroupFacts
from placer.scheduler.quotas import Quotas, is_quota
from placer.scheduler.refusals import Nowhere
from placer.scheduler.searching import Found
from placer.scheduler.targets import Exhausted, Placed, Target
from placer.settings import Settings

#: Hosts of a cell to try for a request: facts, how hard, how many, which not to.
Targets = Callable[
    [Request, str, GroupFacts, Effort, int, set[str]], Awaitable[list[Target] | Found]
]
#: Have the addresses of a network ready on the hosts, or say why not.
Fill = Callable[[Sequence[Want], str], Awaitable[Reason | None]]
#: What is known of a request's group, read now.
ReadFacts = Callable[[Request], Awaitable[GroupFacts | None]]
#: Settle what others left on a row (cell, host). Raises StoreError, Conflict.
Repair = Callable[[str, str], Awaitable[HostRow | None]]


class _Ends(Exception):
    """No more instances; ``reason`` speaks for the request if none was placed."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


class _Course(Struct):
    """How far one decision has come. ``swept``: the group's row was swept for its sake."""

    facts: GroupFacts
    tried: set[str]
    done: list[Made]
    said_no: Counter[str]
    swept: bool = False


class Joining:
    """A part of ``Placing``: stateless but for its parts."""

    def __init__(
        self,
        settings: Settings,
        claimer: Claimer,
        quotas: Quotas,
        targets: Targets,
        fill: Fill,
        read_facts: ReadFacts,
        repair: Repair,
    ) -> None:
        self._settings = settings
        self._claimer = claimer
        self._quotas = quotas
        self._targets = targets
        self._fill = fill
        self._read_facts = read_facts
        self._repair = repair

    async def place(
        self, request: Request, cells: list[str], count: int, facts: GroupFacts, effort: Effort
    ) -> Placed | Reason:
        """``count`` instances, all or none; with ``partial`` each is a write set of its own.

        What goes wrong is a reason. Bounded by the attempts and by the effort's deadline.
        """
        course = _Course(facts, set(request.tried), [], Counter())
        reason: Reason | None = None
        for _ in range(self._settings.scheduler.attempts_max):
            if effort.left_s <= 0 or len(course.done) == count:
                break
            try:
                await self._attempt(request, cells, count, course, effort)
            except _Ends as ends:
                reason = ends.reason
                break
            except Exhausted:
                reason = refusals.no_alternates(request)
                break
            except (StoreError, Overloaded, NotFound, Conflict, InvalidInput) as error:
                reason = refusals.trouble(error)
                break
        if course.done:
            return Placed(tuple(course.done))
        where = ", ".join(cells)
        return reason or refusals.contended(where, effort, course.said_no, len(course.tried))

    async def _attempt(
        self, request: Request, cells: list[str], count: int, course: _Course, effort: Effort
    ) -> None:
        """One choice and one write set; the course goes on from there. Raises _Ends."""
        at_once = 1 if request.spec.partial else count
        cells = await self._within_quota(request, cells, at_once, course.facts)
        wants = await self._apart(request, cells, at_once, course, effort)
        if isinstance(wants, Reason):
            await self._doubt(request, course, wants)
            return
        if reason := await self._fill(wants, request.spec.network):
            raise _Ends(reason)
        made, refused = await self._claimer.claim_all(request, wants, effort, course.facts)
        group = course.facts.group
        if refused.get(group.id) == GROUP_GONE:
            raise _Ends(refusals.group_gone(course.facts))
        if group.id in refused:
            await self._sweep(request, course)
        elif refused:
            course.facts = await self._read_facts(request) or course.facts
        for claim in made:
            course.done.append(claim)
            course.facts = course.facts.joined(self._place_of(claim.cell, claim.row.host))
        for host, why in refused.items():
            course.said_no[why] += 1
            if host != group.id:
                course.tried.add(host)
        if is_quota(refused.values()):
            await self._quotas.pause()

    async def _within_quota(
        self, request: Request, cells: list[str], count: int, facts: GroupFacts
    ) -> list[str]:
        """Those of ``cells`` whose slice of the project's quota has room. Raises _Ends without any."""
        group = facts.group
        together = group.policy is Policy.AFFINITY and group.scope is not Scope.REGION
        reasons: dict[str, Reason] = {}
        for cell in cells:
            if reason := await self._quotas.short(request, cell, count if together else 1):
                reasons[cell] = reason
        left = [cell for cell in cells if cell not in reasons]
        if reasons and not left:
            raise _Ends(refusals.joined(list(reasons.values())))
        return left

    async def _doubt(self, request: Request, course: _Course, reason: Reason) -> None:
        """Sweep the group's row before ``reason`` is believed, once; raises _Ends if it holds."""
        judged = any(word in reason.rejected for word in (groups.AFFINITY, groups.ANTI_AFFINITY))
        if course.swept or not judged or not course.facts.members:
            raise _Ends(reason)
        row = await self._sweep(request, course)
        if row is not None and any(record.tag for record in row.claims):
            raise _Ends(refusals.group_undecided(course.facts))

    async def _sweep(self, request: Request, course: _Course) -> HostRow | None:
        """Bring the group's row in order and read it anew."""
        group = course.facts.group
        course.swept = True
        row = await self._repair(group.home_cell, group.id)
        course.facts = await self._read_facts(request) or course.facts
        return row

    async def _apart(
        self, request: Request, cells: list[str], count: int, course: _Course, effort: Effort
    ) -> list[Want] | Reason:
        """A host for each of ``count`` instances, each chosen as if those before it had joined."""
        facts = course.facts
        wants: list[Want] = []
        taken: Counter[str] = Counter()
        known = [self._settings.cluster.cell(name) for name in cells]
        for _ in range(count):
            left = groups.cells_left(facts, known)
            misses: list[Reason | Nowhere] = []
            for cell in left:
                targets = await self._targets(
                    request, cell, facts, effort, 1 + len(taken), course.tried
                )
                if isinstance(targets, Found):
                    misses.append(Nowhere(targets, dict(course.said_no)))
                    continue
                best = min(targets, key=lambda target: taken[target.host])
                taken[best.host] += 1
                wants.append(Want(cell, best.host, completed=best.completed))
                facts = facts.joined(self._place_of(cell, best.host))
                break
            else:
                return refusals.joined(misses) if misses else refusals.no_cell(facts, cells)
        return merged(wants)

    def _place_of(self, cell: str, host: str) -> Place:
        return Place(self._settings.cluster.cell(cell).region, cell, host)
