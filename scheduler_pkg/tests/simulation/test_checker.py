"""The checker on histories of the protocol's own code: right ones pass, mutants' are caught.

So that a green ``placer check`` means something: each mutant breaks one rule of the claim protocol,
and the checker, which sees only histories and final rows, must find it and call it by its name.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from placer.checker import files
from placer.checker.core import FinalRow, check
from placer.checker.verdict import Kind, Passed, Verdict
from placer.claims.operations import AgentStep, Refusal
from placer.claims.protocol import HostWriter
from placer.errors import PlacerError
from placer.history import (
    Acknowledged,
    Answer,
    ClientHistory,
    Event,
    OperationKind,
    WriteOutcome,
)
from placer.model.messages import StepKind
from placer.model.records import HostRow

from .clock import run_simulated
from .store import SimStore
from .test_mutants import no_revision_check
from .test_protocol import HOSTS, claim, report, writer

SEEDS = range(40)

#: Later than any time of a simulation, in microseconds.
AFTER_ALL = 10**15


async def _client(
    claims: HostWriter,
    host: str,
    number: int,
    rng: random.Random,
    told: list[str],
    history: ClientHistory,
) -> None:
    """Claim, then perhaps adopt, build, delete. It believes every answer: judging is not its task.

    Its own history is one of all clients: their times are of one clock, and are compared exactly.
    """
    asked = history.sent(OperationKind.CLAIM, "c1")
    operation = msgspec.structs.replace(claim(host, number), trace=asked.trace)
    try:
        result = await claims.submit(host, operation, deadline_s=2.0)
        if isinstance(result, Refusal):
            history.answered(asked, Answer.REFUSED, code=result.reason)
            return
        told.append(operation.claim)
        history.answered(asked, Answer.OK, request=operation.request, claims=(operation.claim,))
        for kind in (StepKind.ADOPT, StepKind.BUILT, StepKind.DELETING, StepKind.GONE):
            if rng.random() < 0.3:
                return
            await claims.submit(host, AgentStep(operation.claim, kind), deadline_s=2.0)
    except PlacerError:
        return


async def _live(seed: int, unknown: float, directory: Path) -> tuple[SimStore, list[str]]:
    """Three processes and 24 clients; the claims that clients were told of."""
    rng = random.Random(seed)
    store = SimStore(rng, unknown=unknown)
    processes = [writer(store, seed * 10 + n, f"p{n}", directory) for n in range(3)]
    for host in HOSTS:
        for process in processes:
            try:
                await process.submit(host, report(host), deadline_s=5.0)
                break
            except PlacerError:
                continue
    told: list[str] = []
    history = ClientHistory(directory, "clients")
    await asyncio.gather(
        *(
            _client(rng.choice(processes), rng.choice(HOSTS), n, rng, told, history)
            for n in range(24)
        )
    )
    await asyncio.gather(*store.zombies)
    history.close()
    for process in processes:
        await process.close(1.0)
    return store, told


def judged(seed: int, unknown: float, directory: Path) -> Verdict:
    """Run a seed and check what its processes recorded."""
    store, told = run_simulated(_live(seed, unknown, directory))
    events: list[Event] = []
    for path in files.find([directory]):
        found, torn = files.read(path)
        assert not torn
        events.extend(found)
    events.extend(
        Acknowledged(
            process="client",
            cell="c1",
            host=name.split(".")[1],
            claim=name,
            request=f"for-{name}",
            at_us=1,
        )
        for name in told
    )
    rows = [FinalRow("c1", row) for row in store.rows.values()]
    return check(events, rows, regions={"c1": "r1"}, rows_read_us=AFTER_ALL)


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: f"seed-{seed}")
def test_what_the_protocol_does_is_proved(tmp_path: Path, seed: int) -> None:
    """A third of all answers lost, zombies, three writers: proved to the last revision, no hole."""
    verdict = judged(seed, 0.3, tmp_path)
    assert verdict.verdict is Passed.PASSED, (verdict.violations, verdict.incomplete)
    assert verdict.claims.acknowledged > 0
    assert verdict.clients.operations == 24
    assert verdict.clients.ok + verdict.clients.refused + verdict.clients.unknown == 24


def unknown_taken_for_success(patch: pytest.MonkeyPatch) -> None:
    """Section 2: a lost answer is not a yes."""
    original = HostWriter._write

    async def hopeful(
        self: HostWriter, old: HostRow | None, new: HostRow, committed: tuple[str, ...] = ()
    ) -> WriteOutcome:
        outcome = await original(self, old, new, committed)
        return WriteOutcome.APPLIED if outcome is WriteOutcome.UNKNOWN else outcome

    patch.setattr(HostWriter, "_write", hopeful)


def refused_taken_for_success(patch: pytest.MonkeyPatch) -> None:
    """Section 2: whoever lost the race has nothing."""
    original = HostWriter._write

    async def deaf(
        self: HostWriter, old: HostRow | None, new: HostRow, committed: tuple[str, ...] = ()
    ) -> WriteOutcome:
        await original(self, old, new, committed)
        return WriteOutcome.APPLIED

    patch.setattr(HostWriter, "_write", deaf)


@pytest.mark.parametrize(
    ("mutant", "kinds"),
    [
        pytest.param(
            no_revision_check,
            {Kind.TWO_WRITERS, Kind.ROW_DIFFERS, Kind.LOST_WRITE},
            id="no_revision_check",
        ),
        pytest.param(unknown_taken_for_success, {Kind.LOST_CLAIM}, id="unknown_taken_for_success"),
        pytest.param(refused_taken_for_success, {Kind.LOST_CLAIM}, id="refused_taken_for_success"),
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
    for seed in SEEDS:
        verdict = judged(seed, 0.3, tmp_path / str(seed))
        if kinds & {violation.kind for violation in verdict.violations}:
            return
    pytest.fail(f"the checker missed the mutant on all {len(SEEDS)} seeds")
