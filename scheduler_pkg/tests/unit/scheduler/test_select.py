"""The decision: who is rejected and why, who is ranked, and how the pick spreads."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from placer.errors import InvalidInput
from placer.model.host_view import HostView
from placer.model.records import HostStatus, Inventory, RowKind
from placer.model.request import RequestSpec, Strategy
from placer.scheduler.select import check, first_reason, score, select
from placer.settings import Scheduler

from ..factories import spec, view, wanted

GPUS = Inventory(total=2000, units=("gpu0", "gpu1"))
METAL = Inventory(total=1, units=("serial-7",))


@pytest.mark.parametrize(
    ("asked", "host", "reason"),
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
def test_first_reason(asked: RequestSpec, host: HostView, reason: str | None) -> None:
    """A host is rejected by the first filter that objects, with its reason."""
    assert first_reason(wanted(asked), host) == reason


def test_reasons_and_what_each_filter_left_are_counted() -> None:
    """A refusal says how many hosts each reason removed and each filter let through."""
    views = [view("a", vcpu=1), view("b", vcpu=1), view("c", status=HostStatus.DOWN)]
    selection = select(wanted(spec(2)), views, rng=random.Random(1))
    assert selection.ranked == ()
    assert selection.rejected == {"VCPU:no_capacity": 2, "host_down": 1}
    assert selection.hosts_seen == 3
    # No traits are asked for, so that filter is not asked at all.
    assert selection.left == {"status": 2, "io": 2, "build_failures": 2, "capacity": 0}
    assert selection.cells == {"c1": 0}
    assert {host.host for host in selection.furthest} == {"a", "b"}


def test_host_that_refused_before_is_not_tried_again() -> None:
    """Hosts that were tried are counted, not chosen."""
    asked = wanted(spec(), tried=frozenset({"a"}))
    selection = select(asked, [view("a"), view("b")], rng=random.Random(1), hosts=2)
    assert [found.host for found in selection.ranked] == ["b"]
    assert selection.rejected == {"tried_before": 1}


def test_same_seed_gives_the_same_answer() -> None:
    """A decision is a function of its arguments and the generator's state."""
    views = [view(f"h{n}", vcpu=8 + n) for n in range(60)]
    first, second = (select(wanted(spec()), views, rng=random.Random(7), hosts=5) for _ in range(2))
    assert first == second
    assert len({found.host for found in first.ranked}) == 5


def test_pools_and_groups_are_not_hosts() -> None:
    """Rows that are not hosts are neither chosen nor counted."""
    pool = msgspec.structs.replace(view("p"), kind=RowKind.POOL)
    assert select(wanted(spec()), [pool], rng=random.Random(1)).hosts_seen == 0


@pytest.mark.parametrize(
    ("strategy", "best"),
    [
        pytest.param(None, "empty", id="by default the emptier host is better"),
        pytest.param(Strategy.SPREAD, "empty", id="spread prefers the emptier host"),
        pytest.param(Strategy.PACK, "full", id="pack prefers the fuller host"),
    ],
)
def test_strategy(strategy: Strategy | None, best: str) -> None:
    """Of two hosts that fit, the strategy says which scores higher."""
    # 2 of 8 cores leave 0.75, 2 of 4 leave 0.5.
    asked = wanted(spec(2, strategy=strategy))
    scores = {"empty": score(asked, view(vcpu=8)), "full": score(asked, view(vcpu=4))}
    assert max(scores, key=lambda name: scores[name]) == best


def test_weights_of_a_request_count() -> None:
    """A factor from the request outweighs the defaults; a negative one turns a weigher round."""
    lean, rich = view("lean", memory=100), view("rich", memory=1000)
    asked = {"VCPU": 1, "MEMORY_MB": 50}
    more = wanted(RequestSpec(resources=asked, weights={"ram": 5.0}))
    less = wanted(RequestSpec(resources=asked, weights={"ram": -5.0}))
    assert score(more, rich) > score(more, lean)
    assert score(less, rich) < score(less, lean)


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        pytest.param(spec(1, weights={"luck": 1.0}), Scheduler(), id="in a request"),
        pytest.param(spec(), Scheduler(weights={"luck": 1.0}), id="in the settings"),
        pytest.param(spec(), Scheduler(filters=("luck",)), id="a filter"),
    ],
)
def test_unknown_names_are_refused(asked: RequestSpec, settings: Scheduler) -> None:
    """A weigher or filter that nobody has is an error that lists those there are."""
    with pytest.raises(InvalidInput, match=r"luck.*(Weighers|Filters): "):
        select(wanted(asked, settings=settings), [view()], rng=random.Random(1))


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param(Scheduler(weights={"luck": 1.0}), id="a weigher"),
        pytest.param(Scheduler(filters=("luck",)), id="a filter"),
    ],
)
def test_settings_are_checked_at_the_start(settings: Scheduler) -> None:
    """A process whose settings name what nobody has does not start."""
    check(Scheduler())
    with pytest.raises(InvalidInput, match="luck"):
        check(settings)


def test_hosts_with_gpus_are_kept_for_those_who_ask() -> None:
    """An equal host without GPUs is preferred by a request that wants none."""
    asked = wanted(spec(2))
    assert score(asked, view()) > score(asked, view(CUSTOM_GPU_MILLI=GPUS))


def test_pick_is_random_among_the_best_few_only() -> None:
    """Schedulers with equal views spread over the best few, and never take a worse host."""
    views = [view(f"h{size}", vcpu=size) for size in range(10, 40)]
    asked = wanted(spec(1), settings=Scheduler(pick_from=5))
    picks = Counter(
        select(asked, views, rng=random.Random(seed)).ranked[0].host for seed in range(300)
    )
    # The largest five keep the largest free share after one core.
    assert set(picks) == {"h35", "h36", "h37", "h38", "h39"}
    assert min(picks.values()) > 300 / 5 / 2


def test_only_so_many_hosts_are_weighed() -> None:
    """Of many that fit, score_max are looked at, from a random one on: another seed, other hosts."""
    views = [view(f"h{n:03}") for n in range(200)]
    asked = wanted(spec(1), settings=Scheduler(score_max=20))
    seen = [select(asked, views, rng=random.Random(seed), hosts=20) for seed in (1, 2)]
    assert [selection.hosts_seen for selection in seen] == [20, 20]
    assert {v.host for v in seen[0].ranked} != {v.host for v in seen[1].ranked}


def test_alternates_follow_the_pick_without_repeats() -> None:
    """As many distinct hosts as were asked for, when there are as many."""
    views = [view(f"h{n}") for n in range(8)]
    asked = wanted(spec(), settings=Scheduler(pick_from=3))
    ranked = select(asked, views, rng=random.Random(2), hosts=4).ranked
    assert len({found.host for found in ranked}) == 4
