"""Agents and schedulers of neighbouring releases, together: a whole life of a claim, both ways."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from placer.errors import AgentSilent, NoAgent
from placer.model.messages import ClaimOrder, FromAgent, Hello, ToAgent, Welcome
from placer.model.protocol import VERSIONS, Versions
from placer.model.records import ClaimState

from .fakes import Bench, claim, until

N = VERSIONS
#: The release before agents could be asked what they say of themselves.
OLD = Versions(1, 1)
#: A release that knows this one's newest version and a made-up further one, and the one after that.
NEXT = Versions(VERSIONS.newest, VERSIONS.newest + 1)
LATER = Versions(VERSIONS.newest + 1, VERSIONS.newest + 2)


@pytest.mark.parametrize(
    ("agent", "scheduler"),
    [
        pytest.param(OLD, N, id="the scheduler is of now, the agent of the release before"),
        pytest.param(N, OLD, id="the agent is of now, the scheduler of the release before"),
        pytest.param(N, NEXT, id="the scheduler was upgraded first"),
        pytest.param(NEXT, N, id="the agent was upgraded first"),
        pytest.param(NEXT, NEXT, id="both were"),
        pytest.param(LATER, NEXT, id="the agent is one further still"),
    ],
)
async def test_neighbours_work_together(
    tmp_path: Path, agent: Versions, scheduler: Versions
) -> None:
    """A claim is adopted, built and listed."""
    bench = Bench(tmp_path)
    bench.versions = {"agent": agent, "scheduler": scheduler}
    bench.hub = bench.new_hub()
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: ("built", "c1") in bench.listed, "c1 is built")
    assert bench.world.state("c1") is ClaimState.BUILT


async def test_an_agent_is_asked_what_it_says_of_itself(tmp_path: Path) -> None:
    """Its depths, its stacks, its settings without secrets; one that is not there is an error."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: ("built", "c1") in bench.listed, "c1 is built")
        (seen,) = bench.hub.agents_seen()
        told = await bench.hub.diagnose(seen.name)
        with pytest.raises(NoAgent):
            await bench.hub.diagnose("nobody")
    assert (seen.hosts, seen.protocol) == (1, VERSIONS.newest)
    assert (told.depths["built"], told.depths["hosts_reported"]) == (1, 1)
    assert {"worker-0", "connection"} <= {task[0] for task in told.tasks}


async def test_an_agent_of_the_release_before_is_not_asked(tmp_path: Path) -> None:
    """It would break the connection over a message that it does not know."""
    bench = Bench(tmp_path)
    bench.versions["agent"] = OLD
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "it is connected")
        (seen,) = bench.hub.agents_seen()
        with pytest.raises(AgentSilent, match="protocol 1"):
            await bench.hub.diagnose(seen.name)
        assert len(bench.urls) == 1


@pytest.mark.parametrize(
    ("agent", "scheduler"),
    [pytest.param(N, LATER, id="the agent"), pytest.param(LATER, N, id="the scheduler")],
)
async def test_a_release_too_old_is_refused(
    tmp_path: Path, agent: Versions, scheduler: Versions
) -> None:
    """Nothing is reported and nothing built; the agent goes on trying, for its peer may change."""
    bench = Bench(tmp_path)
    bench.versions = {"agent": agent, "scheduler": scheduler}
    bench.hub = bench.new_hub()
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: len(bench.urls) > 2, "it is refused and tries again")
    assert bench.world.state("c1") is ClaimState.CLAIMED
    assert bench.world.log == []


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        pytest.param(
            '{"type":"hello","agent":"a","cell":"c","protocol_min":1,"protocol_max":9,"new":[1]}',
            FromAgent,
            Hello("a", "c", 1, 9),
            id="hello",
        ),
        pytest.param(
            '{"type":"welcome","scheduler":"s","protocol":1,"new":{}}',
            ToAgent,
            Welcome("s", 1),
            id="welcome",
        ),
        pytest.param(
            '{"claim":"k","host":"h","consumer":"i","state":"built","amounts":{},"new":null}',
            ClaimOrder,
            ClaimOrder("k", "h", "i", ClaimState.BUILT, {}),
            id="an order",
        ),
    ],
)
def test_fields_of_a_later_release_are_ignored(text: str, kind: object, expected: object) -> None:
    """So that Hello can always be read, and a field that may be ignored needs no new version."""
    assert msgspec.json.decode(text, type=kind) == expected
