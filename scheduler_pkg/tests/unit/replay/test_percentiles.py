"""Nearest rank, worked out by hand."""

from __future__ import annotations

import pytest

from placer.replay.percentiles import Spread, nearest_rank, spread


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        pytest.param([7.0], 50, 7.0, id="one value is every percentile"),
        pytest.param([1.0, 2.0], 50, 1.0, id="half of two is the first"),
        pytest.param([1.0, 2.0, 3.0], 50, 2.0, id="ceil(1.5) is the second"),
        pytest.param([float(i) for i in range(1, 101)], 99, 99.0, id="99th of a hundred"),
        pytest.param([float(i) for i in range(1, 11)], 95, 10.0, id="ceil(9.5) is the last"),
    ],
)
def test_nearest_rank(values: list[float], percent: float, expected: float) -> None:
    assert nearest_rank(values, percent) == expected


def test_spread_of_nothing_says_so() -> None:
    """No value: None, not a zero that looks like a measurement."""
    assert spread([]) == Spread(p50=None, p95=None, p99=None, count=0)


def test_order_does_not_matter() -> None:
    assert spread([3.0, 1.0, 2.0]) == Spread(p50=2.0, p95=3.0, p99=3.0, count=3)
