"""One run: load all along, a cycle of faults after the other, a look after each heal, the checker at the end.

What is asked of the deployment, and of the runner:
  after each heal   a claim from every region succeeds soon (five seconds); a process that was down has to
                    serve first, and a node to be seen by all others again.
  at the end        what the clients hold is taken back, every node sees every other, every process uses every
                    node, and ``placer check`` proves every guarantee from the histories.
  always            every wait is bounded; faults end by themselves if this process is killed.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from chaos import inject, plan, seen
from chaos.check import check
from chaos.load import Load, judged
from chaos.plan import Cycle
from chaos.seen import Outcome, Window
from client import USED_S, Api
from faults import Cluster, FaultError

#: When a run stops to wait for a claim that never comes.
CLAIM_GIVEN_UP_S = 60.0
WHOLE_S = 180.0
TAKEN_BACK_S = 90.0
#: Of a cycle's fault what comes after its heal still counts, this long.
AFTERMATH_S = 3.0
REST_S = 1.0
BEFORE_S = 5.0
#: A run proves something while this many faults are made for each that could not be.
NOT_MADE_MAX = 5
#: How far the histories' clocks may differ: on one machine not at all, but where a process was skewed.
CLOCKS_MS = 10.0
SKEWED_CLOCKS_MS = 2 * 1000.0 * max(map(abs, plan.SKEW_S))


@dataclass
class Record:
    """What a run leaves behind, as JSON."""

    seed: int
    deployment: str
    started: str
    cycles: int = 0
    seconds: float = 0.0
    operations: dict[str, dict[str, int]] = field(default_factory=dict)
    faults: list[dict[str, Any]] = field(default_factory=list)
    plan: list[dict[str, Any]] = field(default_factory=list)
    unfaulted_longest_s: float = 0.0
    """How long a claim took at most before the first fault: what this machine can do."""
    claim_after_heal_s: list[dict[str, float]] = field(default_factory=list)
    machine_load: list[float] = field(default_factory=list)
    """Runnable processes of the last minute after each cycle: times mean little where they are many."""
    checked: dict[str, Any] = field(default_factory=dict)
    violations: int = 0
    not_made: list[str] = field(default_factory=list)
    """Faults that the engine refused to make; a cycle goes on without."""
    broken: list[str] = field(default_factory=list)
    """What was asked of the deployment and did not hold, in words."""


@dataclass(frozen=True)
class Options:
    """How long, how much, and of what."""

    seed: int
    cycles: int
    clients: int = 2
    kinds: tuple[str, ...] = ()
    long: bool = False
    within_s: float = 5.0
    """How soon after a heal a claim from every region has to succeed."""
    seconds: float = 0.0
    """No further cycle begins after this long; 0: all do."""


def run(cluster: Cluster, api: Api, options: Options, say: Callable[[str], None]) -> Record:
    """Carry a plan out on a deployment that is whole; everything that did not hold is in ``broken``."""
    began = time.monotonic()
    site = inject.site(cluster)
    planned = list(
        plan.cycles(options.seed, site, options.cycles, kinds=options.kinds, long=options.long)
    )
    record = Record(options.seed, cluster.name, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    regions = {
        cell: site.region_of[name]
        for name in site.nodes
        for cell in site.cells
        if f"-{cell}-" in name
    }
    load = Load(
        api,
        regions,
        f"chaos-{options.seed}-{int(time.time())}",
        options.seed,
        options.clients,
    )
    windows: list[Window] = []
    with load.running():
        time.sleep(BEFORE_S)
        quiet = [one for one in load.operations if one.kind == "claim"]
        record.unfaulted_longest_s = seen.longest_without(quiet)
        say(f"without a fault: {len(quiet)} claims, the slowest {record.unfaulted_longest_s:.2f} s")
        for cycle in planned:
            if options.seconds and time.monotonic() - began > options.seconds:
                break
            windows.append(_cycle(cluster, load, cycle, options.within_s, record, say))
    record.cycles = len(windows)
    made = sum(len(cycle["faults"]) for cycle in record.plan) - len(record.not_made)
    if made < NOT_MADE_MAX * len(record.not_made) or not made:
        record.broken.append(f"{len(record.not_made)} faults could not be made, only {made} were")
    record.operations = seen.counts(load.operations)
    record.faults = seen.rows(seen.sights(load.operations, windows))
    _finish(cluster, load, record, say)
    record.seconds = round(time.monotonic() - began, 1)
    return record


def _cycle(
    cluster: Cluster,
    load: Load,
    cycle: Cycle,
    within_s: float,
    record: Record,
    say: Callable[[str], None],
) -> Window:
    """Break, hold, heal, and see that every region has service again."""
    record.plan.append(plan.story(cycle))
    since = time.monotonic()
    with ExitStack() as stack:
        for number, fault in enumerate(cycle.faults):
            if number:
                time.sleep(cycle.gap_s)
            try:
                stack.enter_context(inject.made(cluster, fault))
            except FaultError as failed:
                record.not_made.append(f"cycle {cycle.number}: {fault.kind}: {failed}")
                say(record.not_made[-1])
        time.sleep(max(cycle.hold_s - (time.monotonic() - since), 0.0))
    _wait_for_the_hit(cluster, cycle)
    took = _claims(load)
    record.claim_after_heal_s.append(took)
    record.machine_load.append(round(os.getloadavg()[0], 1))
    for region, seconds in took.items():
        if seconds > within_s:
            record.broken.append(
                f"cycle {cycle.number} ({cycle.kind}): the first claim from {region} after the heal "
                f"took {seconds:.1f} s, not {within_s:g}"
            )
    slowest = max(took.values())
    say(
        f"cycle {cycle.number}: {_told(cycle)}; a claim from every region {slowest:.1f} s after the heal"
    )
    time.sleep(REST_S)
    return Window(cycle.kind, cycle.regions, since, time.monotonic() + AFTERMATH_S)


def _wait_for_the_hit(cluster: Cluster, cycle: Cycle) -> None:
    """A process that was down has to start first: the heal is when it serves again."""
    names = [str(fault.params["name"]) for fault in cycle.faults if "name" in fault.params]
    if any(fault.kind.endswith("-node") for fault in cycle.faults):
        cluster.wait_healthy(seconds=WHOLE_S)
    if names:
        cluster.wait_ready(*names, seconds=WHOLE_S)


def _claims(load: Load) -> dict[str, float]:
    """Region -> seconds from now until a claim at home succeeded there."""
    healed = time.monotonic()
    with ThreadPoolExecutor(len(load.regions)) as pool:
        took = dict(
            zip(
                load.regions,
                pool.map(lambda cell: _first(load, cell, healed), load.regions),
                strict=True,
            )
        )
    slowest: dict[str, float] = {}
    for cell, seconds in took.items():
        region = load.regions[cell]
        slowest[region] = max(slowest.get(region, 0.0), seconds)
    return slowest


def _first(load: Load, cell: str, healed: float) -> float:
    body = {"resources": {"VCPU": 1}, "cell": cell, "project": load.project}
    while time.monotonic() - healed < CLAIM_GIVEN_UP_S:
        try:
            answer = load.api.call(cell, "POST", "/v1/requests?wait=5s", body)
        except httpx.HTTPError:
            time.sleep(0.1)
            continue
        outcome, _, found = judged(answer)
        if outcome is Outcome.OK and found:
            return round(time.monotonic() - healed, 2)
        time.sleep(0.1)
    return round(time.monotonic() - healed, 2)


def _finish(cluster: Cluster, load: Load, record: Record, say: Callable[[str], None]) -> None:
    """Give everything back, see the cluster whole, and have the histories checked."""
    whole = cluster.wait_healthy(seconds=WHOLE_S)
    if left := load.take_back(TAKEN_BACK_S):
        record.broken.append(
            f"{left} requests did not end within {TAKEN_BACK_S:g} s of the last heal"
        )
    cluster.wait_ready(seconds=WHOLE_S)
    # The other nodes of its cell serve as well, so that nothing else would tell.
    for process, nodes in load.api.unused_nodes(next(iter(load.regions))).items():
        record.broken.append(
            f"{process} does not use {', '.join(nodes)} {USED_S:g} s after the cluster was whole"
        )
    say(f"whole again after {whole:.0f} s; checking the histories")
    skewed = any(
        fault["kind"].startswith("skew") for cycle in record.plan for fault in cycle["faults"]
    )
    clients = Path(os.environ.get("PLACER_TEST_HISTORY", os.devnull))
    verdict = check(
        cluster,
        clock_error_ms=SKEWED_CLOCKS_MS if skewed else CLOCKS_MS,
        histories=clients if any(clients.glob("*.jsonl")) else None,
    )
    record.violations = int(verdict.get("violations_total", 0)) + int(
        verdict.get("double_bookings", 0)
    )
    record.checked = {
        key: value for key, value in verdict.items() if isinstance(value, int | float | str)
    }
    record.checked["claims"] = verdict.get("claims", {})
    if verdict.get("verdict") != "passed":
        stories = [
            one.get("story", "")
            for key in ("violations", "incomplete")
            for one in verdict.get(key, [])
        ]
        record.broken.append(f"placer check: {verdict.get('verdict')}. {' '.join(stories[:2])}")


def _told(cycle: Cycle) -> str:
    said = [f"{fault.kind} {_params(fault.params)}".strip() for fault in cycle.faults]
    return f"{' and '.join(said)} for {cycle.hold_s:g} s"


def _params(params: Mapping[str, Any]) -> str:
    return " ".join(
        f"{key}={value}" for key, value in params.items() if not isinstance(value, dict)
    )


def write(record: Record, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(asdict(record), indent=1) + "\n")
    part.replace(path)
