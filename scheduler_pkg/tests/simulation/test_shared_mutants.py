"""Mutants of what several hosts share: each breaks one rule, and a simulation must notice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from placer.claims.operations import Refusal
from placer.claims.shares import Departures, Shares
from placer.claims.tags import JoinGroup
from placer.model.records import HostRow, HostStatus, Record
from placer.model.request import Reason, Request
from placer.scheduler.joining import Joining, _Ends

from . import test_shared
from .judge import fails

SEEDS = range(12)
Patch = Callable[[pytest.MonkeyPatch], None]


def lost_answers_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A claim that left by an LWT without an answer gives nothing back."""
    patch.setattr(Departures, "doubt", lambda self, old: None)


def given_back_once(patch: pytest.MonkeyPatch) -> None:
    """A share whose give-back had no answer is not tried again."""
    leave = Shares._leave

    async def once(self: Shares, share: str, claim: str) -> None:
        patch.setattr("placer.claims.shares._TRIES", 0)
        await leave(self, share, claim)

    patch.setattr(Shares, "_leave", once)


def first_refusal_believed(patch: pytest.MonkeyPatch) -> None:
    """A group's refusal is not doubted."""

    async def believe(self: Joining, request: Request, course: object, reason: Reason) -> None:
        raise _Ends(reason)

    patch.setattr(Joining, "_doubt", believe)


def closed_row_admits(patch: pytest.MonkeyPatch) -> None:
    """A deleted group's row still takes members."""
    entry = JoinGroup.entry

    def blind(self: JoinGroup, row: HostRow, now_ms: int, writeset: str) -> Record | Refusal:
        up = HostRow(row.host, row.name, row.rev, HostStatus.UP, row.records, row.kind)
        return entry(self, up, now_ms, writeset)

    patch.setattr(JoinGroup, "entry", blind)


def shares(seed: int) -> None:
    for end in ("cancelled", "expired", "failed"):
        test_shared.test_shares_go_with_their_claim(seed, 0.1, end)


def joins(seed: int) -> None:
    test_shared.test_nobody_joins_a_group_that_is_deleted(seed)


def members(seed: int) -> None:
    test_shared.test_member_whose_claim_is_gone_does_not_refuse_another("near")


@pytest.mark.parametrize(
    ("mutant", "scenario"),
    [
        (lost_answers_forgotten, shares),
        (given_back_once, shares),
        (first_refusal_believed, members),
        (closed_row_admits, joins),
    ],
    ids=lambda part: part.__name__,
)
def test_the_simulation_notices(
    mutant: Patch, scenario: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the first seeds."""
    mutant(monkeypatch)
    assert fails(scenario, SEEDS), f"{mutant.__doc__} Nobody noticed."
