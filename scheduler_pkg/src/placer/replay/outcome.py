"""What became of one posted request, and the sums over many: the replay's result."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec import Struct

from placer.model.request import Request, Stage
from placer.replay.percentiles import Spread, spread
from placer.replay.plan import Kind, Planned


class Outcome(Struct, frozen=True):
    """A posted request and its end. ``request`` is None when the API gave no usable answer.

    ``code`` is the reason of a refusal or the kind of an error; ``total_ms`` is what the client
    waited, from the first byte sent to the final answer.
    """

    planned: Planned
    total_ms: float
    request: Request | None = None
    code: str = ""
    refused: bool = False

    @property
    def placed(self) -> bool:
        """Claimed, and perhaps built by now."""
        return self.request is not None and self.request.stage in (Stage.PLACED, Stage.BUILT)

    @property
    def to_cell(self) -> str:
        """The cell that the claim is in; empty when there is none."""
        placements = self.request.placements if self.request else ()
        return placements[0].cell if placements else ""


class Tally(Struct, frozen=True):
    """How many ended how."""

    requests: int
    placed: int
    refused: int
    errors: int


class Pair(Struct, frozen=True, rename={"from_cell": "from", "to_cell": "to"}):
    """Claims posted to cell ``from`` that were taken in cell ``to``: milliseconds of the claim."""

    from_cell: str
    to_cell: str
    p50: float | None
    p95: float | None
    p99: float | None
    count: int


class WarmUp(Struct, frozen=True):
    """The requests before the measured ones; not in any other figure but ``total``."""

    requests: int
    placed: int
    refused: int
    errors: int
    seconds: float


class Race(Struct, frozen=True):
    """All regions ask at the same instant for the last unit of one host. ``winners`` must be 1."""

    cell: str
    host: str
    contenders: int
    winners: int
    refused: int
    errors: int
    winner_posted_to: tuple[str, ...]


class Burst(Struct, frozen=True):
    """Requests that all name one host, posted at once to that host's own cell."""

    cell: str
    host: str
    requests: int
    placed: int
    refused: int
    errors: int
    conflicts: int
    seconds: float
    claims_per_second: float
    claim_ms: Spread


class Result(Struct, frozen=True, kw_only=True):
    """The replay's result, one JSON object.

    ``placed``, ``refused`` (by reason code), ``errors`` count the main phase, the burst and the race.
    ``claims_per_second``, all latencies and ``conflicts_per_success`` are of the main phase alone:
    placed requests by the seconds from its first post to its last answer; conflicts are claims that
    another writer's change of the same host row refused. ``local_ms`` and ``cross_cell`` are times
    of the claim itself as its scheduler measured it, ``request_ms`` what the client waited.
    Percentiles are nearest-rank (placer.replay.percentiles). ``refused_because`` is {reason code and
    main cause: requests}, the cause being what ruled out most hosts.
    """

    workload: str
    seed: int
    requests: int
    concurrency: int
    cells: tuple[str, ...]
    lines_skipped: int
    placed: int
    refused: dict[str, int]
    errors: int
    error_codes: dict[str, int]
    refused_because: dict[str, int]
    by_kind: dict[str, Tally]
    claims_per_second: float
    conflicts_per_success: float | None
    local_ms: Spread
    local_by_cell: dict[str, Spread]
    cross_cell: tuple[Pair, ...]
    request_ms: dict[str, Spread]
    seconds: float
    seconds_total: float
    warm_up: WarmUp | None
    race: Race | None
    burst: Burst | None


def tally(outcomes: Iterable[Outcome]) -> Tally:
    """Count them."""
    everything = list(outcomes)
    placed = sum(o.placed for o in everything)
    refused = sum(o.refused for o in everything)
    return Tally(
        requests=len(everything),
        placed=placed,
        refused=refused,
        errors=len(everything) - placed - refused,
    )


def by_kind(outcomes: Iterable[Outcome]) -> dict[str, Tally]:
    """A tally for each kind that occurs."""
    groups: dict[Kind, list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault(outcome.planned.kind, []).append(outcome)
    return {kind.value: tally(group) for kind, group in sorted(groups.items())}


def refusals(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Refused requests by reason code, the most frequent first."""
    return dict(Counter(o.code for o in outcomes if o.refused).most_common())


def error_codes(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Requests without a usable answer, by kind of error."""
    codes = Counter(o.code for o in outcomes if not o.placed and not o.refused)
    return dict(codes.most_common())


def refused_because(outcomes: Iterable[Outcome]) -> dict[str, int]:
    """Refused requests by code and main cause: the reason that removed most hosts."""
    causes = Counter(_cause(outcome) for outcome in outcomes if outcome.refused)
    return dict(causes.most_common())


def _cause(outcome: Outcome) -> str:
    reason = outcome.request.reason if outcome.request else None
    if reason is None or not reason.rejected:
        return outcome.code
    main = max(reason.rejected, key=lambda name: (reason.rejected[name], name))
    return f"{outcome.code}, {main}"


def conflicts(outcomes: Iterable[Outcome]) -> int:
    """Conflicts met, also by requests that were refused in the end."""
    return sum(o.request.conflicts for o in outcomes if o.request)


def claim_ms(outcomes: Iterable[Outcome]) -> list[float]:
    """Times of the claims themselves, of placed requests."""
    return [o.request.timings.claim_ms for o in outcomes if o.request and o.placed]


def local(outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Those placed in the cell they were posted to."""
    return [o for o in outcomes if o.placed and o.to_cell == o.planned.target]


def pairs(outcomes: Iterable[Outcome]) -> tuple[Pair, ...]:
    """Claims across cells, a row for each pair that occurs."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.placed and outcome.to_cell != outcome.planned.target:
            groups.setdefault((outcome.planned.target, outcome.to_cell), []).append(outcome)
    return tuple(_pair(key, spread(claim_ms(group))) for key, group in sorted(groups.items()))


def _pair(cells: tuple[str, str], times: Spread) -> Pair:
    return Pair(
        from_cell=cells[0],
        to_cell=cells[1],
        p50=times.p50,
        p95=times.p95,
        p99=times.p99,
        count=times.count,
    )
