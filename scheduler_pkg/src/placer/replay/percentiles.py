"""Percentiles, by one stated definition: nearest rank.

The p-th percentile is the smallest of the measured values such that at least p % of them are at or
below it. It is always a value that was measured; nothing is interpolated or averaged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from msgspec import Struct


class Spread(Struct, frozen=True):
    """p50, p95 and p99 of ``count`` values; None where there are none."""

    p50: float | None
    p95: float | None
    p99: float | None
    count: int


def nearest_rank(ascending: Sequence[float], percent: float) -> float:
    """The ``percent``-th percentile of a sorted, non-empty sequence."""
    return ascending[max(1, math.ceil(len(ascending) * percent / 100)) - 1]


def spread(values: Sequence[float]) -> Spread:
    """p50, p95 and p99 of ``values`` in any order, rounded to a thousandth."""
    if not values:
        return Spread(p50=None, p95=None, p99=None, count=0)
    ascending = sorted(values)
    p50, p95, p99 = (round(nearest_rank(ascending, percent), 3) for percent in (50, 95, 99))
    return Spread(p50=p50, p95=p95, p99=p99, count=len(ascending))
