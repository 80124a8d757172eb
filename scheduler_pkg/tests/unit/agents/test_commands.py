"""Commands to instances, and what an agent says of them: each change once more than the last."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from placer.agents import commands
from placer.agents.drivers.base import Life
from placer.agents.guests import Guests
from placer.agents.journal import Journal, Phase
from placer.agents.states import GuestStates
from placer.model.messages import (
    ClaimOrder,
    Command,
    CommandDone,
    CommandKind,
    FromAgent,
    GuestState,
    States,
)
from placer.model.records import ClaimState
from placer.scheduler.agent_connection import Connection

from .fakes import Bench, Inline, claim, lose_journal, until, uuid_of

BUILT = ClaimState.BUILT


@pytest.mark.parametrize(
    ("kind", "stopped", "text"),
    [
        pytest.param(CommandKind.STOP, True, "", id="stop"),
        pytest.param(CommandKind.START, False, "", id="start"),
        pytest.param(CommandKind.REBOOT, False, "", id="reboot"),
        pytest.param(CommandKind.LOGS, False, "7 lines of c1", id="logs"),
    ],
)
async def test_commands(tmp_path: Path, kind: CommandKind, stopped: bool, text: str) -> None:
    """Carried out once; what changed is told, then the command is answered."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: at_rest(bench), "c1 is built")
        heard = listen(bench)
        given = Command(5, uuid_of("h1"), "c1", kind, lines=7, by="ops", why="it is loud")
        await command(bench, given)
        told = kind is not CommandKind.LOGS
        await until(lambda: len(heard) == 1 + told, "it is answered")
        assert heard[-1] == CommandDone(seq=5, ok=True, text=text)
        if told:
            (state,) = heard[0].guests
            assert (state.claim, state.state) == ("c1", "stopped" if stopped else "running")
            assert (state.by, state.why) == ("ops", f"asked to {kind}: it is loud")
        assert bench.driver.stopped == ({"c1"} if stopped else set())


@pytest.mark.parametrize(
    ("host", "name", "words"),
    [
        pytest.param("h1", "c9", "no such instance", id="unknown"),
        pytest.param("h2", "c1", "no such instance", id="on another host"),
        pytest.param("h1", "c2", "try again", id="while it is built"),
    ],
)
async def test_commands_that_are_refused(
    tmp_path: Path, host: str, name: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer says why, and nothing is done."""
    monkeypatch.setattr(commands, "_REST_S", 0.1)
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: at_rest(bench), "c1 is built")
        bench.world.gates.shut("before build")
        bench.world.put("h1", claim("c1", BUILT), claim("c2"))
        bench.hub.push(bench.world.rows[uuid_of("h1")])
        await bench.world.gates.reached("before build")
        heard = listen(bench)
        order = Command(seq=6, host=uuid_of(host), claim=name, kind=CommandKind.STOP)
        await command(bench, order)
        await until(lambda: len(heard) == 1, "it is answered")
        assert not heard[0].ok
        assert words in heard[0].text
        assert bench.driver.stopped == set()
        bench.world.gates.open("before build")


async def test_a_changed_instance_is_told_of_with_every_connection(tmp_path: Path) -> None:
    """What was said before the connection broke may have been lost; the scheduler hears it again
    with the same version, and passes it on once a connection."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: at_rest(bench), "c1 is built")
        bench.driver.stopped.add("c1")
        heard = listen(bench)
        for count in (1, 2):
            bench.pipe.cut()
            await until(lambda count=count: len(heard) == count, "it is told")  # type: ignore[misc]
        first, second = (message.guests for message in heard)
        assert first == second
        assert [(g.claim, g.state) for g in first] == [("c1", "stopped")]
        assert bench.world.builds == {"c1": 1}


async def test_what_others_did_to_an_instance_is_told_in_order(tmp_path: Path) -> None:
    """Stopped, started, removed behind the agent's back and built again: versions only grow."""
    bench = Bench(tmp_path, reconcile_every_s=0.02)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: at_rest(bench), "c1 is built")
        changes: list[tuple[Callable[[], None], str]] = [
            (lambda: bench.driver.stopped.add("c1"), "stopped"),
            (lambda: bench.driver.stopped.discard("c1"), "running"),
            (lambda: vanish(bench), "running"),
        ]
        for change, state in changes:
            said = len(bench.states)
            change()
            await until(
                lambda said=said, state=state: (  # type: ignore[misc]
                    len(bench.states) > said and bench.states[-1].state == state
                ),
                f"{state} is told",
            )
    assert [state.state for state in bench.states] == ["stopped", "running", "lost", "running"]
    versions = [state.version for state in bench.states]
    assert versions == [versions[0] + step for step in range(4)]


async def test_a_lost_journal_does_not_make_the_newest_word_look_old(tmp_path: Path) -> None:
    """Whoever lists instances heard of a stop; after the loss the instance runs, and is believed."""
    bench = Bench(tmp_path, reconcile_every_s=0.02)
    bench.world.put("h1", claim("c1"))
    async with bench.running():
        await until(lambda: at_rest(bench), "c1 is built")
        bench.driver.stopped.add("c1")
        await until(lambda: len(bench.states) == 1, "the stop is told")
    lose_journal(tmp_path)
    bench.driver.stopped.discard("c1")
    async with bench.running():
        await until(lambda: len(bench.states) > 1, "what it does now is told")
    assert bench.states[-1].state == "running"
    assert bench.states[-1].why == "taken over, as the agent's journal has lost it: seen running"
    assert bench.states[-1].version > bench.states[0].version


async def test_a_state_is_kept_and_goes_with_its_claim(tmp_path: Path) -> None:
    """A restart says it again; nothing is left of a claim that is gone."""
    order = ClaimOrder("c1", "h1", "i1", BUILT, {})
    journal = Journal(tmp_path, executor=Inline())
    states = GuestStates(journal, now_ms=lambda: 1000)
    await journal.put(order, Phase.BUILT)
    first = await states.changed(order, "stopped", "asked to stop")
    second = await states.changed(order, "running", "asked to start")
    assert (first.version, second.version) == (1000, 1001)
    journal.close()
    journal = Journal(tmp_path, executor=Inline())
    assert list(GuestStates(journal).messages()) == [States((second,))]
    await journal.forget("c1")
    journal.close()
    journal = Journal(tmp_path, executor=Inline())
    assert (journal.states, journal.entries) == ({}, {})
    journal.close()


async def test_command_waits_for_the_end_of_a_build(tmp_path: Path) -> None:
    """Everybody knows that the instance is built while its agent still has to note that it was told."""
    bench = Bench(tmp_path)
    bench.world.put("h1", claim("c1"))
    bench.world.gates.shut("before build")
    async with bench.running():
        await bench.world.gates.reached("before build")
        heard = listen(bench)
        await command(bench, Command(6, uuid_of("h1"), "c1", CommandKind.STOP))
        await asyncio.sleep(0.1)
        assert not [one for one in heard if isinstance(one, CommandDone)]
        bench.world.gates.open("before build")
        await until(lambda: CommandDone(seq=6, ok=True) in heard, "it is answered")


async def test_states_come_in_messages_of_bounded_size(tmp_path: Path) -> None:
    """However many instances changed."""
    journal = Journal(tmp_path, executor=Inline())
    for number in range(600):
        journal.remember_state(GuestState("h1", f"c{number}", "stopped", version=1))
    sizes = [len(message.guests) for message in GuestStates(journal).messages()]
    assert sizes == [256, 256, 88]
    journal.close()


async def test_only_finished_instances_have_a_state(tmp_path: Path) -> None:
    """One that is being built is not stopped, whatever its driver finds of it."""
    bench = Bench(tmp_path)
    journal = Journal(tmp_path, executor=Inline())
    guests = Guests(bench.driver, journal)
    order = ClaimOrder("c1", "h1", "i1", ClaimState.BUILDING, {})
    for phase, life in ((Phase.BUILDING, Life.STOPPED), (Phase.BUILT, Life.UNFINISHED)):
        await journal.put(order, phase)
        guests.found(order, life)
        await GuestStates(journal).look(guests)
    assert journal.states == {}
    journal.close()


def vanish(bench: Bench) -> None:
    bench.world.running.discard("c1")
    bench.world.builds.clear()


def at_rest(bench: Bench) -> bool:
    """Whether something is built and nothing is worked on."""
    now = bench.agent.status()
    return now.claims["built"] > 0 and now.working == 0


def listen(bench: Bench) -> list[Any]:
    """What the agent says from now on of its instances and commands."""
    heard: list[Any] = []
    handle = bench.hub._handle

    async def overhear(connection: Connection, message: FromAgent) -> None:
        if isinstance(message, States | CommandDone):
            heard.append(message)
        await handle(connection, message)

    bench.hub._handle = overhear  # type: ignore[method-assign]
    return heard


async def command(bench: Bench, order: Command) -> None:
    await bench.pipe.send_text(msgspec.json.encode(order).decode())
