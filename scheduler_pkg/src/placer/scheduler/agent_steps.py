"""What agents do with claims, and say of their instances, brought on the rows and told to others.

Each is told before the agent hears of it, and told again when the agent asks again: a crash in
between loses nothing.
"""

from __future__ import annotations

from typing import Final

import structlog

from placer.claims.operations import TAGGED, AgentStep, Change, Refusal
from placer.errors import PlacerError
from placer.model.messages import RETRY, GuestState, Step, StepDone, StepKind
from placer.model.records import ClaimState, HostRow
from placer.scheduler.agent_events import Events, Writer

log = structlog.get_logger(__name__)

_GONE: Final = "claim_gone"


class _Look(Change, frozen=True):
    """Changes nothing; brings the row as it is, if the claim is on it."""

    claim: str

    def done(self, row: HostRow) -> bool:
        return row.find(self.claim) is not None

    def apply(self, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return row if self.done(row) else Refusal(_GONE)


class Steps:
    """The steps of all agents of one process; ``deadline_s`` bounds one write."""

    def __init__(self, writer: Writer, events: Events, *, deadline_s: float) -> None:
        self._writer = writer
        self._events = events
        self._deadline_s = deadline_s

    async def take(self, step: Step) -> StepDone:
        """Take a step of the agent that serves the host; raises nothing."""
        try:
            if step.kind is StepKind.GONE:
                await self._before_gone(step)
            result = await self._submit(step, step.kind)
            if isinstance(result, Refusal):
                # A write set that is decided settles its claims in a moment.
                reason = RETRY if result.reason == TAGGED else result.reason
                return StepDone(seq=step.seq, ok=False, reason=reason)
            record = result.find(step.claim)
            if step.kind is StepKind.ADOPT and record is not None:
                self._events.adopted(result, record)
            if step.kind is StepKind.BUILT and record is not None:
                await self._events.built(result, record)
            if step.kind is StepKind.DELETING and record is not None:
                await self._events.failed(result, record, step.why)
        except PlacerError as error:
            log.warning("step_undecided", claim=step.claim, step=step.kind, why=str(error))
            return StepDone(seq=step.seq, ok=False, reason=RETRY)
        except Exception:
            # One claim's trouble must not cost the agent its connection and all its hosts.
            log.exception("step_failed", claim=step.claim, step=step.kind)
            return StepDone(seq=step.seq, ok=False, reason=RETRY)
        return StepDone(seq=step.seq, ok=True)

    async def tell(self, state: GuestState) -> bool:
        """Tell how an instance is; False if nobody could be told and the agent must say it again."""
        try:
            row = await self._writer.submit(
                state.host, _Look(state.claim), deadline_s=self._deadline_s
            )
            record = row.find(state.claim) if isinstance(row, HostRow) else None
            if not isinstance(row, HostRow) or record is None:
                return True  # it is gone, and what it was has no meaning any more
            if record.state is not ClaimState.BUILT:
                return record.state is ClaimState.DELETING
            await self._events.guest(row, state)
        except PlacerError as error:
            log.warning("state_not_told", claim=state.claim, why=str(error))
            return False
        except Exception:
            log.exception("state_not_told", claim=state.claim)
            return False
        return True

    async def _before_gone(self, step: Step) -> None:
        """Tell of a claim that is about to leave its row, while its record can still be read.

        After the removal a crash would lose who must be told; now the agent repeats GONE. Asking
        for DELETING again changes nothing and brings the row as it is.
        """
        row = await self._submit(step, StepKind.DELETING)
        record = row.find(step.claim) if isinstance(row, HostRow) else None
        if isinstance(row, HostRow) and record is not None:
            await self._events.gone(row, record)

    async def _submit(self, step: Step, kind: StepKind) -> HostRow | Refusal:
        return await self._writer.submit(
            step.host, AgentStep(claim=step.claim, kind=kind), deadline_s=self._deadline_s
        )
