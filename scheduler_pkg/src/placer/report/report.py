"""The report itself: the stable keys of ``report.json`` and how the parts become them. Pure."""

from __future__ import annotations

from msgspec import Struct

from placer.report.parts import (
    Burst,
    Claims,
    KindTally,
    Node,
    Parts,
    Race,
    Seconds,
    Times,
    Wan,
    WarmUp,
)

#: Version of the keys: raised when one changes its meaning or goes away.
VERSION = 1


class CrossCell(Struct, frozen=True, rename={"from_cell": "from", "to_cell": "to"}):
    """Claims posted to the API of cell ``from`` and taken in cell ``to``.

    p50, p95, p99: milliseconds of the claim itself, as its scheduler measured it. ``rtt_ms`` is the
    measured round trip between the two cells' regions (None: not measured, or one region).
    """

    from_cell: str
    to_cell: str
    rtt_ms: float | None
    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class Report(Struct, frozen=True, kw_only=True):
    """``report.json``. Keys are stable; new ones may be added.

    ``placed``, ``refused`` ({reason code: requests}), ``errors`` (requests without an answer): all
    requests after the warm-up. ``refused_because`` is {reason code and main cause: requests}.
    ``by_kind``: requests of the main phase by what they try out (GPUs, GPUs of a model, whole
    hosts, what cannot fit) and how they ended.
    ``claims_per_second``: placed requests of the main phase by its wall seconds.
    ``local_ms``: times of claims in the own cell, {p50, p95, p99, count}; by cell in
    ``local_by_cell``. ``cross_cell``: the same for each pair of cells, beside the measured RTT.
    All percentiles are nearest-rank: values that were measured.
    ``conflicts_per_success``: claims refused because another writer was first, by placed requests.
    ``double_bookings``: times that a host's revision promised more than there is; 0 or a bug.
    ``revisions_checked``: host revisions replayed by the checker with every bound verified.
    ``verdict``: passed, violated or incomplete (a history has a hole); ``stories`` says how.
    ``claims``: acknowledged claims by what became of them.
    ``nodes``, ``nodes_up``: Cassandra nodes as all others see them.
    ``wan_backend``: what delays traffic between regions: netem, nfqueue or none.
    ``seconds``: wall seconds of the deployment's steps {image, cluster, services, replay, total}.
    ``booked``: {region: {resource class: share of the capacity that is promised}}, 0.0 to 1.0.
    ``race``: all regions ask at one instant for the last unit of a host; ``winners`` must be 1.
    ``burst``: requests posted at once that all name one host.
    """

    version: int
    placed: int
    refused: dict[str, int]
    errors: int
    claims_per_second: float
    local_ms: Times
    cross_cell: list[CrossCell]
    conflicts_per_success: float | None
    double_bookings: int
    revisions_checked: int
    nodes_up: int
    wan_backend: str
    seconds: Seconds
    booked: dict[str, dict[str, float]]
    race: Race | None
    burst: Burst | None
    verdict: str
    violations: int
    stories: list[str]
    claims: Claims
    hosts: int
    nodes: list[Node]
    workload: str
    requests: int
    concurrency: int
    replay_seconds: float
    warm_up: WarmUp | None
    refused_because: dict[str, int]
    error_codes: dict[str, int]
    local_by_cell: dict[str, Times]
    by_kind: dict[str, KindTally]


def build(parts: Parts) -> Report:
    """The report of ``parts``."""
    replay, check = parts.replay, parts.check
    return Report(
        version=VERSION,
        placed=replay.placed,
        refused=replay.refused,
        errors=replay.errors,
        claims_per_second=replay.claims_per_second,
        local_ms=replay.local_ms,
        cross_cell=_cross_cell(parts),
        conflicts_per_success=replay.conflicts_per_success,
        double_bookings=check.double_bookings,
        revisions_checked=check.revisions_checked,
        nodes_up=parts.cluster.nodes_up,
        wan_backend=parts.wan.backend,
        seconds=parts.seconds,
        booked=check.booked,
        race=replay.race,
        burst=replay.burst,
        verdict=check.verdict,
        violations=check.violations_total,
        stories=[story.story for story in (*check.violations, *check.incomplete)],
        claims=check.claims,
        hosts=check.hosts_checked,
        nodes=parts.cluster.nodes,
        workload=replay.workload,
        requests=replay.requests,
        concurrency=replay.concurrency,
        replay_seconds=replay.seconds,
        warm_up=replay.warm_up,
        refused_because=replay.refused_because,
        error_codes=replay.error_codes,
        local_by_cell=replay.local_by_cell,
        by_kind=replay.by_kind,
    )


def _cross_cell(parts: Parts) -> list[CrossCell]:
    regions = parts.check.cells
    return [
        CrossCell(
            from_cell=pair.from_cell,
            to_cell=pair.to_cell,
            rtt_ms=rtt_ms(
                parts.wan,
                regions.get(pair.from_cell, pair.from_cell),
                regions.get(pair.to_cell, pair.to_cell),
            ),
            p50=pair.p50,
            p95=pair.p95,
            p99=pair.p99,
            count=pair.count,
        )
        for pair in parts.replay.cross_cell
    ]


def rtt_ms(wan: Wan, one: str, other: str) -> float | None:
    """The measured round trip between two regions, looked up in either direction."""
    measured = {(trip.from_region, trip.to_region): trip.measured for trip in wan.rtt_ms}
    found = measured.get((one, other))
    return found if found is not None else measured.get((other, one))
