"""Slices of an address pool under two and more refillers that lose answers and die at any await.

What must hold after every single revision of every row: an address is in the slice of one host at
most, the pool's claims say of which, and instances hold only addresses of their host's slice. Once
each host was refilled again, nothing is lost: an address is free in the pool or in exactly one slice.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from pathlib import Path

import pytest

from placer.checker import files
from placer.checker.core import FinalRow, check
from placer.checker.verdict import Passed
from placer.claims import slices
from placer.claims.operations import AddClaim, Refusal, Release, ReportInventory
from placer.claims.pools import PutPool
from placer.claims.protocol import HostWriter
from placer.errors import PlacerError
from placer.history import Event, HistoryWriter
from placer.model import ids, networks, records
from placer.model.networks import NetworkSpec
from placer.model.records import ClaimState, HostRow, Inventory
from placer.model.request import RequestSpec
from placer.model.resource_classes import ADDRESS
from placer.scheduler.network import Slices
from placer.settings import Scheduler

from .clock import run_simulated
from .store import SimStore

NETWORK = "blue"
POOL = networks.network_id("c1", NETWORK)
HOSTS = ("h1", "h2", "h3")
SEEDS = range(200)
#: Six addresses, less than three hosts want to keep: they have to give back to each other.
UNITS = networks.network_inventory(NetworkSpec(cidr="10.0.0.0/29")).units
DEMAND = RequestSpec(resources={"VCPU": 1}, network=NETWORK).demand


class Process:
    """One scheduler process: its writer and its slices; ``kill`` ends it between any two awaits."""

    def __init__(self, store: SimStore, seed: int, histories: Path | None = None) -> None:
        settings = Scheduler(network_slice=3, network_donors_max=2)
        self.writer = HostWriter(
            store,
            settings,
            HistoryWriter(histories, f"p{seed}"),
            rng=random.Random(seed),
            clock_us=lambda: int(asyncio.get_running_loop().time() * 1e6) + 1,
        )
        self.slices = Slices(store, self.writer, settings, deadline_s=1.0)
        self.clients: list[asyncio.Task[None]] = []

    async def kill(self) -> None:
        for task in self.clients:
            task.cancel()
        for refill in self.slices._refills._running.values():
            refill.cancel()
        await self.writer.close(0.0)
        await asyncio.gather(*self.clients, return_exceptions=True)


async def prepare(store: SimStore, histories: Path | None = None) -> None:
    """The pool and the hosts, by a process that loses nothing."""
    process = Process(store, 0, histories)
    unknown, store.unknown = store.unknown, 0.0
    read_loss, store.read_loss, store.serial_read_loss = store.read_loss, 0.0, 0.0
    pool = PutPool(POOL, networks.row_name(NETWORK), {ADDRESS: _inventory()})
    await process.writer.submit(POOL, pool, deadline_s=5.0)
    for host in HOSTS:
        report = ReportInventory(host, host, {"VCPU": Inventory(total=20)})
        await process.writer.submit(host, report, deadline_s=5.0)
    store.unknown, store.read_loss, store.serial_read_loss = unknown, read_loss, read_loss
    await process.writer.close(1.0)


def _inventory() -> Inventory:
    return Inventory(total=len(UNITS), units=UNITS)


async def client(
    process: Process, store: SimStore, number: int, held: list[tuple[str, str]]
) -> None:
    """Claim with an address, refill when there is none, give back some; whatever happens, go on."""
    rng = store.rng
    for step in range(6):
        await asyncio.sleep(rng.uniform(0, 0.05))
        try:
            if held and rng.random() < 0.4:
                host, claim = held.pop(rng.randrange(len(held)))
                await process.writer.submit(host, Release(claim), deadline_s=1.0)
                continue
            host = rng.choice(HOSTS)
            claim = ids.new_claim_id("c1", host)
            operation = AddClaim(claim, f"i{number}.{step}", "q", "p", DEMAND, 2**52)
            result = await process.writer.submit(host, operation, deadline_s=1.0)
            if isinstance(result, HostRow):
                held.append((host, claim))
            if isinstance(result, Refusal) or rng.random() < 0.5:
                await process.slices.refill(host, NETWORK)
        except PlacerError:
            continue


def problems(applied: Iterable[tuple[str, int, HostRow]]) -> list[str]:
    """What is wrong after any revision, in the order in which they were applied."""
    rows: dict[str, HostRow] = {}
    found = []
    for key, _, row in applied:
        rows[key] = row
        owner = _owners(rows[POOL])
        for host in HOSTS:
            if host not in rows:
                continue
            held, used = (
                networks.addresses_of(rows[host], NETWORK),
                networks.in_use(rows[host], NETWORK),
            )
            found += [
                f"{a} is in the slice of {host}, not in its claims"
                for a in held
                if owner.get(a) != host
            ]
            found += [f"{a} is used on {host}, not in its slice" for a in used - held]
            taken = records.units_taken(rows[host].records).get(networks.slice_slot(NETWORK), {})
            found += [f"{a} is given twice on {host}" for a, amount in taken.items() if amount > 1]
        if min(records.available(rows[POOL].records).values()) < 0:
            found.append("the pool gave more than it has")
    return found


def _owners(pool: HostRow) -> dict[str, str]:
    owners: dict[str, str] = {}
    for claim in pool.claims:
        for address in claim.units[ADDRESS]:
            assert address not in owners, "the pool gave one address twice"
            owners[address] = claim.consumer
    return owners


async def run(seed: int, *, unknown: float, kills: int, histories: Path | None = None) -> SimStore:
    """Three processes, of which some die and are replaced; then one refills without losses."""
    rng = random.Random(seed)
    store = SimStore(rng, unknown=unknown)
    await prepare(store, histories)
    processes = [Process(store, seed * 10 + n + 1, histories) for n in range(3)]
    held: list[tuple[str, str]] = []
    for number in range(9):
        process = processes[number % 3]
        process.clients.append(asyncio.ensure_future(client(process, store, number, held)))
    for number in range(kills):
        await asyncio.sleep(rng.uniform(0.01, 0.15))
        victim = rng.randrange(3)
        await processes[victim].kill()
        fresh = Process(store, seed * 10 + 5 + number, histories)
        fresh.clients = [
            asyncio.ensure_future(client(fresh, store, 20 + 3 * number + n, held)) for n in range(2)
        ]
        processes[victim] = fresh
    for process in processes:
        await asyncio.gather(*process.clients)
        await process.writer.close(2.0)
    await asyncio.gather(*store.zombies)
    store.unknown = store.read_loss = store.serial_read_loss = 0.0
    last = Process(store, seed * 10 + 9, histories)
    for host in HOSTS:
        await last.slices.refill(host, NETWORK)
    await last.writer.close(2.0)
    return store


def assert_nothing_lost(store: SimStore) -> None:
    pool = store.rows[POOL]
    assert all(claim.state is ClaimState.BUILT for claim in pool.claims), "a return was left"
    owners = _owners(pool)
    for host in HOSTS:
        mine = {address for address, owner in owners.items() if owner == host}
        assert networks.addresses_of(store.rows[host], NETWORK) == mine
    free = records.available(pool.records)[ADDRESS]
    assert free + len(owners) == len(UNITS)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_no_address_is_on_two_hosts_whatever_is_lost_and_whoever_dies(seed: int) -> None:
    """A fifth of all answers is lost, late writes apply, processes die: no address is doubled."""
    store = run_simulated(run(seed, unknown=0.2, kills=3))
    assert not problems(store.applied)
    assert_nothing_lost(store)


def test_checker_proves_what_refillers_did(tmp_path: Path) -> None:
    """The histories of pools and slices hold up like those of claims."""
    store = run_simulated(run(17, unknown=0.2, kills=0, histories=tmp_path))
    events: list[Event] = []
    for path in files.find([tmp_path]):
        events += files.read(path)[0]
    rows = [FinalRow("c1", row) for row in store.rows.values()]
    verdict = check(events, rows, regions={"c1": "r1"}, rows_read_us=10**15)
    assert verdict.verdict is Passed.PASSED, (verdict.violations, verdict.incomplete)


def test_refillers_of_one_host_take_once() -> None:
    """Many processes that refill one host at the same moment leave it one slice, not one each."""

    async def scenario() -> SimStore:
        store = SimStore(random.Random(5))
        await prepare(store)
        processes = [Process(store, n + 1) for n in range(4)]
        rows = await asyncio.gather(*(p.slices.refill("h1", NETWORK) for p in processes))
        assert all(isinstance(row, HostRow) for row in rows), rows
        return store

    store = run_simulated(scenario())
    assert len(networks.addresses_of(store.rows["h1"], NETWORK)) == 3
    assert not problems(store.applied)


def test_last_host_gets_an_address_that_another_does_not_use() -> None:
    """An empty pool is no refusal while other hosts hold addresses that nobody uses."""

    async def scenario() -> SimStore:
        store = SimStore(random.Random(5))
        await prepare(store)
        process = Process(store, 1)
        for number in range(len(UNITS) - 1):
            host = HOSTS[number % 2]
            await process.slices.refill(host, NETWORK)
            claim = ids.new_claim_id("c1", host)
            await process.writer.submit(
                host, AddClaim(claim, f"i{number}", "q", "p", DEMAND, 2**52), deadline_s=1.0
            )
        row = await process.slices.refill("h3", NETWORK)
        assert isinstance(row, HostRow), row
        assert len(networks.addresses_of(row, NETWORK)) == 1
        again = await process.slices.refill("h1", NETWORK)
        assert isinstance(again, HostRow) or again.reason == slices.NO_ADDRESS
        return store

    store = run_simulated(scenario())
    assert not problems(store.applied)
    assert_nothing_lost(store)


async def _pool_first(self: Slices, host: str, network: str, pool: HostRow) -> HostRow:
    """A return as one would write it first: what no instance uses leaves the pool, then the slice."""
    before = await self._read(host)
    claims = slices.claims_of(pool, host)
    for claim in claims:
        if claim.state is ClaimState.DELETING:
            kept = tuple(networks.in_use(before, network).intersection(claim.units[ADDRESS]))
            successor = ids.new_claim_id("c1", POOL)
            await self._write(POOL, slices.FinishReturn(claim.id, successor, kept))
    wanted = slices.addresses(claims, ClaimState.BUILT)
    return await self._write(host, slices.SetSlice(host, network, POOL, pool.rev, wanted))


def _break(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    match rule:
        case "a late slice is written":
            monkeypatch.setattr(slices.SetSlice, "done", lambda self, row: False)
        case "the pool is told before the host":
            monkeypatch.setattr(Slices, "_settle", _pool_first)
        case "instances do not keep their addresses":
            monkeypatch.setattr(networks, "in_use", lambda row, network: frozenset())


@pytest.mark.parametrize(
    "rule",
    [
        "a late slice is written",
        "the pool is told before the host",
        "instances do not keep their addresses",
    ],
)
def test_each_rule_is_needed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without one of the rules some seed puts an address on two hosts: this simulation finds it."""
    with monkeypatch.context() as broken:
        for seed in SEEDS:
            _break(rule, broken)
            try:
                store = run_simulated(run(seed, unknown=0.2, kills=3))
                broken.undo()
                if problems(store.applied):
                    return
                assert_nothing_lost(store)
            except (AssertionError, PlacerError):
                return
    pytest.fail(f"{rule}: no seed of {len(SEEDS)} found it")
