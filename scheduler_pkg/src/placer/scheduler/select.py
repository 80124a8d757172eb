"""The decision, on one page: views in, a ranked short list and the reasons for the rest out.

    views -> filters (a reason for each host that goes) -> weighers -> the few best, shuffled

Pure: it reads no clock, environment or network; the random generator is handed in. Two things keep
schedulers with equal views apart and a decision cheap: each looks at the hosts from a random one on
and weighs the first ``score_max`` that fit, and the pick is random among the ``pick_from`` best of
these. In simulation that matters thirty times more than how finely conflicts are detected; looking
at a few dozen of random order instead of all is Nomad's way (and "the power of two choices").
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

from msgspec import Struct

from placer.model import weights
from placer.model.host_view import HostView
from placer.model.records import RowKind
from placer.scheduler import filters, weighers
from placer.scheduler.filters.base import Filter
from placer.scheduler.wanted import Wanted
from placer.scheduler.weighers.base import Weigher
from placer.settings import Scheduler

#: Distinct reasons kept in an answer; a refusal stays readable and bounded.
REASONS_MAX: Final = 16
#: Hosts kept that came furthest, among which an explanation finds the nearest miss.
FURTHEST_MAX: Final = 256


class Selection(Struct, frozen=True):
    """``ranked``: hosts to try, best pick first. ``rejected``: how many hosts each reason removed.

    ``left``: hosts that each filter let through, in the order of the filters; ``cells``: hosts that
    fit, by cell, of all that were seen; ``furthest``: some of those that the last filter to reject
    anything rejected. ``hosts_seen`` counts the judged ones only, ``hosts_unread`` those in buckets
    that were not read, as far as hints tell.
    """

    ranked: tuple[HostView, ...]
    rejected: dict[str, int]
    hosts_seen: int
    left: dict[str, int] = {}
    cells: dict[str, int] = {}
    furthest: tuple[HostView, ...] = ()
    hosts_unread: int = 0


class Sieve:
    """A decision under way: add views, in as many batches as it takes, then take the ranking."""

    def __init__(self, wanted: Wanted, rng: random.Random) -> None:
        """Raises InvalidInput for a weigher or filter that nobody has."""
        settings = wanted.settings
        self._wanted = wanted
        self._rng = rng
        self._filters: list[tuple[str, Filter]] = [
            (name, kept)
            for name, kept in filters.chosen(settings.filters).items()
            if kept.applies(wanted)
        ]
        known = weighers.table()
        self._weighers: list[tuple[float, Weigher]] = [
            (factor, known[name])
            for name, factor in weighers.factors(wanted.spec, settings.weights).items()
            if known[name].applies(wanted)
        ]
        self._fitting: list[HostView] = []
        self._rejected: Counter[str] = Counter()
        self._stopped = [0] * len(self._filters)
        self._cells: Counter[str] = Counter()
        self._furthest: list[HostView] = []
        self._depth = -1
        self._seen = 0

    @property
    def found(self) -> int:
        """Hosts that fit so far."""
        return len(self._fitting)

    def add(self, views: Sequence[HostView]) -> None:
        """Judge ``views`` from a random one on, until ``score_max`` of all added ones fit."""
        start = self._rng.randrange(len(views)) if views else 0
        limit = self._wanted.settings.score_max
        for at in range(len(views)):
            if len(self._fitting) >= limit:
                return
            view = views[(start + at) % len(views)]
            if view.kind is RowKind.HOST:
                self._judge(view)

    def reason(self, view: HostView) -> str | None:
        """The first filter's reason against ``view``, or None if it fits."""
        for _, kept in self._filters:
            if reason := kept.rejects(self._wanted, view):
                return reason
        return None

    def score(self, view: HostView) -> float:
        """Weighted sum of all weighers."""
        return sum(factor * weigher.score(self._wanted, view) for factor, weigher in self._weighers)

    def selection(self, hosts: int) -> Selection:
        """Up to ``hosts`` hosts, the first random among the ``pick_from`` best."""
        pick_from = self._wanted.settings.pick_from
        scored = sorted((-self.score(view), view.host, view) for view in self._fitting)
        best = [view for _, _, view in scored[: max(pick_from, hosts)]]
        head = best[:pick_from]
        self._rng.shuffle(head)
        left, remaining = {}, self._seen
        for (name, _), stopped in zip(self._filters, self._stopped, strict=True):
            remaining -= stopped
            left[name] = remaining
        return Selection(
            ranked=(*head, *best[pick_from:])[:hosts],
            rejected=dict(self._rejected.most_common(REASONS_MAX)),
            hosts_seen=self._seen,
            left=left,
            cells=dict(self._cells),
            furthest=tuple(self._furthest),
        )

    def _judge(self, view: HostView) -> None:
        self._seen += 1
        self._cells[view.cell] += 0
        for depth, (_, kept) in enumerate(self._filters):
            reason = kept.rejects(self._wanted, view)
            if reason is None:
                continue
            self._rejected[reason] += 1
            self._stopped[depth] += 1
            if depth > self._depth:
                self._depth, self._furthest = depth, []
            if depth == self._depth and len(self._furthest) < FURTHEST_MAX:
                self._furthest.append(view)
            return
        self._cells[view.cell] += 1
        self._fitting.append(view)


def select(
    wanted: Wanted, views: Iterable[HostView], *, rng: random.Random, hosts: int = 1
) -> Selection:
    """Choose among ``views``: up to ``hosts`` hosts, best pick first.

    The same arguments and the same state of ``rng`` give the same answer. Raises InvalidInput for
    an unknown weigher or filter.
    """
    sieve = Sieve(wanted, rng)
    sieve.add(list(views))
    return sieve.selection(hosts)


def check(settings: Scheduler) -> None:
    """That all filters and weighers of the settings are there; raises InvalidInput. For the start."""
    filters.chosen(settings.filters)
    weights.check(settings.weights, "scheduler.weights")
    weighers.table()


def first_reason(wanted: Wanted, view: HostView) -> str | None:
    """The first filter's reason against ``view``, or None if it fits. For a host that is named."""
    return Sieve(wanted, random.Random(0)).reason(view)


def score(wanted: Wanted, view: HostView) -> float:
    """Weighted sum of all weighers that apply."""
    return Sieve(wanted, random.Random(0)).score(view)
