"""Rule 19: a row that went and is made again begins above every revision that it ever had.

Our code deletes no row; a restore or an operator may. What was sent to the former life of a row must
never apply to the next one.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from placer.claims.operations import AddClaim
from placer.claims.protocol import HostWriter
from placer.errors import PlacerError
from placer.history import HistoryWriter
from placer.model.fitting import demand_of
from placer.model.records import HostRow
from placer.settings import Scheduler

from .clock import run_simulated
from .store import SimStore
from .test_protocol import report, writer

SEEDS = range(100)


async def _two_lives(seed: int, *, from_one: bool) -> None:
    """Claims whose answers are lost, then the row is made again: it is empty, and stays so."""
    store = SimStore(random.Random(seed), unknown=0.0)
    process = writer(store, seed, "p0")
    if from_one:
        process = HostWriter(
            store, Scheduler(), HistoryWriter(None, "p0"), clock_us=lambda: 1, rng=process._rng
        )
    await process.submit("h1", report("h1"), deadline_s=5.0)
    store.unknown = 0.8
    claims = (
        AddClaim(f"c1.h1.{n}", f"i{n}", f"q{n}", "p", demand_of({"VCPU": 1}), 2**52)
        for n in range(4)
    )
    await asyncio.gather(
        *(process.submit("h1", claim, deadline_s=0.02) for claim in claims),
        return_exceptions=True,
    )
    store.rows.pop("h1")
    store.unknown = store.read_loss = store.serial_read_loss = 0.0
    for _ in range(3):
        try:
            made = await process.submit("h1", report("h1"), deadline_s=5.0)
            break
        except PlacerError:
            continue
    assert isinstance(made, HostRow)
    await asyncio.gather(*store.zombies)
    assert not store.rows["h1"].claims, "a claim on the former row is on the new one"


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_nothing_sent_to_a_former_row_applies(seed: int) -> None:
    """Revisions begin at the time in microseconds, so no zombie's condition can hold again."""
    run_simulated(_two_lives(seed, from_one=False), threads=False)


def test_mutant_rev_restarts_is_caught() -> None:
    """With revisions that begin at 1 again, some seed has a zombie apply to the new row."""
    for seed in range(400):
        try:
            run_simulated(_two_lives(seed, from_one=True), threads=False)
        except AssertionError:
            return
    pytest.fail("rev_restarts survived 400 seeds")
