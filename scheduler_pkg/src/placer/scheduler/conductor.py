"""The conductor: brings every open request of the log to its end.

    accepted    choose, claim, write the outcome       -> placed, refused; failed after failed builds
    moving      carry single instances to other claims -> placed, built (``moving.py``)
    cancelling  release every claim, wait for agents   -> cancelled; failed if a reason was given

The request's row says at all times what has become of it, and only LWTs on it decide. The naive way,
claim and then tell the agent, breaks when this process dies in between, or is thought dead while
somebody else starts anew: two instances for one request. So the order is: claims on the host rows,
then the request's LWT that names them, and only then the agents hear of them; an agent adopts no
claim that its request does not name. Whoever loses the request's LWT releases what it claimed;
what a dead process claimed and no request names ends with its lease.

Two views of the world are kept apart: ``_jobs``, what this process works on (exact, what peers are
told when they ask), and the log, what is true. When the log does not answer, the job is dropped and
its work row stays: the scan (``workscan.py``) brings it to somebody when the log answers again.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection
from typing import Final

import structlog

from placer import failpoints, metrics, tracing
from placer.errors import NotFound, Overloaded, PlacerError
from placer.history import Acknowledged, HistoryWriter, now_us
from placer.model.moves import settled_stage
from placer.model.records import HostRow, Record
from placer.model.request import Reason, Request, Stage, Timings
from placer.model.work import Work
from placer.scheduler import refusals
from placer.scheduler.claimer import Effort
from placer.scheduler.moving import Moving
from placer.scheduler.placing import Placing
from placer.scheduler.releasing import Releasing
from placer.scheduler.targets import Placed
from placer.scheduler.turns import Turns
from placer.scheduler.worklog import RequestLog
from placer.settings import Settings

log = structlog.get_logger(__name__)

#: Waits between two looks at a request that cannot be brought further now.
_PAUSE_S: Final = 0.5
_PAUSE_MAX_S: Final = 10.0

#: Called with each claim that its request names: cell, row, record. What it gives back ends, well or
#: not, when the host's cell has been asked; None: that is so already.
Notify = Callable[[str, HostRow, Record], Awaitable[object] | None]


class _Job:
    """A request that this process works on; ``first`` is its state once there is news."""

    def __init__(self, request: Request, work: Work) -> None:
        self.request = request
        self.work = work
        self.first: asyncio.Future[Request] = asyncio.get_running_loop().create_future()
        self.nudged = asyncio.Event()
        self.pauses = 0

    def nudge(self) -> None:
        """Something may have changed: look again, and have news of that."""
        if self.first.done():
            self.first = asyncio.get_running_loop().create_future()
        self.nudged.set()

    def tell(self, request: Request) -> None:
        self.request = request
        if not self.first.done():
            self.first.set_result(request)


class Conductor:
    """One per process. ``submit`` takes a request; its task ends when the request is final."""

    def __init__(
        self,
        settings: Settings,
        requests: RequestLog,
        placing: Placing,
        releasing: Releasing,
        moving: Moving,
        history: HistoryWriter,
        notify: Notify,
        *,
        rng: random.Random,
    ) -> None:
        self._settings = settings
        self._requests = requests
        self._placing = placing
        self._releasing = releasing
        self._moving = moving
        self._history = history
        self._notify = notify
        self._rng = rng
        self._turns = Turns(settings.scheduler.decisions_max)
        self._jobs: dict[str, _Job] = {}
        #: Agents that are being told of a request's claims: its work row stays for so long.
        self._telling: dict[str, list[Awaitable[object]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._parked = 0
        self._closing = False

    # -- for the rest of the scheduler

    def submit(self, request: Request, work: Work) -> asyncio.Future[Request]:
        """Work on an open ``request`` until it is final; the future has its state at the first news.

        One that this process works on already is looked at again at once. Raises Overloaded at the
        bound on requests in flight; nothing was done then.
        """
        job = self._jobs.get(request.id)
        if job is not None:
            job.nudge()
            return job.first
        if self._closing:
            raise Overloaded("This process is stopping.", remedy="Ask another.")
        limit = self._settings.scheduler.queue_max
        if len(self._jobs) - self._parked >= limit:
            raise Overloaded(f"{limit} requests are being decided here.", remedy="Retry later.")
        job = _Job(request, work)
        self._jobs[request.id] = job
        task = asyncio.get_running_loop().create_task(self._carry(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return job.first

    async def schedule(self, request: Request) -> Request:
        """``submit`` for the caller that wrote the request just now: what is known of it first."""
        work = Work(request.id, request.rev, request.updated_ms)
        return await asyncio.shield(self.submit(request, work))

    def working(self, requests: Collection[str]) -> set[str]:
        """Those of ``requests`` that this process works on."""
        return {request for request in requests if request in self._jobs}

    def depths(self) -> dict[str, int]:
        """How many requests are in hand here, how many of them wait, and how many do for a turn."""
        return {
            "requests": len(self._jobs),
            "requests_parked": self._parked,
            "requests_for_a_turn": self._turns.waiting,
        }

    async def close(self, grace_s: float) -> None:
        """Take no more, finish decisions within ``grace_s``; the log has what is left."""
        self._closing = True
        for job in self._jobs.values():
            job.nudged.set()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace_s)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    # -- a job

    async def _carry(self, job: _Job) -> None:
        tracing.bind(job.request.trace)
        try:
            await self._finish(job)
        except PlacerError as error:
            # The log does not answer. The work row brings the request to somebody later.
            log.warning("request_left", request=job.request.id, why=str(error))
        except Exception:
            log.exception("request_failed", request=job.request.id)
        finally:
            del self._jobs[job.request.id]
            self._telling.pop(job.request.id, None)
            job.tell(job.request)

    async def _finish(self, job: _Job) -> None:
        """Work on the request until it is final. Ends early when it cannot be kept waiting here."""
        while not job.request.stage.is_final:
            job.nudged.clear()
            before = job.request.stage
            if before is Stage.ACCEPTED:
                request = await self._decide(job.request)
            elif before is Stage.MOVING:
                request = await self._move(job.request)
            elif await self._moving.cancel(job.request):
                request = await self._releasing.cancel(job.request)
            else:
                request = job.request
            job.tell(request)
            if request.stage is before and not await self._park(job):
                return
        # Without the row nobody would tell the agents again, should this process die before they know.
        await asyncio.gather(*self._telling.pop(job.request.id, ()), return_exceptions=True)
        await self._requests.drop(job.work)

    async def _park(self, job: _Job) -> bool:
        """Wait a while, then look at the request again; False if too many wait here already."""
        if self._closing or self._parked >= self._settings.scheduler.parked_max:
            return False
        pause_s = min(_PAUSE_MAX_S, _PAUSE_S * 2.0**job.pauses) * self._rng.uniform(0.5, 1.0)
        job.pauses += 1
        if job.request.stage is Stage.ACCEPTED:
            # One last look when the deadline has come.
            left_s = (job.request.deadline_ms - self._requests.now_ms) / 1000
            pause_s = max(0.01, min(pause_s, left_s))
        self._parked += 1
        try:
            await asyncio.wait_for(job.nudged.wait(), pause_s)
        except TimeoutError:
            pass
        finally:
            self._parked -= 1
        if self._closing:
            return False
        stored = await self._requests.read(job.request.id)
        if stored is None:
            raise NotFound(f"There is no request {job.request.id} any more.")
        job.request = stored
        return True

    # -- a decision

    async def _move(self, request: Request) -> Request:
        """One look at the moves of ``request``; what the log says afterwards."""
        async with self._turns.turn(request.spec.priority):
            return await self._moving.carry(request)

    async def _decide(self, request: Request) -> Request:
        """One try to place ``request``; what the log says afterwards."""
        async with self._turns.turn(request.spec.priority):
            deadline_s = self._settings.cluster.claim_deadline_s
            effort = Effort(asyncio.get_running_loop().time() + deadline_s)
            late = self._requests.now_ms >= request.deadline_ms
            outcome = await self._placing.place(
                request, effort, searching=not (late and request.tried)
            )
            if isinstance(outcome, Placed):
                return await self._record_placed(request, outcome, effort)
            return await self._record_reason(request, outcome, effort)

    async def _record_placed(self, request: Request, placed: Placed, effort: Effort) -> Request:
        """Have the request name its claims, then tell the agents; or give the claims back."""
        failpoints.reach("request.claimed")
        placements = (*request.placements, *(made.placement for made in placed.made))
        changed = await self._requests.change(
            request,
            settled_stage(placements, request.moves),
            "",
            placements=placements,
            alternates=placed.alternates,
            reason=None,
            **self._cost(request, effort),
        )
        stored = changed.request
        named = {placement.claim for placement in stored.placements}
        lost = [made for made in placed.made if made.record.id not in named]
        if lost:
            # Somebody else changed the request: cancelled it, or took it over.
            metrics.outcomes_lost.inc()
            self._releasing.give_back(lost)
            return stored
        failpoints.reach("request.placed")
        for made in placed.made:
            self._history.add(
                Acknowledged(
                    process=self._history.process,
                    cell=made.cell,
                    host=made.row.host,
                    claim=made.record.id,
                    request=request.id,
                    at_us=now_us(),
                    of=request.spec.count,
                )
            )
            metrics.decisions.labels(made.cell, stored.stage.value).inc()
            telling = self._notify(made.cell, made.row, made.record)
            if telling is not None:
                self._telling.setdefault(request.id, []).append(telling)
        return stored

    async def _record_reason(self, request: Request, reason: Reason, effort: Effort) -> Request:
        """Refuse; or wait, if a later try may end otherwise and the deadline allows one."""
        cost = self._cost(request, effort)
        waits = (
            refusals.worth_waiting(reason, request) and self._requests.now_ms < request.deadline_ms
        )
        reason = refusals.after(request.reason, reason)
        if waits:
            if request.reason is not None and request.reason.code == reason.code:
                return request
            stage = Stage.ACCEPTED
        elif request.placements:
            # All or none, and a build that failed cannot be replaced: the others must go.
            settled = settled_stage(request.placements, request.moves)
            stage = settled if request.spec.partial else Stage.CANCELLING
        else:
            stage = Stage.FAILED if request.tried else Stage.REFUSED
        if not waits:
            metrics.decisions.labels(self._settings.cell, reason.code).inc()
        changed = await self._requests.change(request, stage, reason.code, reason=reason, **cost)
        return changed.request

    def _cost(self, request: Request, effort: Effort) -> dict[str, object]:
        return {
            "attempts": request.attempts + effort.attempts,
            "conflicts": request.conflicts + effort.tally.conflicts,
            "timings": Timings(
                select_ms=round(effort.select_s * 1000, 3),
                claim_ms=round(effort.claim_s * 1000, 3),
            ),
        }
