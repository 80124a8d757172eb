"""The decision: who is rejected and why, who is ranked, and how the pick spreads."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from placer.model.host_view import HostView
from placer.model.records import HostStatus, Inventory
from placer.model.request import RequestSpec
from placer.scheduler.select import first_reason, score, select

from ..factories import spec, view

GPUS = Inventory(total=2000, units=("gpu0", "gpu1"))
METAL = Inventory(total=1, units=("serial-7",))


@pytest.mark.parametrize(
    ("wanted", "host", "reason"),
    [
        pytest.param(spec(8), view(vcpu=8), None, id="host that is exactly large enough fits"),
        pytest.param(spec(9), view(vcpu=8), "VCPU:no_capacity", id="full host is rejected"),
        pytest.param(
            RequestSpec(resources={"DISK_GB": 1}),
            view(),
            "DISK_GB:not_offered",
            id="class that the host does not have is named",
        ),
        pytest.param(
            spec(required_traits=("CUSTOM_GPU_T4",)),
            view(),
            "trait_missing:CUSTOM_GPU_T4",
            id="missing trait is named",
        ),
        pytest.param(
            spec(forbidden_traits=("CUSTOM_OLD",)),
            view(traits=("CUSTOM_OLD",)),
            "trait_forbidden:CUSTOM_OLD",
            id="forbidden trait is named",
        ),
        pytest.param(spec(), view(status=HostStatus.DOWN), "host_down", id="down host"),
        pytest.param(
            RequestSpec(resources={"CUSTOM_GPU_MILLI": 1500}),
            view(CUSTOM_GPU_MILLI=GPUS),
            "CUSTOM_GPU_MILLI:not_whole_devices",
            id="more than one device comes in whole devices",
        ),
        pytest.param(
            RequestSpec(resources={"CUSTOM_BAREMETAL": 1}),
            view(CUSTOM_BAREMETAL=METAL),
            None,
            id="free bare-metal host fits",
        ),
    ],
)
def test_first_reason(wanted: RequestSpec, host: HostView, reason: str | None) -> None:
    """A host is rejected by the first filter that objects, with its reason."""
    assert first_reason(wanted, host) == reason


def test_reasons_are_counted_by_host() -> None:
    """A refusal says how many hosts each reason removed."""
    views = [view("a", vcpu=1), view("b", vcpu=1), view("c", status=HostStatus.DOWN)]
    selection = select(spec(2), views, rng=random.Random(1), pick_from=10, wanted=1)
    assert selection.ranked == ()
    assert selection.rejected == {"VCPU:no_capacity": 2, "host_down": 1}
    assert selection.hosts_seen == 3


def test_host_that_refused_before_is_not_tried_again() -> None:
    """Excluded hosts are counted, not chosen."""
    selection = select(
        spec(),
        [view("a"), view("b")],
        rng=random.Random(1),
        pick_from=10,
        wanted=2,
        excluded=frozenset({"a"}),
    )
    assert [found.host for found in selection.ranked] == ["b"]
    assert selection.rejected == {"tried_before": 1}


def test_headroom_prefers_the_emptier_host() -> None:
    """Of two hosts that fit, the one left with the larger free share scores higher."""
    # 2 of 8 cores leave 0.75, 2 of 4 leave 0.5.
    assert score(spec(2), view(vcpu=8)) > score(spec(2), view(vcpu=4))


def test_hosts_with_gpus_are_kept_for_those_who_ask() -> None:
    """An equal host without GPUs is preferred by a request that wants none."""
    assert score(spec(2), view()) > score(spec(2), view(CUSTOM_GPU_MILLI=GPUS))


def test_pick_is_random_among_the_best_few_only() -> None:
    """Schedulers with equal views spread over the best few, and never take a worse host."""
    views = [view(f"h{size}", vcpu=size) for size in range(10, 40)]
    picks = Counter(
        select(spec(1), views, rng=random.Random(seed), pick_from=5, wanted=1).ranked[0].host
        for seed in range(300)
    )
    # The largest five keep the largest free share after one core.
    assert set(picks) == {"h35", "h36", "h37", "h38", "h39"}
    assert min(picks.values()) > 300 / 5 / 2


def test_alternates_follow_the_pick_without_repeats() -> None:
    """As many distinct hosts as were asked for, when there are as many."""
    views = [view(f"h{n}") for n in range(8)]
    ranked = select(spec(), views, rng=random.Random(2), pick_from=3, wanted=4).ranked
    assert len({found.host for found in ranked}) == 4
