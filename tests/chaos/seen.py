"""What clients saw: their operations, and from them how long each was without service. Pure.

Service is what a client wants of its own region: a claim at home, of what there is plenty of. It is
there when a claim is placed; a refusal, an error and a silence are none.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any


class Outcome(enum.StrEnum):
    OK = "ok"
    REFUSED = "refused"
    """Answered with a no and its reason."""
    UNKNOWN = "unknown"
    """No answer, or one that nothing was decided: it may have happened."""


@dataclass(frozen=True)
class Operation:
    """One call of a client; times in seconds of one monotonic clock. ``plenty``: a no is not to be expected."""

    client: str
    region: str
    kind: str
    targets: tuple[str, ...]
    """Regions whose cells it needs."""
    started: float
    ended: float
    outcome: Outcome
    code: str = ""
    plenty: bool = False


@dataclass(frozen=True)
class Window:
    """A fault's time and whom it could touch; ``until`` counts the recovery in."""

    kind: str
    regions: frozenset[str]
    since: float
    until: float


@dataclass
class Sight:
    """What was seen of one kind of fault. ``elsewhere``: by clients and of cells that it did not touch."""

    cycles: int = 0
    longest_s: float = 0.0
    elsewhere_longest_s: float = 0.0
    elsewhere_claims: int = 0
    elsewhere_failed: int = 0
    examples: list[str] = field(default_factory=list)


EXAMPLES_MAX = 5


def sights(operations: Sequence[Operation], windows: Iterable[Window]) -> dict[str, Sight]:
    """By kind of fault, over all its windows."""
    claims = sorted(
        (one for one in operations if one.kind == "claim" and one.plenty),
        key=lambda one: one.started,
    )
    seen: dict[str, Sight] = {}
    for window in windows:
        sight = seen.setdefault(window.kind, Sight())
        sight.cycles += 1
        during = [one for one in claims if overlaps(one, window)]
        outside = [one for one in during if _outside(one, window)]
        # Homes only: a claim across a cut has to fail, and is no measure of service.
        home = [one for one in during if one.targets == (one.region,)]
        touched = [one for one in home if not _outside(one, window)]
        sight.longest_s = max(sight.longest_s, longest_without(touched))
        sight.elsewhere_longest_s = max(
            sight.elsewhere_longest_s,
            longest_without([one for one in home if _outside(one, window)]),
        )
        failed = [one for one in outside if one.outcome is not Outcome.OK]
        sight.elsewhere_claims += len(outside)
        sight.elsewhere_failed += len(failed)
        for one in failed[: EXAMPLES_MAX - len(sight.examples)]:
            sight.examples.append(
                f"{one.client} to {','.join(one.targets)} after {one.ended - one.started:.1f} s: "
                f"{one.outcome} {one.code}"
            )
    return seen


def overlaps(one: Operation, window: Window) -> bool:
    return one.started < window.until and one.ended > window.since


def _outside(one: Operation, window: Window) -> bool:
    """Neither its client's region nor one that it needs was touched."""
    return not ({one.region, *one.targets} & window.regions)


def longest_without(claims: Sequence[Operation]) -> float:
    """The longest that any client waited for a claim to succeed, counted from when it first asked in vain.

    An answer that came late counts as well: from its question on.
    """
    longest = 0.0
    waiting: dict[str, float] = {}
    last = 0.0
    for one in claims:
        since = waiting.setdefault(one.client, one.started)
        last = max(last, one.ended)
        if one.outcome is Outcome.OK:
            longest = max(longest, one.ended - since)
            del waiting[one.client]
    # Whoever never got one waited to the end of what is known.
    return round(max([longest, *(last - since for since in waiting.values())]), 3)


def counts(operations: Iterable[Operation]) -> dict[str, dict[str, int]]:
    """Kind of operation -> outcome -> how many."""
    by_kind: dict[str, Counter[str]] = {}
    for one in operations:
        by_kind.setdefault(one.kind, Counter())[str(one.outcome)] += 1
    return {kind: dict(found) for kind, found in sorted(by_kind.items())}


def rows(seen: dict[str, Sight]) -> list[dict[str, Any]]:
    """As the record of a run has them, the longest first."""
    return [
        {"kind": kind, **vars(sight)}
        for kind, sight in sorted(seen.items(), key=lambda item: -item[1].longest_s)
    ]
