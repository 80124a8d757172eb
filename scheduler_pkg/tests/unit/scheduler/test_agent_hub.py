"""The hub against a scripted agent, on simulated time."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from placer.claims.operations import Operation, ReportInventory
from placer.errors import Conflict, Overloaded, StoreUnavailable, StoreUnknown
from placer.model.messages import (
    RETRY,
    HostReport,
    Orders,
    Refused,
    Report,
    Reported,
    Step,
    StepDone,
    StepKind,
)
from placer.model.records import ClaimState, HostStatus, Inventory
from placer.scheduler.agent_hub import NOT_YOUR_HOST

from ..agents.fakes import claim, report, uuid_of
from .hub_scene import GRACE_S, Scene, simulated

BUILT = ClaimState.BUILT


@pytest.mark.parametrize(
    ("first", "words"),
    [
        pytest.param(
            '{"type":"hello","agent":"a","cell":"c1","protocol_min":98,"protocol_max":99}',
            "the agent 98 to 99",
            id="newer",
        ),
        pytest.param('{"type":"hello","agent":"a","cell":"c9"}', "serves cell c1", id="other cell"),
        pytest.param('{"type":"report","seq":1,"hosts":[]}', "Hello first", id="no hello"),
        pytest.param("nonsense", "Unreadable", id="not JSON"),
        pytest.param('{"type":"hello"}', "Unreadable", id="fields missing"),
        pytest.param(None, "Hello first", id="silence"),
    ],
)
def test_an_unfit_agent_is_told_why(first: str | None, words: str) -> None:
    """A connection that cannot work is refused with a sentence and closed."""

    async def story() -> None:
        scene = Scene()
        async with scene.connected() as agent:
            if first is not None:
                await agent.pipe.send(first)
            answer = await agent.hear()
            assert isinstance(answer, Refused)
            assert words in answer.message
        assert scene.hub.agents == 0

    simulated(story())


def test_a_report_makes_rows_and_brings_every_claim() -> None:
    """Reported names the uuids; the listing that follows has claims in all states."""

    async def story() -> None:
        scene = Scene()
        states = [*ClaimState]
        scene.world.put("h1", *(claim(f"c-{state}", state) for state in states))
        async with scene.agent() as agent:
            answer = await agent.ask(Report(seq=7, hosts=(report("h1"), report("h2"))))
            assert answer == Reported(seq=7, hosts={"h1": uuid_of("h1"), "h2": uuid_of("h2")})
            listing = await agent.hear()
            assert isinstance(listing, Orders)
            assert [order.state for order in listing.claims] == states
            assert {tuple(order.amounts.items()) for order in listing.claims} == {(("VCPU", 1),)}
            assert {order.image for order in listing.claims} == {"small"}
            assert scene.hub.serves([uuid_of("h1"), uuid_of("h3")]) == {uuid_of("h1")}
            assert scene.writer.writes == 1  # h1's row held its report already

    simulated(story())


def test_a_host_whose_row_cannot_be_written_is_left_out() -> None:
    """The agent reports again what Reported does not name."""

    async def story() -> None:
        scene = Scene()

        def fails(host: str, operation: Operation) -> Exception | None:
            return StoreUnknown("lost") if host == uuid_of("h2") else None

        scene.writer.fails = fails
        async with scene.agent() as agent:
            answer = await agent.ask(Report(seq=1, hosts=(report("h1"), report("h2"))))
            assert answer == Reported(seq=1, hosts={"h1": uuid_of("h1")})

    simulated(story())


def test_what_lists_could_not_be_told_of_a_host_is_told_with_its_next_report() -> None:
    """The host is up all the same, and a report with nothing new writes nothing else."""

    async def story() -> None:
        scene = Scene()
        scene.tell_errors = [StoreUnknown("lost")]
        async with scene.agent() as agent:
            for seq in (1, 2, 3):
                answer = await agent.ask(Report(seq=seq, hosts=(report("h2"),)))
                assert answer == Reported(seq=seq, hosts={"h2": uuid_of("h2")})
                await agent.hear()
                assert scene.hosts == ([] if seq == 1 else [("h2", "up")])
            assert scene.writer.writes == 1

    simulated(story())


def test_claims_that_nobody_was_told_of_are_not_ordered() -> None:
    """A claim of unknown outcome ends with its lease; one that lapsed is removed. Where nobody can
    say, it is not ordered now, and the host's other claims are."""

    async def story() -> None:
        scene = Scene()
        scene.unconfirmed = {"unconfirmed", "adopted"}
        scene.world.put(
            "h1",
            claim("unconfirmed"),
            claim("of-a-silent-cell"),
            claim("of-a-cut-off-cell"),
            claim("confirmed"),
            claim("adopted", ClaimState.BUILDING),
            claim("lapsed", lease_until_ms=0),
        )
        async with scene.agent() as agent:
            listing = await agent.report()
            assert [order.claim for order in listing.claims] == ["confirmed", "adopted"]
        left = [record.id for record in scene.world.rows[uuid_of("h1")].claims]
        unsure = ["unconfirmed", "of-a-silent-cell", "of-a-cut-off-cell"]
        assert left == [*unsure, "confirmed", "adopted"]

    simulated(story())


@pytest.mark.parametrize(
    ("host", "words"),
    [
        pytest.param(report(""), "no name", id="no name"),
        pytest.param(
            HostReport("h1", {"NONSENSE": Inventory(total=1)}), "NONSENSE", id="unknown class"
        ),
        pytest.param(report(vcpu=-1), "total -1", id="negative total"),
        pytest.param(report(vcpu=2**31), "total 2147483648", id="more than Placement can say"),
        pytest.param(
            HostReport("h1", {"VCPU": Inventory(total=1, allocation_ratio=0.0)}),
            "allocation_ratio 0.0",
            id="ratio of nothing",
        ),
    ],
)
def test_a_senseless_report_is_refused(host: HostReport, words: str) -> None:
    """Bad input stops at the edge; no row is written."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent() as agent:
            answer = await agent.ask(Report(seq=1, hosts=(host,)))
            assert isinstance(answer, Refused)
            assert words in answer.message
        assert not scene.world.rows

    simulated(story())


def test_a_second_agent_of_a_host_is_refused_while_the_first_lives() -> None:
    """Two agents would both build: the later one is told who serves the host."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent("first") as first:
            await first.report()
            async with scene.agent("second") as second:
                answer = await second.ask(Report(seq=1, hosts=(report(),)))
                assert isinstance(answer, Refused)
                assert "served by agent first" in answer.message
            assert scene.hub.deliver(uuid_of("h1"), claim("c1"))
            assert isinstance(await first.hear(), Orders)
        async with scene.agent("second") as second:
            await second.report()

    simulated(story())


def test_a_second_agent_is_refused_when_the_first_is_at_another_process() -> None:
    """The processes of a cell ask each other, so it does not matter where an agent connects."""

    async def story() -> None:
        scene = Scene()
        scene.elsewhere, scene.others_agent = {uuid_of("h1")}, "first"
        async with scene.agent("second") as second:
            answer = await second.ask(Report(seq=1, hosts=(report(),)))
            assert isinstance(answer, Refused)
            assert "served by agent first" in answer.message
        assert not scene.world.rows

    simulated(story())


def test_a_connection_whose_agent_went_elsewhere_is_given_up() -> None:
    """Its orders would go nowhere: the process that the agent reports to says so."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent("a1") as agent:
            await agent.report()
            assert scene.hub.served_for({uuid_of("h1"): "a2"}) == {uuid_of("h1"): "a1"}
            assert scene.hub.served_for({uuid_of("h1"): "a1"}) == {}
            assert not scene.hub.deliver(uuid_of("h1"), claim("c1"))

    simulated(story())


def test_who_asked_for_a_claim_hears_before_it_lapses() -> None:
    """A lease that ended while the agent was away: the request is told, then the claim goes."""

    async def story() -> None:
        scene = Scene()
        lapsed = msgspec.structs.replace(claim("c1"), lease_until_ms=0)
        scene.world.put("h1", lapsed)
        async with scene.agent() as agent:
            assert (await agent.report()).claims == ()
        assert scene.told == [("lapsed", "c1", ClaimState.DELETING)]
        assert scene.world.state("c1") is None

    simulated(story())


def test_a_claim_that_a_write_set_has_not_settled_is_not_ordered() -> None:
    """Nor may it be adopted: the agent asks again."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", msgspec.structs.replace(claim("c1"), tag="+c1.t"))
        async with scene.agent() as agent:
            assert (await agent.report()).claims == ()
            assert (await agent.step(StepKind.ADOPT)).reason == RETRY

    simulated(story())


def test_an_agent_that_is_back_replaces_its_own_broken_connection() -> None:
    """The old connection may look alive for a while; the agent itself knows better."""

    async def story() -> None:
        scene = Scene()
        async with scene.judging(), scene.agent("a1") as old:
            await old.report()
            async with scene.agent("a1") as new:
                answer = await old.hear()
                assert isinstance(answer, Refused)
                assert "replaced" in answer.message
                await new.report()
                await asyncio.sleep(2 * GRACE_S)
                assert scene.hub.agents == 1
                assert scene.hub.deliver(uuid_of("h1"), claim("c1"))
                assert isinstance(await new.hear(), Orders)
                assert scene.status() is HostStatus.UP

    simulated(story())


@pytest.mark.parametrize(
    ("state", "kind", "ok", "reason", "after"),
    [
        pytest.param("claimed", "adopt", True, "", "building", id="adopt"),
        pytest.param("building", "adopt", True, "", "building", id="adopt again"),
        pytest.param("built", "adopt", False, "claim_built", "built", id="adopt too late"),
        pytest.param(None, "adopt", False, "claim_gone", None, id="adopt what lapsed"),
        pytest.param("building", "built", True, "", "built", id="built"),
        pytest.param("claimed", "built", False, "claim_claimed", "claimed", id="never adopted"),
        pytest.param("deleting", "built", False, "claim_deleting", "deleting", id="deleted since"),
        pytest.param("building", "deleting", True, "", "deleting", id="give back"),
        pytest.param("deleting", "gone", True, "", None, id="gone"),
        pytest.param(None, "gone", True, "", None, id="gone again"),
    ],
)
def test_steps(state: str | None, kind: str, ok: bool, reason: str, after: str | None) -> None:
    """The row decides about each step; a repeated one is as good as the first."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", *([claim("c1", ClaimState(state))] if state else []))
        async with scene.agent() as agent:
            await agent.report()
            done = await agent.step(StepKind(kind))
            assert done == StepDone(seq=2, ok=ok, reason=reason)
            assert scene.world.state("c1") == after

    simulated(story())


@pytest.mark.parametrize(
    "error",
    [
        StoreUnknown("lost"),
        StoreUnavailable("down"),
        Conflict("raced"),
        Overloaded("full"),
        RuntimeError("a bug"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_undecided_step_says_retry(error: Exception) -> None:
    """No verdict is no refusal: the agent asks again."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", claim("c1"))
        async with scene.agent() as agent:
            await agent.report()
            scene.writer.errors = [error]
            assert await agent.step(StepKind.ADOPT) == StepDone(seq=2, ok=False, reason=RETRY)
            assert (await agent.step(StepKind.ADOPT)).ok

    simulated(story())


def test_steps_are_taken_for_the_connections_own_hosts_only() -> None:
    """An agent cannot move claims of hosts it does not serve."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h2", claim("c1"))
        async with scene.agent() as agent:
            await agent.report(report("h1"))
            done = await agent.step(StepKind.ADOPT, host="h2")
            assert done == StepDone(seq=2, ok=False, reason=NOT_YOUR_HOST)
            assert scene.world.state("c1", "h2") is ClaimState.CLAIMED

    simulated(story())


@pytest.mark.parametrize(
    ("state", "kind", "told"),
    [
        pytest.param(ClaimState.BUILDING, StepKind.BUILT, ("built", "c1", BUILT), id="built"),
        pytest.param(
            ClaimState.BUILDING,
            StepKind.DELETING,
            ("failed: no disk", "c1", ClaimState.DELETING),
            id="build failed",
        ),
        pytest.param(
            ClaimState.DELETING, StepKind.GONE, ("gone", "c1", ClaimState.DELETING), id="gone"
        ),
    ],
)
def test_who_lists_instances_hears_before_the_agent(
    state: ClaimState, kind: StepKind, told: tuple[str, str, ClaimState]
) -> None:
    """What could not be told is told when the agent repeats its step."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", claim("c1", state))
        async with scene.agent() as agent:
            await agent.report()
            scene.tell_errors = [StoreUnavailable("the list is down")]
            assert (await agent.step(kind)).reason == RETRY
            assert scene.told == []
            assert (await agent.step(kind)).ok
            assert scene.told == [told]

    simulated(story())


def test_orders_for_absent_hosts_and_full_outboxes_are_not_taken() -> None:
    """False sends the caller to another process; the agent's next report brings the claim."""

    async def story() -> None:
        scene = Scene()
        assert not scene.hub.deliver(uuid_of("h1"), claim("c1"))
        async with scene.agent() as agent:
            await agent.report()
            # Nothing is sent while this coroutine does not wait: the outbox fills.
            taken = sum(scene.hub.deliver(uuid_of("h1"), claim("c1")) for _ in range(2000))
            assert taken == 1024

    simulated(story())


def test_push_orders_what_waits_for_the_agent() -> None:
    """Claims in the agent's hands already are not repeated."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent() as agent:
            await agent.report()
            scene.world.put("h1", *(claim(f"c-{state}", state) for state in ClaimState))
            assert scene.hub.push(scene.world.rows[uuid_of("h1")])
            orders = await agent.hear()
            assert isinstance(orders, Orders)
            assert [order.claim for order in orders.claims] == ["c-claimed", "c-deleting"]

    simulated(story())


def test_reports_of_one_agent_do_not_wait_for_its_steps() -> None:
    """Messages of one connection are handled side by side."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", claim("c1"))
        async with scene.agent() as agent:
            await agent.report()
            scene.world.gates.shut("before adopt")
            await agent.say(Step(seq=2, host=uuid_of("h1"), claim="c1", kind=StepKind.ADOPT))
            await scene.world.gates.reached("before adopt")
            await agent.report(report("h2"))
            scene.world.gates.open("before adopt")
            assert await agent.hear() == StepDone(seq=2, ok=True)

    simulated(story())


def test_report_inventory_is_what_is_written() -> None:
    """The row's provider is the host's uuid, its inventory the report's."""

    async def story() -> None:
        scene = Scene()
        host = HostReport("h1", {"VCPU": Inventory(total=4)}, traits=("HW_CPU_X86_AVX2",))
        async with scene.agent() as agent:
            await agent.report(host)
        row = scene.world.rows[uuid_of("h1")]
        expected = ReportInventory(uuid_of("h1"), "h1", host.inventories, host.traits)
        assert row.records == expected.offers()
        assert row.status is HostStatus.UP

    simulated(story())
