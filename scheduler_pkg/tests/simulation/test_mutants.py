"""The simulation is itself tested: the protocol with one rule removed must be caught.

Each mutant names the rule of the claim protocol that it breaks. A mutant that survives all seeds
means that the simulation has gone blind.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from placer.claims import protocol
from placer.claims.operations import AddClaim, AgentStep
from placer.errors import Conflict
from placer.model.records import HostRow

from . import test_protocol
from .clock import run_simulated
from .store import SimStore

SEEDS = range(60)


def no_revision_check(patch: pytest.MonkeyPatch) -> None:
    """Rule 1: a write that does not look at the revision overwrites another's claim."""

    async def update_row(self: SimStore, row: HostRow, *, if_rev: int) -> bool:
        def apply() -> bool:
            current = self.rows.get(row.host)
            return self._apply(current.rev if current else 0, row)

        return await self._lwt(apply)

    patch.setattr(SimStore, "update_row", update_row)


def unknown_taken_for_failure(patch: pytest.MonkeyPatch) -> None:
    """Section 2: a lost answer is not a no."""

    original = protocol.HostWriter._read_fresh

    async def hasty(
        self: protocol.HostWriter, host: str, group: list[protocol._Member]
    ) -> HostRow | None:
        for member in group:
            if member.sent_rev is not None and isinstance(member.operation, AddClaim):
                member.fail(Conflict("lost"))
        return await original(self, host, group)

    patch.setattr(protocol.HostWriter, "_read_fresh", hasty)


def group_judged_by_one(patch: pytest.MonkeyPatch) -> None:
    """Rule 3: a member is acknowledged because another member of its group is on the row."""
    original = protocol.HostWriter._read_fresh

    async def generous(
        self: protocol.HostWriter, host: str, group: list[protocol._Member]
    ) -> HostRow | None:
        row = await original(self, host, group)
        if row is not None and any(not member.open for member in group):
            for member in group:
                if member.sent_rev is not None:
                    member.resolve(row)
        return row

    patch.setattr(protocol.HostWriter, "_read_fresh", generous)


def freed_before_destroyed(patch: pytest.MonkeyPatch) -> None:
    """Rule 21: a step is said to be done whatever the row shows."""
    patch.setattr(AgentStep, "done", lambda self, row: True)


@pytest.mark.parametrize(
    "mutant",
    [
        no_revision_check,
        unknown_taken_for_failure,
        group_judged_by_one,
        freed_before_destroyed,
    ],
    ids=lambda mutant: mutant.__name__,
)
def test_mutant_is_caught(
    mutant: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least one seed of the simulation fails on the mutant."""
    mutant(monkeypatch)
    for seed in SEEDS:
        try:
            run_simulated(test_protocol.run(seed, unknown=0.3))
        except (AssertionError, RuntimeError):
            return
    pytest.fail(f"{mutant.__name__} survived {len(SEEDS)} seeds")
