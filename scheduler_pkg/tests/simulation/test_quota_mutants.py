"""Mutants of quotas: each breaks one rule, and a simulation must notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from placer.claims import quotas as rows
from placer.model import quotas
from placer.model.request import Placement, Request
from placer.scheduler.quotas import Quotas

from . import test_quotas
from .judge import fails

SEEDS = range(6)
Patch = Callable[[pytest.MonkeyPatch], None]


def claimed_unasked(patch: pytest.MonkeyPatch) -> None:
    """A claim takes its share whether it is left or not."""
    patch.setattr(rows, "lacks", lambda *_: "")
    patch.setattr("placer.scheduler.quotas._shortage", lambda *_: None)


def resized_unasked(patch: pytest.MonkeyPatch) -> None:
    """A resize in place takes nothing of the quota."""

    async def grow(self: Quotas, *_: object) -> bool:
        return True

    patch.setattr(Quotas, "grow", grow)


async def _nothing(
    self: Quotas, request: Request, here: Placement, size: Mapping[str, int]
) -> None: ...


def growth_kept(patch: pytest.MonkeyPatch) -> None:
    """What a resize took stays taken although the host refused it."""
    patch.setattr(Quotas, "ungrow", _nothing)


def shrinking_keeps(patch: pytest.MonkeyPatch) -> None:
    """What an instance shrank by is not given back."""
    patch.setattr(Quotas, "shrink", _nothing)


def slices_as_they_were(patch: pytest.MonkeyPatch) -> None:
    """A quota that is divided equally keeps the slices of the cells there were when it was put."""
    patch.setattr(quotas, "stored", lambda quota, spec: quota)


def claims(seed: int) -> None:
    test_quotas.test_many_claimers_share_one_quota(seed)


def resizes(seed: int) -> None:
    test_quotas.test_a_resize_in_place_asks_the_quota(seed, "")


def refusals(seed: int) -> None:
    test_quotas.test_what_the_host_refuses_is_given_back()


def cells(seed: int) -> None:
    test_quotas.test_a_cell_that_is_added_has_its_slice(seed)


@pytest.mark.parametrize(
    ("mutant", "scenario"),
    [
        (claimed_unasked, claims),
        (resized_unasked, resizes),
        (shrinking_keeps, resizes),
        (growth_kept, refusals),
        (slices_as_they_were, cells),
    ],
    ids=lambda part: part.__name__,
)
def test_the_simulation_notices(
    mutant: Patch, scenario: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the first seeds."""
    mutant(monkeypatch)
    assert fails(scenario, SEEDS), f"{mutant.__doc__} Nobody noticed."
