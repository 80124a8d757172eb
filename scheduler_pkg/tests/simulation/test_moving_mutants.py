"""Mutants of moves: each breaks one rule, and the simulation must notice.

So that a green ``test_moving_sim.py`` means something. What a mutant breaks is in its docstring.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest

from placer.claims.fencing import Fence
from placer.claims.operations import Refusal
from placer.model import moves
from placer.model.records import HostRow, HostStatus
from placer.model.request import Move, Placement, Request
from placer.scheduler import claimer
from placer.scheduler.lifecycle import Lifecycle
from placer.scheduler.moving import Moving

from .moving_world import MovingWorld
from .test_moving_sim import chaos, play

SEEDS = range(4000, 4200)

Patch = Callable[[pytest.MonkeyPatch], None]


def built_before_it_is_fenced(patch: pytest.MonkeyPatch) -> None:
    """An agent may build an evacuated instance before its old claim is deleting."""

    def may_build(request: Request, claim: str) -> bool:
        return any(held.claim == claim for held in request.held)

    patch.setattr(moves, "may_build", may_build)


def fenced_while_it_is_up(patch: pytest.MonkeyPatch) -> None:
    """The request is told that a claim is fenced, and the host's row is not."""

    def apply(self: Fence, row: HostRow, now_ms: int) -> HostRow | Refusal:
        return row

    patch.setattr(Fence, "apply", apply)
    patch.setattr(Fence, "done", lambda self, row: row.status is HostStatus.DOWN)


def old_claim_first(patch: pytest.MonkeyPatch) -> None:
    """The old claim is given up as soon as there is a new one, built or not."""
    name = Moving._name

    async def hasty(self: Moving, request: Request, move: Move, placed: Any) -> Request:
        here = moves.placement_of(request, move.instance)
        stored = await name(self, request, move, placed)
        if here is not None:
            await self._releasing.release(here.cell, here.host, here.claim)
        return stored

    patch.setattr(Moving, "_name", hasty)


def old_claim_kept(patch: pytest.MonkeyPatch) -> None:
    """The request forgets the claim that its instance left, and nobody gives it up."""

    async def forgetful(self: Moving, request: Request, move: Move, old: Placement) -> Request:
        return await self._change(
            request, move, lambda now, held: {"moves": moves.replaced(now, held, None)}, "left"
        )

    patch.setattr(Moving, "_leave", forgetful)


def epoch_stays(patch: pytest.MonkeyPatch) -> None:
    """A new claim has the epoch of the old one."""

    def sought_for(request: Request) -> Move | None:
        move = moves.sought_for(request)
        return msgspec.structs.replace(move, epoch=move.epoch - 1) if move else None

    patch.setattr(claimer, "sought_for", sought_for)


def failure_not_told(patch: pytest.MonkeyPatch) -> None:
    """A request goes on waiting for a claim whose build failed."""
    replace = Lifecycle._replace

    async def deaf(self: Lifecycle, request: Request, record: Any, row: HostRow, why: str) -> bool:
        if moves.move_to(request, record.id) is not None:
            return True
        return await replace(self, request, record, row, why)

    patch.setattr(Lifecycle, "_replace", deaf)

    async def patient(self: Moving, request: Request, move: Move, new: Placement) -> Request:
        return request

    patch.setattr(Moving, "_await_build", patient)


MUTANTS: tuple[tuple[Patch, bool], ...] = (
    (built_before_it_is_fenced, True),
    (fenced_while_it_is_up, True),
    (old_claim_first, False),
    (old_claim_kept, False),
    (epoch_stays, False),
    (failure_not_told, False),
)


def failures(seeds: Iterable[int], *, evacuations_only: bool) -> Iterator[int]:
    """Seeds whose run ends with something out of order."""
    for seed in seeds:
        world = MovingWorld(seed)
        try:
            play(world, chaos(world, evacuations_only=evacuations_only))
        except AssertionError:
            yield seed


@pytest.mark.parametrize(
    ("mutant", "evacuations_only"), MUTANTS, ids=[mutant.__name__ for mutant, _ in MUTANTS]
)
def test_the_simulation_notices(
    mutant: Patch, evacuations_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the first seeds."""
    mutant(monkeypatch)
    found = next(failures(SEEDS, evacuations_only=evacuations_only), None)
    assert found is not None, f"{mutant.__doc__} Nobody noticed."
