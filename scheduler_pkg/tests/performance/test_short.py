"""The workloads labelled "short", against their thresholds: part of every test run."""

from __future__ import annotations

import pytest

from .measure import Workload, load, measure

SHORT = [workload for workload in load() if "short" in workload.labels]


@pytest.mark.parametrize("workload", SHORT, ids=lambda workload: workload.name)
def test_threshold_holds(workload: Workload) -> None:
    """The measured figure is at most its threshold; see workloads.yml for what it is."""
    figures = measure(workload)
    assert figures[workload.metric] <= workload.threshold, figures


def test_some_workload_is_short() -> None:
    """The short form measures something."""
    assert SHORT
