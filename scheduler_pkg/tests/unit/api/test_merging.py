"""What a request names is known before the request is stored."""

from __future__ import annotations

import asyncio

import pytest

from placer.api.native.merging import complete
from placer.errors import UnknownServerGroup
from placer.model.groups import Policy, Scope, ServerGroup
from placer.model.request import RequestSpec

from ...simulation.clock import run_simulated
from .stores import MemoryCatalog

GROUP = ServerGroup("ams1." + "0a" * 16, "web", Policy.AFFINITY, Scope.CELL, "red")


def spec(group: str = GROUP.id, project: str = "red") -> RequestSpec:
    return RequestSpec(resources={"VCPU": 1}, server_group=group, project=project)


def test_a_group_that_is_on_its_way_from_another_region_is_waited_for() -> None:
    """It was made a moment ago, elsewhere; its maker asks here."""

    async def scenario() -> None:
        catalog = MemoryCatalog()
        asked = asyncio.create_task(complete(spec(), catalog))
        await asyncio.sleep(0.5)
        await catalog.groups.put(GROUP)
        assert (await asked).server_group == GROUP.id

    run_simulated(scenario())


@pytest.mark.parametrize(
    ("asked", "within_s"),
    [
        pytest.param(spec("nonsense"), 0.0, id="no id at all"),
        pytest.param(spec("ams1.1"), 0.0, id="no id of a group"),
        pytest.param(spec("ams1." + "0b" * 16), 1.1, id="an id that nobody has"),
        pytest.param(spec(project="blue"), 0.0, id="a group of another project"),
    ],
)
def test_an_unknown_group_is_refused_soon(asked: RequestSpec, within_s: float) -> None:
    """At once where it cannot be on its way, else after a second."""

    async def scenario() -> None:
        catalog = MemoryCatalog()
        await catalog.groups.put(GROUP)
        started = asyncio.get_running_loop().time()
        with pytest.raises(UnknownServerGroup):
            await complete(asked, catalog)
        assert asyncio.get_running_loop().time() - started <= within_s

    run_simulated(scenario())
