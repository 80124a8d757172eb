"""Each weigher: which of two hosts it prefers, and its scale."""

from __future__ import annotations

import msgspec
import pytest

from placer.model import weights
from placer.model.groups import Place, Policy, Scope, ServerGroup
from placer.model.host_view import HostView
from placer.model.records import Inventory
from placer.model.request import RequestSpec, Strategy
from placer.scheduler import weighers
from placer.scheduler.groups import GroupFacts
from placer.scheduler.wanted import Wanted
from placer.scheduler.weighers.fragmentation import TASKS, fragmentation

from ..factories import spec, view, wanted

GPU = "CUSTOM_GPU_MILLI"


def gpus(name: str, *rooms: int, vcpu: int = 128) -> HostView:
    """A large host whose GPUs have this much left."""
    units = tuple(f"gpu{n}" for n in range(len(rooms)))
    inventory = Inventory(total=1000 * len(rooms), units=units)
    host = view(name, vcpu=vcpu, memory=1_000_000, **{GPU: inventory})
    taken = {unit: 1000 - room for unit, room in zip(units, rooms, strict=True)}
    return msgspec.structs.replace(host, free={**host.free, GPU: sum(rooms)}, taken={GPU: taken})


def group(policy: Policy, *members: Place) -> GroupFacts:
    return GroupFacts(ServerGroup("c1.g", "g", policy, Scope.REGION, "p"), members)


def moved(host: HostView, **changed: object) -> HostView:
    return msgspec.structs.replace(host, **changed)


def test_every_weigher_has_a_default_factor() -> None:
    """The names that the API knows are those that the scheduler has."""
    assert list(weighers.table()) == weights.names() == list(weights.DEFAULTS)


BOTH = RequestSpec(resources={"VCPU": 2, "MEMORY_MB": 100})


@pytest.mark.parametrize(
    ("name", "asked", "better", "worse"),
    [
        pytest.param("spread", wanted(BOTH), view(vcpu=8), view(vcpu=4), id="spread: emptier"),
        pytest.param("pack", wanted(BOTH), view(vcpu=4), view(vcpu=8), id="pack: fuller"),
        pytest.param("cpu", wanted(BOTH), view(vcpu=8), view(vcpu=4), id="cpu: more cores left"),
        pytest.param(
            "ram", wanted(BOTH), view(memory=2000), view(memory=200), id="ram: more memory left"
        ),
        pytest.param(
            "disk",
            wanted(BOTH),
            view(DISK_GB=Inventory(total=10)),
            view(),
            id="disk: a host that has some, though none is asked for",
        ),
        pytest.param(
            "unwanted_classes",
            wanted(BOTH),
            view(),
            gpus("g", 1000),
            id="unwanted classes: no GPU where none is asked for",
        ),
        pytest.param(
            "build_failures",
            wanted(BOTH, now_ms=1000),
            view(),
            moved(view(), failures=2, failed_ms=900),
            id="build failures: a host without any",
        ),
        pytest.param(
            "build_failures",
            wanted(BOTH, now_ms=1_000_000),
            moved(view(), failures=9, failed_ms=1),
            moved(view(), failures=1, failed_ms=900_000),
            id="build failures: old ones are forgotten",
        ),
        pytest.param(
            "cross_cell",
            wanted(spec(cells=("c1", "c2"))),
            view(),
            moved(view(), cell="c2"),
            id="cross cell: the cell named first",
        ),
        pytest.param(
            "server_group",
            wanted(spec(), group=group(Policy.AFFINITY, Place("r1", "c1", "h9"))),
            view(),
            moved(view(), cell="c2"),
            id="server group: near to the members, for affinity",
        ),
        pytest.param(
            "server_group",
            wanted(spec(), group=group(Policy.ANTI_AFFINITY, Place("r1", "c1", "h9"))),
            moved(view(), cell="c2"),
            view(),
            id="server group: far from the members, for anti-affinity",
        ),
        pytest.param(
            "fragmentation",
            wanted(RequestSpec(resources={"VCPU": 1, GPU: 500})),
            gpus("cut", 500, 1000),
            gpus("whole", 1000, 1000),
            id="fragmentation: a slice goes to the GPU that it fills",
        ),
    ],
)
def test_prefers(name: str, asked: Wanted, better: HostView, worse: HostView) -> None:
    """Scores are between 0 and 1, and the better host has the higher one."""
    weigher = weighers.table()[name]
    assert weigher.applies(asked)
    assert 0.0 <= weigher.score(asked, worse) < weigher.score(asked, better) <= 1.0


def test_shares_are_the_scarcest_class() -> None:
    """The class that is left with the least decides."""
    # 2 of 8 cores leave 0.75 of them, 100 of 200 MiB leave half.
    host = view(vcpu=8, memory=200)
    assert weighers.table()["spread"].score(wanted(BOTH), host) == pytest.approx(0.5)
    assert weighers.table()["pack"].score(wanted(BOTH), host) == pytest.approx(0.5)


def test_fragmentation_counts_what_no_task_can_use() -> None:
    """The paper's measure on hosts small enough to work it out by hand."""
    assert sum(task.share for task in TASKS) == pytest.approx(1.0)
    # Without cores nobody can use the 1500 that are free.
    assert fragmentation([1000, 500], 0, 0) == pytest.approx(1500)
    # 500 are left of one GPU: no use to tasks of 650 and more (0.05 + 0.21 + 0.20 + 0.31 + 0.02).
    assert fragmentation([500], 1000, 10**6) == pytest.approx(0.79 * 500)
    # A whole GPU is of no use only to those who want eight of them.
    assert fragmentation([1000], 1000, 10**6) == pytest.approx(0.02 * 1000)


@pytest.mark.parametrize(
    ("asked", "configured", "expected"),
    [
        pytest.param(spec(), {}, {"spread": 1.0}, id="defaults"),
        pytest.param(spec(), {"spread": 3.0}, {"spread": 3.0}, id="settings over defaults"),
        pytest.param(
            spec(strategy=Strategy.PACK),
            {"spread": 3.0},
            {"pack": 3.0},
            id="pack instead of spread",
        ),
        pytest.param(
            spec(strategy=Strategy.SPREAD),
            {"spread": 0.0, "pack": 2.0},
            {"spread": 2.0},
            id="spread instead of pack",
        ),
        pytest.param(
            spec(weights={"spread": 0.5, "ram": -1.0}),
            {"spread": 3.0},
            {"spread": 0.5, "ram": -1.0},
            id="request over settings",
        ),
    ],
)
def test_factors(
    asked: RequestSpec, configured: dict[str, float], expected: dict[str, float]
) -> None:
    """Defaults, then settings, then strategy, then the request's own weights."""
    found = weighers.factors(asked, configured)
    shown = {name: found[name] for name in ("spread", "pack", "ram") if name in found}
    assert shown == expected
