"""Write sets and their recovery among deaths at every step, lost answers, zombies and cut cells.

A failure names its seed; ``./test -k 'write-seed-17'`` replays it.
"""

from __future__ import annotations

import pytest

from .clock import run_simulated
from .judge import judge
from .world import World

SEEDS = range(1500)


def run(seed: int, *, unknown: float = 0.15, crashes: bool = True) -> World:
    """One seed from the beginning to the end of recovery, judged."""
    world = World(seed, unknown=unknown, crashes=crashes)
    run_simulated(world.run(), threads=False)
    judge(world)
    return world


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"write-seed-{seed}")
def test_all_or_nothing_whoever_dies(seed: int) -> None:
    """Bounds at every revision, manifests whole or not at all, answers that hold, nothing left."""
    run(seed)


def test_a_seed_is_the_same_run_every_time() -> None:
    """What a failing seed shows can be looked at again."""
    runs = [
        [[(host, rev, row) for host, rev, row in store.applied] for store in run(7).stores.values()]
        for _ in range(2)
    ]
    assert runs[0] == runs[1]


def test_without_faults_what_fits_is_committed() -> None:
    """Progress: nobody dies and no answer is lost, so each write set commits or hears why not."""
    for seed in range(20):
        world = run(seed, unknown=0.0, crashes=False)
        told = [state for name, state in world.told.items() if name not in world.leased]
        assert "claimed" in told
