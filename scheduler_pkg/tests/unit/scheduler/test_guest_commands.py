"""Commands to instances and what agents say of them, through the hub."""

from __future__ import annotations

import asyncio

import pytest

from placer.errors import AgentSilent, NoAgent, Overloaded, StoreUnavailable
from placer.model.messages import Command, CommandDone, CommandKind, GuestState, States
from placer.model.records import ClaimState
from placer.scheduler.guest_commands import GuestCommand, OpenCommands

from ..agents.fakes import claim, uuid_of
from .hub_scene import Scene, ScriptedAgent, simulated

HOST = uuid_of("h1")


async def _asked(agent: ScriptedAgent) -> Command:
    command = await agent.hear()
    assert isinstance(command, Command)
    return command


def _stop(scene: Scene, claim_id: str = "c1", timeout_s: float = 5.0) -> asyncio.Task[CommandDone]:
    return asyncio.create_task(
        scene.hub.command(
            GuestCommand(HOST, claim_id, CommandKind.STOP, timeout_s, by="ops", why="loud")
        )
    )


def test_each_answer_reaches_whoever_asked() -> None:
    """Answers come in any order, good and bad ones."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent() as agent:
            await agent.report()
            first, second = _stop(scene, "c1"), _stop(scene, "c2")
            one, two = await _asked(agent), await _asked(agent)
            assert (one.claim, one.host, one.kind) == ("c1", HOST, CommandKind.STOP)
            assert (one.by, one.why) == ("ops", "loud")
            await agent.say(CommandDone(two.seq, ok=False, text="no such instance"))
            await agent.say(CommandDone(one.seq, ok=True))
            assert (await first).ok
            assert (await second).text == "no such instance"

    simulated(story())


def test_silence_is_no_answer() -> None:
    """The time is up, or the connection breaks: it may have been done, and the error says so.
    An answer that comes too late changes nothing."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent() as agent:
            await agent.report()
            late = _stop(scene)
            command = await _asked(agent)
            with pytest.raises(AgentSilent, match="within 5 s"):
                await late
            await agent.say(CommandDone(command.seq, ok=True))
            cut = _stop(scene)
            await _asked(agent)
            agent.pipe.cut()
            with pytest.raises(AgentSilent, match="broke"):
                await cut

    simulated(story())


def test_an_answer_counts_only_from_the_agent_that_was_asked() -> None:
    """Another agent cannot speak for it."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent("a1") as agent, scene.agent("a2") as other:
            await agent.report()
            stop = _stop(scene)
            command = await _asked(agent)
            await other.say(CommandDone(command.seq, ok=True))
            with pytest.raises(AgentSilent):
                await stop

    simulated(story())


def test_a_host_that_is_served_elsewhere_or_nowhere() -> None:
    """Peers are asked; when nobody serves the host nothing was done, and the error says so."""

    async def story() -> None:
        scene = Scene()
        scene.others_answer = CommandDone(9, ok=True, text="done there")
        assert (await _stop(scene)).text == "done there"
        scene.others_answer = None
        with pytest.raises(NoAgent, match="No agent serves host"):
            await _stop(scene)

    simulated(story())


def test_open_commands_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than the bound is refused at once; an answer makes room."""
    monkeypatch.setattr("placer.scheduler.guest_commands._OPEN_MAX", 2)

    async def story() -> None:
        scene = Scene()
        async with scene.agent() as agent:
            await agent.report()
            first, second = _stop(scene), _stop(scene)
            command = await _asked(agent)
            with pytest.raises(Overloaded):
                await _stop(scene)
            await agent.say(CommandDone(command.seq, ok=True))
            await first
            third = _stop(scene)
            await _asked(agent)
            for task in (second, third):
                task.cancel()

    simulated(story())


def test_an_answer_to_nothing_is_dropped() -> None:
    """A command that nobody waits for any more, or never gave."""

    async def story() -> None:
        scene = Scene()
        async with scene.agent() as agent:
            await agent.say(CommandDone(77, ok=True))
            await agent.report()  # the connection is still good

    simulated(story())
    assert OpenCommands() is not None


def _state(version: int, state: str = "stopped", claim_id: str = "c1") -> GuestState:
    return GuestState(HOST, claim_id, state, version=version)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param([1], [1], id="told"),
        pytest.param([1, 1, 1], [1], id="repeated by every report: told once"),
        pytest.param([2, 1, 3], [2, 3], id="an older one is not told after a newer one"),
    ],
)
def test_each_version_of_a_state_is_told_once(said: list[int], told: list[int]) -> None:
    """Agents repeat themselves; an idle instance costs no reads and no writes."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", claim("c1", ClaimState.BUILT))
        async with scene.agent() as agent:
            await agent.report()
            for version in said:
                await agent.say(States((_state(version),)))
                await asyncio.sleep(0.1)
            assert [state.version for state in scene.guests] == told

    simulated(story())


def test_what_could_not_be_told_is_told_with_the_next_report() -> None:
    """The list was down; nothing is forgotten."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", claim("c1", ClaimState.BUILT))
        scene.tell_errors = [StoreUnavailable("the list is down"), RuntimeError("a bug")]
        async with scene.agent() as agent:
            await agent.report()
            for _ in range(4):
                await agent.say(States((_state(1),)))
                await asyncio.sleep(0.1)
            assert scene.guests == [_state(1)]

    simulated(story())


def test_states_of_other_hosts_and_of_claims_that_are_gone_are_dropped() -> None:
    """An agent speaks for its own hosts; what left its row has no state."""

    async def story() -> None:
        scene = Scene()
        scene.world.put("h1", claim("going", ClaimState.DELETING))
        scene.world.put("h2", claim("c2", ClaimState.BUILT))
        async with scene.agent() as agent:
            await agent.report()
            other = GuestState(uuid_of("h2"), "c2", "lost", version=1)
            await agent.say(
                States((other, _state(1, claim_id="gone"), _state(1, claim_id="going")))
            )
            await asyncio.sleep(0.1)
            assert scene.guests == []

    simulated(story())
