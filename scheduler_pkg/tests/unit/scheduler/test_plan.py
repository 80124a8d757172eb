"""Which hosts take how many of several equal instances."""

from __future__ import annotations

import pytest

from placer.model.fitting import demand_of
from placer.model.request import RequestSpec
from placer.scheduler.plan import plan
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler

from ..factories import view


@pytest.mark.parametrize(
    ("rooms", "count", "pack", "per_host", "expected"),
    [
        pytest.param((4, 4, 4), 3, False, 0, [1, 1, 1], id="spread: one each"),
        pytest.param((4, 4), 5, False, 0, [3, 2], id="spread: a second round"),
        pytest.param((1, 4), 4, False, 0, [1, 3], id="spread: a full host is passed over"),
        pytest.param((4, 4, 4), 3, True, 0, [3], id="pack: the best host takes all"),
        pytest.param((2, 4), 5, True, 0, [2, 3], id="pack: the next takes the rest"),
        pytest.param((4, 4, 4), 3, True, 1, [1, 1, 1], id="at most one a host"),
        pytest.param((4, 4), 3, False, 1, [1, 1], id="at most one a host: one has no place"),
        pytest.param((1, 0), 3, False, 0, [1], id="less room than wanted"),
        pytest.param((), 3, False, 0, [], id="no hosts"),
    ],
)
def test_instances_go_where_there_is_room(
    rooms: tuple[int, ...], count: int, pack: bool, per_host: int, expected: list[int]
) -> None:
    """Two VCPU each; a host's room is in instances."""
    hosts = [view(f"h{n}", vcpu=max(1, 2 * room)) for n, room in enumerate(rooms)]
    wanted = Wanted(
        spec=RequestSpec(resources={"VCPU": 2}),
        demand=demand_of({"VCPU": 2}),
        settings=Scheduler(),
    )
    chosen = plan(count, hosts, wanted, pack=pack, per_host=per_host)
    assert [n for _, n in chosen] == expected
    assert [host.name for host, _ in chosen] == sorted(host.name for host, _ in chosen)
