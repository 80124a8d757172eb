"""Cuts and changes of paths while the delay process runs: named, bounded in time, one over the other.

Each is laid over the configured paths and taken away by its name, so that two faults at once neither
know of one another nor end one another. The process itself ends them when their time is over: whoever
asked for one may die meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from placer_wan.errors import WanError

Pair = tuple[str, str]
SECONDS_MAX = 86_400.0
PHASE_MIN_S = 0.1
"""A path that flaps faster than this is a lossy one: --loss-percent says it better."""
DISTURBANCES_MAX = 64


@dataclass(frozen=True)
class Disturbance:
    """Changes of some paths from `since` to `until`, in seconds of one monotonic clock; None: for ever.

    With `down_s` and `up_s` it flaps: on for `down_s`, off for `up_s`, and again.
    """

    name: str
    pairs: frozenset[Pair]
    changes: Mapping[str, Any]
    since: float = field(compare=False)
    until: float | None = field(default=None, compare=False)
    down_s: float = 0.0
    up_s: float = 0.0

    def __post_init__(self) -> None:
        if self.until is not None and not 0 < self.until - self.since <= SECONDS_MAX:
            raise WanError(
                f"--for is {self.until - self.since:g} s",
                f"choose more than 0, up to {SECONDS_MAX:g}",
            )
        phases = (self.down_s, self.up_s)
        if any(phases) and not all(PHASE_MIN_S <= phase <= SECONDS_MAX for phase in phases):
            raise WanError(
                f"--down and --up are {self.down_s:g} s and {self.up_s:g} s",
                f"give both, {PHASE_MIN_S:g} s or more each",
            )

    def ended(self, now: float) -> bool:
        return self.until is not None and now >= self.until

    def active(self, now: float) -> bool:
        """Whether its changes count now."""
        if self.ended(now):
            return False
        return not self.down_s or (now - self.since) % (self.down_s + self.up_s) < self.down_s

    def next_change(self, now: float) -> float:
        """Seconds until `active` may answer something else; infinite when it never does."""
        left = float("inf") if self.until is None else max(self.until - now, 0.0)
        if not self.down_s:
            return left
        at = (now - self.since) % (self.down_s + self.up_s)
        return min(left, self.down_s - at if at < self.down_s else self.down_s + self.up_s - at)


def bound(request: Mapping[str, Any], now: float) -> float | None:
    """When a request's disturbance ends, None for one that lasts until it is healed."""
    seconds = request.get("seconds")
    return None if seconds is None else now + float(seconds)


def without(
    disturbances: Iterable[Disturbance], pairs: Iterable[Pair], name: str | None
) -> list[Disturbance]:
    """What is left when `pairs` are healed of the disturbance `name`, or of all of them."""
    healed = frozenset(pairs)
    left = []
    for one in disturbances:
        if name in (None, one.name):
            rest = one.pairs - healed
            one = Disturbance(
                one.name, rest, one.changes, one.since, one.until, one.down_s, one.up_s
            )
        if one.pairs:
            left.append(one)
    return left
