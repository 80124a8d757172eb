"""The claim protocol's own code on a store that loses answers: thousands of interleavings by seed.

A failure names its seed; ``./test -k 'seed-17'`` replays it.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from placer.claims.operations import AddClaim, AgentStep, Refusal, ReportInventory
from placer.claims.protocol import HostWriter
from placer.errors import PlacerError, StoreUnknown
from placer.history import HistoryWriter
from placer.model import ids, records
from placer.model.fitting import demand_of
from placer.model.messages import StepKind
from placer.model.records import ClaimState, HostRow, Inventory
from placer.settings import Scheduler

from .clock import run_simulated
from .store import SimStore

HOSTS = ("h1", "h2")
SEEDS = range(500)


def writer(store: SimStore, seed: int, process: str, directory: Path | None = None) -> HostWriter:
    return HostWriter(
        store,
        Scheduler(),
        HistoryWriter(directory, process),
        rng=random.Random(seed),
        clock_us=lambda: int(asyncio.get_running_loop().time() * 1e6) + 1,
    )


def report(host: str) -> ReportInventory:
    return ReportInventory(
        provider=host,
        name=host,
        inventories={
            "VCPU": Inventory(total=7),
            "CUSTOM_BAREMETAL": Inventory(total=2, units=("a", "b")),
        },
    )


def claim(host: str, number: int) -> AddClaim:
    demand = {"VCPU": 1 + number % 3}
    if number % 5 == 0:
        demand["CUSTOM_BAREMETAL"] = 1
    return AddClaim(
        claim=ids.new_claim_id("c1", host),
        consumer=f"i{number}",
        request=f"q{number}",
        project="p",
        demand=demand_of(demand),
        lease_until_ms=2**52,
    )


def assert_never_overbooked(store: SimStore) -> None:
    """After every revision: no class below zero, no device given twice, one chain of revisions."""
    last: dict[str, int] = {}
    present: set[str] = set()
    gone: set[str] = set()
    for host, if_rev, row in store.applied:
        assert last.get(host, 0) == if_rev, "two writes follow one revision"
        last[host] = row.rev
        on_row = {record.id for record in row.claims}
        gone |= {claim_id for claim_id in present if f".{host}." in claim_id} - on_row
        present |= on_row
        assert gone.isdisjoint(on_row), "a claim came back"
        free = records.available(row.records)
        assert all(amount >= 0 for amount in free.values()), (row, free)
        for devices in records.units_taken(row.records).values():
            assert all(amount <= 1 for amount in devices.values()), row


async def life(
    claims: HostWriter, host: str, number: int, store: SimStore, told: dict[str, str]
) -> None:
    """One client: claim, then perhaps adopt, build, delete. ``told``: what it was assured of."""
    operation = claim(host, number)
    try:
        result = await claims.submit(host, operation, deadline_s=2.0)
    except StoreUnknown:
        told[operation.claim] = "unknown"
        return
    except PlacerError:
        told[operation.claim] = "absent"
        return
    if isinstance(result, Refusal):
        told[operation.claim] = "absent"
        return
    assert result.find(operation.claim) is not None
    told[operation.claim] = "claimed"
    for kind in (StepKind.ADOPT, StepKind.BUILT, StepKind.DELETING, StepKind.GONE):
        if store.rng.random() < 0.3:
            return
        try:
            stepped = await claims.submit(host, AgentStep(operation.claim, kind), deadline_s=2.0)
        except PlacerError:
            told[operation.claim] = "unknown"
            return
        assert isinstance(stepped, HostRow), stepped
        told[operation.claim] = kind


async def run(seed: int, *, unknown: float, unavailable: float = 0.0) -> None:
    rng = random.Random(seed)
    store = SimStore(rng, unknown=unknown, unavailable=unavailable)
    processes = [writer(store, seed * 10 + n, f"p{n}") for n in range(3)]
    for host in HOSTS:
        for process in processes:
            try:
                await process.submit(host, report(host), deadline_s=5.0)
                break
            except PlacerError:
                continue
    told: dict[str, str] = {}
    await asyncio.gather(
        *(life(rng.choice(processes), rng.choice(HOSTS), n, store, told) for n in range(24))
    )
    await asyncio.gather(*store.zombies)
    assert_never_overbooked(store)
    on_rows = {record.id: record for row in store.rows.values() for record in row.claims}
    ever = {r.id for _, _, row in store.applied for r in row.claims}
    for claim_id, state in told.items():
        if state == "absent":
            assert claim_id not in on_rows, "an answer of no was followed by the claim"
        elif state == StepKind.GONE:
            assert claim_id in ever, "a claim was acknowledged that never was on the row"
            assert claim_id not in on_rows, "a removed claim came back"
        elif state == "claimed":
            assert on_rows[claim_id].state is ClaimState.CLAIMED, "an acknowledged claim was lost"
    for process in processes:
        await process.close(1.0)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_no_unit_is_promised_twice_whatever_answers_are_lost(seed: int) -> None:
    """Safety holds on every interleaving, with a fifth of all answers lost and late zombies."""
    run_simulated(run(seed, unknown=0.2, unavailable=0.02))


def test_without_faults_everything_that_fits_is_claimed() -> None:
    """Progress: nobody fails who competes only with others."""

    async def scenario() -> None:
        store = SimStore(random.Random(7))
        processes = [writer(store, n, f"p{n}") for n in range(3)]
        await processes[0].submit("h1", report("h1"), deadline_s=5.0)
        operations = [
            AddClaim(
                ids.new_claim_id("c1", "h1"), f"i{n}", f"q{n}", "p", demand_of({"VCPU": 1}), 2**52
            )
            for n in range(12)
        ]
        results = await asyncio.gather(
            *(processes[n % 3].submit("h1", op, deadline_s=5.0) for n, op in enumerate(operations))
        )
        # Seven cores, twelve requests of one core each: seven are placed, five refused.
        assert sum(isinstance(result, HostRow) for result in results) == 7
        assert [r.reason for r in results if isinstance(r, Refusal)] == ["VCPU:no_capacity"] * 5
        assert_never_overbooked(store)

    run_simulated(scenario())


def test_waiting_claims_of_one_host_ride_in_one_transaction() -> None:
    """Group commit: sixty-four claims that wait for one host need one LWT, not one each."""

    async def scenario() -> None:
        store = SimStore(random.Random(3))
        process = writer(store, 1, "p0")
        host = ReportInventory("h1", "h1", {"VCPU": Inventory(total=64)})
        await process.submit("h1", host, deadline_s=5.0)
        before = len(store.applied)
        await asyncio.gather(
            *(
                process.submit(
                    "h1",
                    AddClaim(f"k{n}", f"i{n}", f"q{n}", "p", demand_of({"VCPU": 1}), 2**52),
                    deadline_s=5.0,
                )
                for n in range(64)
            )
        )
        assert len(store.applied) - before == 1

    run_simulated(scenario())
