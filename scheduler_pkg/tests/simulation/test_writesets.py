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
