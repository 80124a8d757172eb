"""The agent against a real hub over a pipe: what it does with claims, whatever breaks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from placer.agents.agent import Agent
from placer.agents.decisions import Action, decide
from placer.agents.journal import Journal, Phase
from placer.claims.operations import AgentStep, Operation
from placer.errors import InvalidInput, StoreUnknown
from placer.model.messages import Orders, StepKind
from placer.model.records import ClaimState
from placer.scheduler.agent_hub import _order

from .fakes import Bench, claim, lose_journal, settings, until, uuid_of
from .test_journal import lock

CLAIMED, BUILDING = ClaimState.CLAIMED, ClaimState.BUILDING
BUILT, DELETING = ClaimState.BUILT, ClaimState.DELETING


@pytest.mark.parametrize(
    ("state", "phase", "runs", "action"),
    [
        pytest.param(CLAIMED, None, False, Action.ADOPT, id="a new claim is adopted"),
        pytest.param(CLAIMED, Phase.BUILDING, False, Action.ADOPT, id="adopting may be repeated"),
        pytest.param(CLAIMED, Phase.BUILT, True, Action.NOTHING, id="older than BUILT"),
        pytest.param(CLAIMED, Phase.DESTROYING, False, Action.NOTHING, id="older than the end"),
        pytest.param(BUILDING, Phase.BUILDING, False, Action.BUILD, id="a build is taken up again"),
        pytest.param(BUILDING, Phase.BUILDING, True, Action.SAY_BUILT, id="it runs: say so"),
        pytest.param(BUILDING, None, True, Action.SAY_BUILT, id="it runs, the journal was lost"),
        pytest.param(BUILDING, None, False, Action.ADOPT, id="unheard of: never built unasked"),
        pytest.param(BUILDING, Phase.BUILT, True, Action.NOTHING, id="building, but told long ago"),
        pytest.param(BUILDING, Phase.DESTROYING, False, Action.NOTHING, id="building, given up"),
        pytest.param(BUILT, Phase.BUILT, True, Action.NOTHING, id="all is said and done"),
        pytest.param(BUILT, Phase.BUILDING, True, Action.SAY_BUILT, id="BUILT was not answered"),
        pytest.param(
            BUILT, Phase.DESTROYING, False, Action.NOTHING, id="built, older than the end"
        ),
        pytest.param(BUILT, Phase.BUILT, False, Action.REBUILD, id="it was removed by others"),
        pytest.param(BUILT, None, False, Action.REBUILD, id="removed, and the journal was lost"),
        pytest.param(BUILT, Phase.BUILDING, False, Action.REBUILD, id="cut short while rebuilt"),
        pytest.param(DELETING, Phase.BUILT, True, Action.DESTROY, id="deleting is destroyed"),
        pytest.param(DELETING, Phase.DESTROYING, False, Action.DESTROY, id="half destroyed"),
        pytest.param(DELETING, None, False, Action.DESTROY, id="nothing there is soon destroyed"),
    ],
)
def test_decide(state: ClaimState, phase: Phase | None, runs: bool, action: Action) -> None:
    """Each state of a claim, with what is known of it, asks for one thing."""
    assert decide(state, phase, runs) is action


async def test_a_claim_is_adopted_built_and_reported(tmp_path: Path) -> None:
    """The straight way: one build, three states, the instance listed."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.listed == [("built", "c1")], "c1 is built")
        assert bench.world.state("c1") is BUILT
        assert bench.world.log == ["adopt:c1", "build:c1", "built:c1"]


async def test_a_pushed_claim_is_built_at_once(tmp_path: Path) -> None:
    """A claim made while the agent is connected needs no report."""
    bench = Bench(tmp_path)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        bench.world.put("h1", claim("c1"))
        assert bench.hub.push(bench.world.rows[uuid_of("h1")])
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")


async def test_repeated_orders_build_once(tmp_path: Path) -> None:
    """Orders that come again before, during and after the build change nothing."""
    bench = Bench(tmp_path)
    bench.world.gates.shut("before build")
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        bench.world.put("h1", claim("c1"))
        for _ in range(3):
            bench.hub.deliver(uuid_of("h1"), claim("c1"))
        await bench.world.gates.reached("before build")
        for state in (CLAIMED, BUILDING):
            bench.hub.deliver(uuid_of("h1"), claim("c1", state))
        bench.world.gates.open("before build")
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
        for state in (CLAIMED, BUILDING, BUILT):
            bench.hub.deliver(uuid_of("h1"), claim("c1", state))
        bench.hub.deliver(uuid_of("h1"), claim("c2", BUILT))
        await asyncio.sleep(0.05)
        assert bench.world.builds == {"c1": 1}
        assert bench.world.log == ["adopt:c1", "build:c1", "built:c1"]


@pytest.mark.parametrize("state", [CLAIMED, BUILDING])
async def test_a_claim_that_cannot_be_adopted_is_not_built(
    tmp_path: Path, state: ClaimState
) -> None:
    """The order is older than the row: the lease has ended, or the claim came to its end."""
    bench = Bench(tmp_path)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        bench.hub.deliver(uuid_of("h1"), claim("lapsed", state))
        bench.world.put("h1", claim("c2"))
        bench.hub.push(bench.world.rows[uuid_of("h1")])
        await until(lambda: bench.world.state("c2") is BUILT, "c2 is built")
        assert bench.world.builds == {"c2": 1}
        assert bench.world.state("lapsed") is None


async def test_a_failed_build_is_given_back_through_deleting(tmp_path: Path) -> None:
    """Rule 22: never straight from building to gone; the remains are destroyed in between."""
    bench = Bench(tmp_path)
    bench.driver.failing.add("c1")
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.world.log[-1:] == ["gone:c1"], "c1 is gone")
        assert bench.world.log == ["adopt:c1", "deleting:c1", "destroy:c1", "gone:c1"]
        await until(lambda: not any(bench.agent.status().claims.values()), "the journal is empty")
        ((failed, why),) = bench.failures
        assert (failed, bool(why)) == ("c1", True)


async def test_a_build_that_never_ends_is_given_back(tmp_path: Path) -> None:
    """build_timeout_s bounds a build; the claim does not hold its capacity for ever."""
    bench = Bench(tmp_path, build_timeout_s=0.05)
    bench.world.gates.shut("before build")
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.world.log[-1:] == ["gone:c1"], "c1 is gone")
        assert bench.world.builds == {}
        assert bench.failures == [("c1", "not built within 0.05 s")]


async def test_a_deleted_instance_is_destroyed_before_its_capacity_is_free(tmp_path: Path) -> None:
    """Rule 21: destroy, then remove the entry; the list hears of it before."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
        bench.world.put("h1", claim("c1", DELETING))
        bench.hub.push(bench.world.rows[uuid_of("h1")])
        await until(lambda: bench.world.state("c1") is None, "c1 is gone")
        assert bench.world.log[-2:] == ["destroy:c1", "gone:c1"]
        assert bench.listed == [("built", "c1"), ("gone", "c1")]
        assert not bench.world.running


async def test_a_claim_deleted_during_its_build_is_destroyed(tmp_path: Path) -> None:
    """BUILT is refused because the row says deleting: what was built goes."""
    bench = Bench(tmp_path)
    bench.world.gates.shut("before build")
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await bench.world.gates.reached("before build")
        bench.world.put("h1", claim("c1", DELETING))
        bench.world.gates.open("before build")
        await until(lambda: bench.world.state("c1") is None, "c1 is gone")
        assert not bench.world.running


async def test_an_order_that_comes_during_the_work_is_not_lost(tmp_path: Path) -> None:
    """The claim is deleted while BUILT is being answered: no report is needed to destroy it."""
    bench = Bench(tmp_path)
    bench.world.gates.shut("after built")
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await bench.world.gates.reached("after built")
        bench.world.put("h1", claim("c1", DELETING))
        bench.hub.push(bench.world.rows[uuid_of("h1")])
        await asyncio.sleep(0.01)
        bench.world.gates.open("after built")
        await until(lambda: bench.world.state("c1") is None, "c1 is gone")
        assert not bench.world.running


async def test_at_most_builds_max_build_at_once(tmp_path: Path) -> None:
    """Twenty claims, four workers."""
    bench = Bench(tmp_path)
    bench.world.put("h1", *(claim(f"c{number}") for number in range(20)))
    async with bench.running():
        await until(lambda: len(bench.listed) == 20, "all are built")
        assert bench.world.building_most == 4
        assert set(bench.world.builds.values()) == {1}


async def test_a_build_outlives_the_connection(tmp_path: Path) -> None:
    """The connection breaks during a build: it is reported over the next one, not repeated."""
    bench = Bench(tmp_path)
    bench.world.gates.shut("before build")
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await bench.world.gates.reached("before build")
        bench.pipe.cut()
        bench.world.gates.open("before build")
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
        assert bench.world.builds == {"c1": 1}
        assert len(bench.urls) == 2


@pytest.mark.parametrize("point", ["before adopt", "after adopt", "before built", "after built"])
async def test_a_lost_answer_is_settled_by_the_next_report(tmp_path: Path, point: str) -> None:
    """The connection breaks while a step is under way; done or not, the claim ends built once."""
    bench = Bench(tmp_path)
    bench.world.gates.shut(point)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await bench.world.gates.reached(point)
        bench.pipe.cut()
        bench.world.gates.open(point)
        await until(lambda: ("built", "c1") in bench.listed, "c1 is listed")
        assert bench.world.state("c1") is BUILT
        assert bench.world.builds == {"c1": 1}


@pytest.mark.parametrize(
    "point",
    [
        "before adopt",
        "after adopt",
        "before build",
        "after build",
        "before built",
        "after built",
    ],
)
async def test_a_killed_agent_builds_nothing_twice(tmp_path: Path, point: str) -> None:
    """kill -9 at any step, restart: one instance, built, listed."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    bench.world.gates.shut(point)
    async with bench.running():
        await bench.world.gates.reached(point)
    bench.world.gates.open(point)
    async with bench.running():
        await until(lambda: ("built", "c1") in bench.listed, "c1 is listed")
    assert bench.world.state("c1") is BUILT
    assert bench.world.builds == {"c1": 1}
    assert bench.world.running == {"c1"}


@pytest.mark.parametrize(
    "point",
    [
        "before deleting",
        "after deleting",
        "before destroy",
        "after destroy",
        "before gone",
        "after gone",
    ],
)
async def test_a_killed_agent_leaves_no_half_of_a_failed_build(tmp_path: Path, point: str) -> None:
    """kill -9 while a failed build is given back: no instance, no claim in the end."""
    bench = Bench(tmp_path)
    bench.driver.failing.add("c1")
    bench.world.put("h1", claim("c1"))
    bench.world.gates.shut(point)
    async with bench.running():
        await bench.world.gates.reached(point)
    bench.world.gates.open(point)
    async with bench.running():
        await until(lambda: bench.world.state("c1") is None, "c1 is gone")
        await until(lambda: bench.agent.status().reported == 1, "h1 is reported")
        await asyncio.sleep(0.02)
    assert not bench.world.running
    assert bench.world.log.count("gone:c1") == 1


async def test_an_undecided_step_is_asked_again(tmp_path: Path) -> None:
    """The store loses answers: the agent goes on asking, and builds once."""
    bench = Bench(tmp_path)
    failures = {StepKind.ADOPT: 2, StepKind.BUILT: 1}

    def fails(host: str, operation: Operation) -> Exception | None:
        if isinstance(operation, AgentStep) and failures.get(operation.kind, 0):
            failures[operation.kind] -= 1
            return StoreUnknown("lost")
        return None

    bench.writer.fails = fails
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
        assert bench.world.log == ["adopt:c1", "build:c1", "built:c1"]


@pytest.mark.parametrize("dead", ["s1", "s2"])
async def test_another_scheduler_is_tried_when_one_is_down(tmp_path: Path, dead: str) -> None:
    """With s1 or s2 dead the agent ends at the other."""
    bench = Bench(tmp_path)
    bench.dead.add(dead)
    async with bench.running():
        await until(lambda: bench.agent.status().reported == 1, "h1 is reported")
    assert dead not in bench.urls[-1]


async def test_a_scheduler_that_the_settings_do_not_name_is_heard_of(tmp_path: Path) -> None:
    """When both of the settings are dead the agent goes to the one that it was told of."""
    bench = Bench(tmp_path)
    bench.hub = bench.new_hub(known=("http://s3",))
    async with bench.running():
        await until(lambda: bench.agent.status().reported == 1, "h1 is reported")
        bench.dead |= {"s1", "s2"}
        bench.pipe.cut()
        await until(lambda: "s3" in bench.urls[-1], "it goes to s3")
        await until(lambda: bench.agent.status().reported == 1, "h1 is reported again")


async def test_a_scheduler_of_another_cell_is_left_alone(tmp_path: Path) -> None:
    """A refused agent keeps trying, slowly, and never builds."""
    bench = Bench(tmp_path)
    bench.hub = bench.new_hub(cell="c2")
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: len(bench.urls) >= 3, "it tries on")
        assert bench.agent.status().scheduler == ""
        bench.hub = bench.new_hub()
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")


async def test_hosts_are_reported_in_batches_until_all_are(tmp_path: Path) -> None:
    """Ten hosts, three to a batch, and a row that cannot be written at first."""
    names = [f"h{number}" for number in range(10)]
    bench = Bench(tmp_path, *names, report_batch=3)
    bench.writer.errors = [StoreUnknown("lost")]
    async with bench.running():
        await until(lambda: bench.agent.status().reported == 10, "all are reported")
        assert set(bench.world.rows) == {uuid_of(name) for name in names}
        assert bench.agent.status().hosts == 10


async def test_the_reconcile_finds_what_no_order_told(tmp_path: Path) -> None:
    """A dropped order costs time only: the next report brings the claim."""
    bench = Bench(tmp_path, reconcile_every_s=0.05)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        bench.world.put("h1", claim("c1"))
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")


async def test_an_instance_whose_claim_vanished_is_taken_down(tmp_path: Path) -> None:
    """A row restored from an old backup lacks the claim: two listings without it, and it goes."""
    bench = Bench(tmp_path, reconcile_every_s=0.05)
    bench.world.put("h1", claim("c1"), claim("c2"))
    async with bench.running():
        await until(lambda: len(bench.listed) == 2, "both are built")
        bench.world.put("h1", claim("c2", BUILT))
        await until(lambda: bench.world.running == {"c2"}, "c1 is taken down")
        assert bench.agent.status().claims["built"] == 1


async def test_one_listing_without_a_claim_is_not_enough(tmp_path: Path) -> None:
    """What is missing once and there again was never taken down."""
    bench = Bench(tmp_path, reconcile_every_s=0.05)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
        point = "before read"
        for claims in ((), (claim("c1", BUILT),)):
            bench.world.gates.shut(point)
            await bench.world.gates.reached(point)
            bench.world.put("h1", *claims)
            bench.world.gates.open(point)
        await asyncio.sleep(0.2)
        assert bench.world.running == {"c1"}
        assert "destroy:c1" not in bench.world.log


async def test_a_stopping_agent_finishes_what_it_has_begun(tmp_path: Path) -> None:
    """SIGTERM during a build: it is built and reported, and nothing new is begun."""
    bench = Bench(tmp_path, builds_max=1)
    bench.world.put("h1", claim("c1"), claim("c2"))
    bench.world.gates.shut("before build")
    async with bench.running() as stop:
        await bench.world.gates.reached("before build")
        stop.set()
        await asyncio.sleep(0.01)
        bench.world.gates.open("before build")
    assert bench.world.state("c1") is BUILT
    assert bench.world.state("c2") is CLAIMED


async def test_a_stopping_agent_waits_no_longer_than_its_grace(tmp_path: Path) -> None:
    """A build that hangs does not hold the process; the restart takes it up again."""
    bench = Bench(tmp_path, shutdown_grace_s=0.05)
    bench.world.put("h1", claim("c1"))
    bench.world.gates.shut("before build")
    async with bench.running() as stop:
        await bench.world.gates.reached("before build")
        stop.set()
        await until(lambda: bench.agent.status().working == 0, "it stops", within_s=1)
    bench.world.gates.open("before build")
    async with bench.running():
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
    assert bench.world.builds == {"c1": 1}


async def test_an_unreadable_message_ends_the_connection_only(tmp_path: Path) -> None:
    """Nonsense from the scheduler: connect anew, go on."""
    bench = Bench(tmp_path)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        await bench.pipe.send_text('{"type": "orders", "claims": [1]}')
        await until(lambda: len(bench.urls) == 2, "it connects anew")
        order = _order(uuid_of("h1"), claim("c1"))
        bench.world.put("h1", claim("c1"))
        await until(lambda: bench.hub.hosts == 1, "h1 is reported again")
        await bench.pipe.send_text(msgspec.json.encode(Orders(claims=(order,))).decode())
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")


async def test_an_instance_removed_by_others_is_built_again(tmp_path: Path) -> None:
    """The row confirms that the claim is still built, then it is; the loss is told."""
    bench = Bench(tmp_path, reconcile_every_s=0.05)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
        bench.world.running.discard("c1")
        bench.world.builds.clear()
        await until(lambda: bench.world.builds["c1"] == 1, "c1 is built again")
        await until(lambda: bench.listed == [("built", "c1")] * 3, "confirmed, then said")
        assert bench.world.state("c1") is BUILT
        assert bench.world.violations == []


async def test_an_old_order_does_not_bring_an_instance_back(tmp_path: Path) -> None:
    """The claim has come to its end meanwhile: the row says so, nothing is built."""
    bench = Bench(tmp_path)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        bench.hub.deliver(uuid_of("h1"), claim("ended", BUILT))
        bench.world.put("h1", claim("c2"))
        bench.hub.push(bench.world.rows[uuid_of("h1")])
        await until(lambda: bench.world.state("c2") is BUILT, "c2 is built")
        assert bench.world.builds == {"c2": 1}


async def test_what_a_lost_journal_left_is_taken_over_or_removed(tmp_path: Path) -> None:
    """Instances with a claim on their row stay as they are, the others are destroyed."""
    bench = Bench(tmp_path, reconcile_every_s=0.05)
    bench.world.put("h1", claim("c1"), claim("c2"))
    async with bench.running():
        await until(lambda: len(bench.world.running) == 2, "both are built")
        await until(lambda: bench.world.state("c2") is BUILT, "c2 is built")
    lose_journal(tmp_path)
    bench.world.put("h1", claim("c1", BUILT))
    async with bench.running():
        await until(lambda: bench.world.running == {"c1"}, "c2 is destroyed")
        await until(lambda: bench.agent.status().claims["built"] == 1, "c1 is in the journal")
    assert bench.world.builds == {"c1": 1, "c2": 1}


async def test_a_journal_that_cannot_be_written(tmp_path: Path) -> None:
    """No instance is begun that the journal does not hold; the requester reads why; others end."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: bench.world.state("c1") is BUILT, "c1 is built")
        lock(bench.agent._journal)
        bench.world.put("h1", claim("c1", DELETING), claim("c2"))
        bench.hub.push(bench.world.rows[uuid_of("h1")])
        await until(lambda: bench.world.state("c2") is None, "c2 is given back")
        await until(lambda: bench.world.state("c1") is None, "c1 is destroyed all the same")
        assert bench.world.builds == {"c1": 1}
        assert "disk" in dict(bench.failures)["c2"]


async def test_a_driver_that_is_not_there_yet(tmp_path: Path) -> None:
    """The agent waits for it, and reports no host before it answers."""
    bench = Bench(tmp_path)
    bench.driver.silent = True
    async with bench.running():
        await asyncio.sleep(0.1)
        assert bench.urls == []
        bench.driver.silent = False
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")


async def test_a_driver_that_falls_silent(tmp_path: Path) -> None:
    """The connection stays, and with it what is known; the hosts are not given up."""
    bench = Bench(tmp_path, reconcile_every_s=0.02)
    async with bench.running():
        await until(lambda: bench.hub.hosts == 1, "h1 is reported")
        bench.driver.silent = True
        await asyncio.sleep(0.1)
        assert (len(bench.urls), bench.hub.hosts) == (1, 1)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"answer_timeout_s": 0.05}, "claim_deadline_s", id="answers cut short"),
        pytest.param({"builds_max": 0}, "at least 1", id="no workers"),
        pytest.param({"report_batch": 0}, "at least 1", id="empty batches"),
    ],
)
def test_settings_that_cannot_work_are_refused(
    tmp_path: Path, change: dict[str, object], words: str
) -> None:
    """Relations between settings are checked before anything starts."""
    bench = Bench(tmp_path)
    journal = Journal(tmp_path)
    with pytest.raises(InvalidInput, match=words):
        Agent(settings(tmp_path, **change), bench.driver, journal, bench.connect)
    journal.close()
