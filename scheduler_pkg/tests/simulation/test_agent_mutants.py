"""The agent's rules removed one at a time: the simulation of agents must catch each.

Rules 20 to 22 of the claim protocol: adopt before building, destroy before freeing, and give a failed
build back by way of ``deleting``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from placer.agents.agent import Agent
from placer.agents.decisions import Action
from placer.claims import operations
from placer.model.messages import ClaimOrder, StepKind
from placer.model.records import ClaimState, Record

from .clock import run_simulated
from .test_agent import Chaos

SEEDS = range(400)
Patch = pytest.MonkeyPatch


def build_before_adopt(patch: Patch) -> None:
    """Rule 20: no instance before the lease has ended in an adoption."""

    async def eager(self: Agent, order: ClaimOrder) -> Action:
        await self._driver.build(order)
        return Action.SAY_BUILT if (await self._step(order, StepKind.ADOPT)).ok else Action.NOTHING

    patch.setattr(Agent, "_adopt", eager)


def expire_building(patch: Patch) -> None:
    """Rule 20: what an agent works on has no lease."""

    def lapsed(record: Record, now_ms: int) -> bool:
        waits = record.state in (ClaimState.CLAIMED, ClaimState.BUILDING)
        return waits and record.lease_until_ms < now_ms

    patch.setattr(operations, "lapsed", lapsed)


def free_before_destroy(patch: Patch) -> None:
    """Rule 21: capacity is free only when the instance is gone."""
    original = Agent._destroy

    async def hasty(self: Agent, order: ClaimOrder) -> None:
        await self._step(order, StepKind.GONE)
        await original(self, order)

    patch.setattr(Agent, "_destroy", hasty)


def failed_build_removes(patch: Patch) -> None:
    """Rule 22: a failed build is not removed from ``building``."""
    original = Agent._step

    async def direct(self: Agent, order: ClaimOrder, kind: StepKind, *more: str) -> object:
        wanted = StepKind.GONE if kind is StepKind.DELETING else kind
        return await original(self, order, wanted, *more)

    patch.setattr(Agent, "_step", direct)
    sources, target = operations._STEPS[StepKind.GONE]
    patch.setitem(operations._STEPS, StepKind.GONE, ((*sources, ClaimState.BUILDING), target))


@pytest.mark.parametrize(
    "mutant",
    [build_before_adopt, expire_building, free_before_destroy, failed_build_removes],
    ids=lambda mutant: mutant.__name__,
)
def test_mutant_is_caught(
    mutant: Callable[[Patch], None], monkeypatch: Patch, tmp_path: Path
) -> None:
    """At least one seed shows an instance without capacity, or rows and instances that disagree."""
    mutant(monkeypatch)
    for seed in SEEDS:
        chaos = Chaos(tmp_path / str(seed), seed)
        try:
            run_simulated(chaos.run())
        except (AssertionError, RuntimeError, TimeoutError):
            return
        if chaos.bench.world.violations:
            return
    pytest.fail(f"{mutant.__name__} survived {len(SEEDS)} seeds")
