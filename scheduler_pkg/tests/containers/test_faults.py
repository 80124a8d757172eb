"""The agent killed at every step, its journal lost, its engine hanging: nothing twice, nothing left."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from placer.model.records import ClaimState
from placer.settings import Docker

from .lab import Lab, until

BUILT, BUILDING = ClaimState.BUILT, ClaimState.BUILDING
#: The bar of the issue: resident memory of an agent process.
MEMORY_MAX_MIB = 60


@pytest.mark.parametrize(
    "point", ["agent.adopted", "agent.noted", "agent.created", "agent.started", "agent.said_built"]
)
async def test_killed_while_it_builds(lab: Lab, point: str) -> None:
    """Restarted, the agent finishes: one container, and the first one where it was begun."""
    lab.world_of_hosts()
    with lab.process(point) as process:
        claim = lab.claim("a")
        await until(lambda: process.poll() is not None, f"the agent dies at {point}")
        begun = [one["Id"] for one in lab.containers()]
    with lab.process():
        await until(lambda: lab.state(claim) is BUILT, "the claim is built")
        await until(lambda: ("built", claim) in lab.listed, "it is listed")
        await asyncio.sleep(3)  # a look and a report more change nothing
        (found,) = lab.containers()
    assert found["State"]["Status"] == "running"
    assert lab.state(claim) is BUILT
    if point in ("agent.started", "agent.said_built"):
        assert [found["Id"]] == begun


@pytest.mark.parametrize("point", ["agent.destroying", "agent.destroyed", "agent.said_gone"])
async def test_killed_while_it_destroys(lab: Lab, point: str) -> None:
    """Restarted, the agent finishes: no container, no claim, an empty journal."""
    lab.world_of_hosts()
    with lab.process(point) as process:
        claim = lab.claim("a")
        await until(lambda: lab.state(claim) is BUILT, "the claim is built")
        lab.delete(claim)
        await until(lambda: process.poll() is not None, f"the agent dies at {point}")
    with lab.process():
        await until(lambda: lab.state(claim) is None, "the claim is gone")
        await until(lambda: not lab.containers(), "the container is gone")
        await until(lambda: lab.journal_claims() == 0, "the journal is empty")


async def test_a_lost_journal(lab: Lab) -> None:
    """What runs is taken over from the engine's labels; what nobody claims any more is removed."""
    lab.world_of_hosts()
    with lab.process():
        kept, ended = lab.claim("kept"), lab.claim("ended", host="d2")
        await until(lambda: lab.state(kept) is lab.state(ended) is BUILT, "both are built")
    before = {one["Config"]["Labels"]["io.placer.claim"]: one["Id"] for one in lab.containers()}
    shutil.rmtree(lab.directory / "journal")
    lab.restore_without(ended)
    with lab.process():
        await until(lambda: len(lab.containers()) == 1, "the unclaimed one is removed")
        await until(lambda: lab.journal_claims() == 1, "the journal has the other again")
        await asyncio.sleep(3)
        assert [one["Id"] for one in lab.containers()] == [before[kept]]
        assert lab.state(kept) is BUILT


async def test_an_engine_that_hangs(lab: Lab) -> None:
    """The requester is told in time; what the engine does late is taken back; nothing leaks."""
    with frozen_door(lab.directory / "door") as door:
        lab.docker |= {"url": f"unix://{door.path}", "call_timeout_s": 10.0}
        async with lab.running():
            first = lab.claim("first")
            await until(lambda: lab.state(first) is BUILT, "the engine works")
            door.freeze()
            late = lab.claim("late")
            await until(lambda: late in lab.failures, "the build is given up", within_s=30)
            assert "does not answer" in lab.failures[late]
            assert lab.state(late) is ClaimState.DELETING  # its capacity is held: who knows?
            await asyncio.sleep(1)
            door.thaw()  # only now does the engine read what it was asked
            await until(lambda: lab.state(late) is None, "the claim is given back")
            await asyncio.sleep(2)  # a container may come into being only now
            await until(lambda: len(lab.containers()) == 1, "only the first is left")
            assert [one["State"]["Status"] for one in lab.containers()] == ["running"]
            assert lab.state(first) is BUILT


async def test_an_engine_that_is_not_there(lab: Lab) -> None:
    """The agent waits for it and offers no host before; the words say what to do."""
    lab.docker["url"] = f"unix://{lab.directory}/nowhere.sock"
    with lab.process() as process:
        await until(lambda: "driver_unavailable" in lab.log(), "the agent says why")
        assert "Is it running" in lab.log()
        assert process.poll() is None
        assert lab.world.rows == {}


async def test_memory_of_an_agent(
    lab: Lab, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """Resident, with instances built and the SDK loaded."""
    lab.world_of_hosts()
    with lab.process() as process:
        claims = [lab.claim(f"n{number}") for number in range(3)]
        await until(lambda: all(lab.state(c) is BUILT for c in claims), "all are built")
        resident_mib = memory_mib(process.pid)
    record_testsuite_property("agent_memory_mib", resident_mib)
    assert resident_mib <= MEMORY_MAX_MIB


def memory_mib(pid: int) -> int:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) // 1024


class Door:
    """A socket that passes everything on to the engine's; frozen, it keeps what comes until thawed."""

    def __init__(self, path: Path, engine: str) -> None:
        self.path = path
        self._engine = engine
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(64)
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def close(self) -> None:
        self.thaw()
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._engine)
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        """What was sent is passed on even if the sender has hung up meanwhile, as an engine that
        was stopped with a question in its socket would still read it."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._open.wait()
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def frozen_door(path: Path) -> Iterator[Door]:
    door = Door(path, Docker().url.removeprefix("unix://"))
    try:
        yield door
    finally:
        door.close()
