"""The decision, on one page: views in, a ranked short list and the reasons for the rest out.

    views -> filters (a reason for each host that goes) -> weighers -> the few best, shuffled

Pure: it reads no clock, environment or network; the random generator is handed in. The pick is
random among the best few, so that schedulers with equal views do not all choose one host: in
simulation that matters thirty times more than how finely conflicts are detected.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from placer.model.host_view import HostView
from placer.model.request import RequestSpec
from placer.scheduler.filters import FILTERS
from placer.scheduler.weighers import WEIGHERS

#: Distinct reasons kept in an answer; a refusal stays readable and bounded.
REASONS_MAX: Final = 16


class Selection(Struct, frozen=True):
    """``ranked``: hosts to try, best pick first. ``rejected``: how many hosts each reason removed."""

    ranked: tuple[HostView, ...]
    rejected: dict[str, int]
    hosts_seen: int


def select(
    spec: RequestSpec,
    views: Iterable[HostView],
    *,
    rng: random.Random,
    pick_from: int,
    wanted: int,
    excluded: frozenset[str] = frozenset(),
) -> Selection:
    """Choose among ``views``: up to ``wanted`` hosts, the first random among the ``pick_from`` best.

    ``excluded`` are hosts that were tried for this request already and refused.
    """
    fitting: list[HostView] = []
    rejected: Counter[str] = Counter()
    seen = 0
    for view in views:
        seen += 1
        reason = "tried_before" if view.host in excluded else first_reason(spec, view)
        if reason is None:
            fitting.append(view)
        else:
            rejected[reason] += 1
    fitting.sort(key=lambda view: (-score(spec, view), view.host))
    best = fitting[: max(pick_from, wanted)]
    head = best[:pick_from]
    rng.shuffle(head)
    return Selection(
        ranked=(*head, *best[pick_from:])[:wanted],
        rejected=dict(rejected.most_common(REASONS_MAX)),
        hosts_seen=seen,
    )


def first_reason(spec: RequestSpec, view: HostView) -> str | None:
    """The first filter's reason against ``view``, or None if it fits."""
    for candidate in FILTERS.values():
        if reason := candidate.rejects(spec, view):
            return reason
    return None


def score(spec: RequestSpec, view: HostView) -> float:
    """Weighted sum of all weighers."""
    return sum(weight * weigher.score(spec, view) for weight, weigher in WEIGHERS.values())
