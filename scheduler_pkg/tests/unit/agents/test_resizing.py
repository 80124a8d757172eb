"""Instances whose claim has another size: made so by the agent, whatever breaks in between."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from placer.agents.decisions import Action, decide
from placer.agents.drivers.containers import limits_of
from placer.agents.journal import Phase
from placer.agents.machine import Machine
from placer.model.messages import ClaimOrder
from placer.model.records import ClaimState, Record
from placer.settings import Docker

from .fakes import Bench, claim, until, uuid_of

BUILT = ClaimState.BUILT


def sized(name: str, vcpu: int) -> Record:
    """A built claim of so many CPUs."""
    return msgspec.structs.replace(claim(name, BUILT), amounts={"VCPU": -vcpu})


@pytest.mark.parametrize(
    ("state", "phase", "action"),
    [
        pytest.param(BUILT, Phase.BUILT, Action.RESIZE, id="it is built: resize it"),
        pytest.param(BUILT, Phase.BUILDING, Action.SAY_BUILT, id="first of all say that it is"),
        pytest.param(
            ClaimState.BUILDING, Phase.BUILT, Action.NOTHING, id="older than BUILT: leave it"
        ),
        pytest.param(ClaimState.DELETING, Phase.BUILT, Action.DESTROY, id="it goes anyway"),
    ],
)
def test_decide(state: ClaimState, phase: Phase, action: Action) -> None:
    """Another size matters to what is built and stays."""
    assert decide(state, phase, runs=True, sized=False) is action


async def built(bench: Bench) -> None:
    bench.world.put("h1", claim("c1"))
    assert bench.hub.push(bench.world.rows[uuid_of("h1")])
    await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")


async def test_a_new_size_is_given_to_what_runs(tmp_path: Path) -> None:
    """Without building it again."""
    bench = Bench(tmp_path)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        await built(bench)
        await until(lambda: bench.listed == [("built", "c1")], "c1 is told")
        bench.hub.deliver(uuid_of("h1"), sized("c1", 3))
        await until(lambda: bench.driver.amounts("c1") == {"VCPU": 3}, "c1 is resized")
        assert bench.world.builds == {"c1": 1}


async def test_a_resize_that_failed_is_tried_again(tmp_path: Path) -> None:
    """The journal says the old size until the driver took the new one, also over a restart."""
    bench = Bench(tmp_path)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        await built(bench)
        await until(lambda: bench.listed == [("built", "c1")], "c1 is told")
        bench.driver.silent = True
        bench.hub.deliver(uuid_of("h1"), sized("c1", 3))
        bench.world.put("h1", sized("c1", 3))
    bench.driver.silent = False
    async with bench.running():
        await until(lambda: bench.driver.amounts("c1") == {"VCPU": 3}, "c1 is resized")
        assert bench.world.builds == {"c1": 1}


def test_limits_of_a_container() -> None:
    """CPU and memory change; what devices it has does not."""
    order = ClaimOrder("c1", "h1", "i1", BUILT, {"VCPU": 2, "MEMORY_MB": 512})
    machine = Machine(cpus=(0, 1, 2, 3), memory_mib=4096, disk_gib=10)
    limits = limits_of(order, Docker(), machine)
    assert limits == {"NanoCpus": 2_000_000_000, "Memory": 2**29, "MemorySwap": 2**29}
