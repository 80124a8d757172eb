"""What a run breaks and when, from a seed: pure, so that a seed that failed says the same again.

A cycle has one fault or two, of different kinds, for some seconds. Kinds take turns in a shuffled order
before any comes twice, so that a short run has most of them. Who is hit is chosen from the deployment's
sorted names: a seed repeats on a deployment of the same shape.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

#: Every third cycle breaks two things at once.
TWO_EVERY = 3
HOLD_S = (3.0, 6.0)
SECOND_AFTER_S = (0.5, 2.0)
DELAY_MS = (100, 600)
LOSS_PERCENT = (1, 10)
REORDER_PERCENT = (1, 20)
DUPLICATE_PERCENT = (1, 10)
FLAP_S = (0.3, 1.5)
SKEW_S = (-300, 300)
#: Where a process may die in the middle of what the load asks of it, by its role.
CRASH_POINTS: dict[str, tuple[str, ...]] = {
    "scheduler": (
        "claim.before_lwt",
        "claim.after_lwt",
        "writeset.record_made",
        "writeset.one_prepared",
        "writeset.prepared",
        "writeset.committed",
        "writeset.one_settled",
        "request.claimed",
        "request.placed",
        "cancel.released",
        "move.claimed",
        "move.swapped",
    ),
    "api": ("request.logged", "request.cancelling"),
    "agent": (
        "agent.adopted",
        "agent.noted",
        "agent.said_built",
        "agent.destroying",
        "agent.said_gone",
    ),
}
#: Longer than a claim's lease in the default settings: whoever wakes then finds it given away.
ZOMBIE_S = 130.0


@dataclass(frozen=True)
class Site:
    """Whom a run may hit: names as the deployment has them, sorted. ``regions`` by container."""

    regions: tuple[str, ...]
    cells: tuple[str, ...]
    nodes: tuple[str, ...]
    schedulers: tuple[str, ...]
    apis: tuple[str, ...]
    agents: tuple[str, ...]
    region_of: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Fault:
    """One fault: its kind, its parameters, and the regions that may notice."""

    kind: str
    params: Mapping[str, Any]
    regions: tuple[str, ...]
    least_s: float = 0.0
    """How long it has to last to be what it is."""


@dataclass(frozen=True)
class Cycle:
    """What is broken together. ``hold_s`` from the first fault to the heal; the second after ``gap_s``."""

    number: int
    faults: tuple[Fault, ...]
    hold_s: float
    gap_s: float

    @property
    def kind(self) -> str:
        return " + ".join(fault.kind for fault in self.faults)

    @property
    def regions(self) -> frozenset[str]:
        return frozenset(region for fault in self.faults for region in fault.regions)


Maker = Callable[[random.Random, Site], Fault]


def cycles(
    seed: int, site: Site, count: int, *, kinds: Sequence[str] = (), long: bool = False
) -> Iterator[Cycle]:
    """``count`` cycles; ``kinds`` alone, if given. ``long`` adds those that take a node's start to heal."""
    chance = random.Random(seed)
    makers = table(site, long=long)
    unknown = sorted(set(kinds) - set(makers))
    if unknown:
        raise ValueError(
            f"unknown kinds of fault: {', '.join(unknown)}; known: {', '.join(makers)}"
        )
    wanted = list(kinds) or list(makers)
    queue: list[str] = []

    def draw(other_than: str = "") -> str:
        nonlocal queue
        if not queue:
            queue = chance.sample(wanted, len(wanted))
        at = next((at for at, kind in enumerate(queue) if kind != other_than), 0)
        return queue.pop(at)

    for number in range(1, count + 1):
        first = draw()
        faults = [makers[first](chance, site)]
        if number % TWO_EVERY == 0 and len(wanted) > 1:
            faults.append(makers[draw(other_than=first)](chance, site))
        hold_s = max(round(chance.uniform(*HOLD_S), 1), *(fault.least_s for fault in faults))
        yield Cycle(number, tuple(faults), hold_s, round(chance.uniform(*SECOND_AFTER_S), 1))


def table(site: Site, *, long: bool) -> dict[str, Maker]:
    """The kinds of fault that make sense on this site, each with what makes one."""
    made: dict[str, Maker] = {}
    if len(site.regions) > 1:
        made |= {"partition": _partition, "one-way": _one_way, "flap": _flap, "slow": _slow}
    if len(site.regions) > 2:
        made |= {"ring": _ring, "bridge": _bridge}
    for role, names in (("scheduler", site.schedulers), ("api", site.apis), ("agent", site.agents)):
        if names:
            made[f"kill-{role}"] = _process("kill", names)
            made[f"pause-{role}"] = _process("pause", names)
            made[f"crash-{role}"] = _crash(role, names)
    if site.schedulers:
        made["skew-scheduler"] = _skew
        if long:
            made["zombie-scheduler"] = _zombie
    if site.agents and long:
        made["full-agent"] = _process("full", site.agents)
    if site.nodes:
        made["pause-node"] = _process("pause", site.nodes)
        if long:
            made["kill-node"] = _process("kill", site.nodes)
            made["restart-node"] = _process("restart", site.nodes)
    return made


def story(cycle: Cycle) -> dict[str, Any]:
    """The cycle as the record of a run has it."""
    return {"cycle": cycle.number, "hold_s": cycle.hold_s, "gap_s": cycle.gap_s} | {
        "faults": [asdict(fault) for fault in cycle.faults]
    }


def _partition(chance: random.Random, site: Site) -> Fault:
    region = chance.choice(site.regions)
    return Fault("partition", {"region": region}, (region,))


def _one_way(chance: random.Random, site: Site) -> Fault:
    source, goal = chance.sample(site.regions, 2)
    return Fault("one-way", {"source": source, "target": goal}, (source, goal))


def _flap(chance: random.Random, site: Site) -> Fault:
    region = chance.choice(site.regions)
    params = {
        "region": region,
        "up_s": round(chance.uniform(*FLAP_S), 1),
        "down_s": round(chance.uniform(*FLAP_S), 1),
    }
    return Fault("flap", params, (region,))


def _slow(chance: random.Random, site: Site) -> Fault:
    source, goal = chance.sample(site.regions, 2)
    delay = chance.randint(*DELAY_MS)
    changes = {
        "delay_ms": delay,
        "jitter_ms": delay // 2,
        "loss_percent": chance.randint(*LOSS_PERCENT),
        "reorder_percent": chance.randint(*REORDER_PERCENT),
        "duplicate_percent": chance.randint(*DUPLICATE_PERCENT),
    }
    return Fault("slow", {"source": source, "target": goal, "changes": changes}, (source, goal))


def _ring(_: random.Random, site: Site) -> Fault:
    return Fault("ring", {}, site.regions)


def _bridge(chance: random.Random, site: Site) -> Fault:
    region = chance.choice(site.regions)
    others = tuple(other for other in site.regions if other != region)
    return Fault("bridge", {"region": region}, others)


def _crash(role: str, names: Sequence[str]) -> Maker:
    def make(chance: random.Random, site: Site) -> Fault:
        name = chance.choice(names)
        point = f"{chance.choice(CRASH_POINTS[role])}:{chance.randint(1, 3)}"
        return Fault(f"crash-{role}", {"name": name, "point": point}, _region(site, name))

    return make


def _zombie(chance: random.Random, site: Site) -> Fault:
    name = chance.choice(site.schedulers)
    return Fault("zombie-scheduler", {"name": name}, _region(site, name), least_s=ZOMBIE_S)


def _skew(chance: random.Random, site: Site) -> Fault:
    name = chance.choice(site.schedulers)
    return Fault(
        "skew-scheduler", {"name": name, "by_s": chance.choice(SKEW_S)}, _region(site, name)
    )


def _region(site: Site, name: str) -> tuple[str, ...]:
    region = site.region_of.get(name, "")
    return (region,) if region else ()


def _process(verb: str, names: Sequence[str]) -> Maker:
    def make(chance: random.Random, site: Site) -> Fault:
        name = chance.choice(names)
        role = next(
            role
            for role, of in (
                ("node", site.nodes),
                ("scheduler", site.schedulers),
                ("api", site.apis),
                ("agent", site.agents),
            )
            if name in of
        )
        return Fault(f"{verb}-{role}", {"name": name}, _region(site, name))

    return make
