"""The checker on histories of write sets: right ones pass, mutants' are called by their name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from placer.checker import files
from placer.checker.core import FinalRow, check
from placer.checker.verdict import Kind, Passed, Verdict
from placer.history import Event

from . import test_writeset_mutants as mutants
from .clock import run_simulated
from .test_checker import AFTER_ALL
from .world import World

SEEDS = range(60)


def judged(seed: int, directory: Path) -> Verdict:
    """Run a seed and check what its processes recorded, without a look at the simulation."""
    world = World(seed, unknown=0.15, directory=directory)
    run_simulated(world.run(), threads=False)
    events: list[Event] = list(world.acknowledged)
    for path in files.find([directory]):
        found, torn = files.read(path)
        assert not torn
        events.extend(found)
    rows = [FinalRow(cell, row) for cell, s in world.stores.items() for row in s.rows.values()]
    regions = {cell: f"r-{cell}" for cell in world.stores}
    return check(events, rows, regions=regions, rows_read_us=AFTER_ALL)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"write-seed-{seed}")
def test_write_sets_are_proved(tmp_path: Path, seed: int) -> None:
    """Deaths, cuts, lost answers: proved to the last revision, no hole, no tag left."""
    verdict = judged(seed, tmp_path)
    assert verdict.verdict is Passed.PASSED, (verdict.violations, verdict.incomplete)
    assert verdict.writesets.tags == 0


@pytest.mark.parametrize(
    ("mutant", "kinds"),
    [
        pytest.param(mutants.count_only_settled, {Kind.DOUBLE_BOOKING}, id="count_only_settled"),
        pytest.param(mutants.drop_frees_at_once, {Kind.DOUBLE_BOOKING}, id="drop_frees_at_once"),
        pytest.param(
            mutants.rollback_without_abort,
            {Kind.SPLIT, Kind.LOST_CLAIM},
            id="rollback_without_abort",
        ),
        pytest.param(
            mutants.unreachable_is_missing,
            {Kind.SPLIT, Kind.LOST_CLAIM},
            id="unreachable_is_missing",
        ),
        pytest.param(
            mutants.delete_record_early, {Kind.SPLIT, Kind.LOST_CLAIM}, id="delete_record_early"
        ),
        pytest.param(mutants.unknown_prepare_is_ok, {Kind.SPLIT}, id="unknown_prepare_is_ok"),
        pytest.param(mutants.missing_confirm, {Kind.SPLIT}, id="missing_confirm"),
        pytest.param(
            mutants.tagged_not_frozen, {Kind.NOT_FROZEN, Kind.SPLIT}, id="tagged_not_frozen"
        ),
        pytest.param(
            mutants.plain_write,
            {Kind.TWO_WRITERS, Kind.ROW_DIFFERS, Kind.LOST_WRITE},
            id="plain_write",
        ),
        pytest.param(
            mutants.wrong_datacenter,
            {Kind.TWO_WRITERS, Kind.ROW_DIFFERS, Kind.LOST_WRITE},
            id="wrong_datacenter",
        ),
    ],
)
def test_mutant_is_caught_by_the_checker(
    mutant: Callable[[pytest.MonkeyPatch], None],
    kinds: set[Kind],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Some seed's history shows the broken rule as the violation that it is."""
    mutant(monkeypatch)
    for seed in mutants.SEEDS:
        try:
            verdict = judged(seed, tmp_path / str(seed))
        except (AssertionError, KeyError, RuntimeError):
            continue
        if kinds & {violation.kind for violation in verdict.violations}:
            return
    pytest.fail(f"the checker missed the mutant on all {len(mutants.SEEDS)} seeds")
