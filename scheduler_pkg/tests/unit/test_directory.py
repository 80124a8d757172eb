"""Finding schedulers: what the table says, what the settings say, and when which of them counts."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from placer.directory import Announcer, Directory
from placer.errors import StoreUnavailable
from placer.model.protocol import VERSIONS
from placer.model.service import Service, ServiceKind, ServiceState
from placer.settings import Cell, Cluster, Scheduler, Settings

CELLS = (
    Cell("c1", "r1", "c1", (), schedulers=("http://s1", "http://s2")),
    Cell("c2", "r2", "c2", (), schedulers=("http://w1",)),
)
SETTINGS = Settings(
    "c1-api-1",
    "c1",
    Cluster("test", CELLS),
    Path("t"),
    scheduler=Scheduler(advertise="http://s1", advertise_wan="http://w9"),
)
NOW_MS = 1_000_000


def service(name: str = "s1", **more: object) -> Service:
    fields: dict[str, object] = {
        "name": name,
        "kind": ServiceKind.SCHEDULER,
        "region": "r1",
        "cell": "c1",
        "version": "1",
        "started_ms": 1,
        "heard_ms": NOW_MS,
        "address": f"http://{name}",
    }
    return Service(**(fields | more))  # type: ignore[arg-type]


class Table:
    """A ``ServiceStore`` that can be cut off."""

    def __init__(self, *services: Service) -> None:
        self.services = list(services)
        self.down = False
        self.reads = 0

    async def put(self, service: Service) -> None:
        await self.all()
        self.services.append(service)

    async def all(self) -> list[Service]:
        self.reads += 1
        if self.down:
            raise StoreUnavailable("cut off")
        return self.services


class Scene:
    def __init__(self, *services: Service) -> None:
        self.table = Table(*services)
        self.at_s = 100.0
        self.directory = Directory(SETTINGS, self.table, lambda: NOW_MS, lambda: self.at_s)


@pytest.mark.parametrize(
    ("rows", "cell", "found"),
    [
        pytest.param([], "c1", ["s1", "s2"], id="without rows those of the settings count"),
        pytest.param([service("s3")], "c1", ["s1", "s2", "s3"], id="a new one is found"),
        pytest.param(
            [service("s2", stopped=True)], "c1", ["s1"], id="one that stopped is not asked"
        ),
        pytest.param(
            [service("s2", heard_ms=1)], "c1", ["s1", "s2"], id="a silent one of the settings is"
        ),
        pytest.param(
            [service("s3", heard_ms=1)], "c1", ["s1", "s2"], id="a silent one of the table is not"
        ),
        pytest.param(
            [service("old", address="http://s2", stopped=True), service("s2")],
            "c1",
            ["s1", "s2"],
            id="who runs at an address now counts, not who did",
        ),
        pytest.param(
            [service("a1", kind=ServiceKind.API)], "c1", ["s1", "s2"], id="an API is no scheduler"
        ),
        pytest.param(
            [service("x", cell="c2", region="r2", address="http://p", wan_address="http://w2")],
            "c2",
            ["w1", "w2"],
            id="another region is reached by its WAN address",
        ),
        pytest.param(
            [service("x", cell="c2", region="r2", address="http://p")],
            "c2",
            ["w1"],
            id="one without a WAN address cannot be reached from another region",
        ),
    ],
)
async def test_schedulers_are_found(rows: list[Service], cell: str, found: list[str]) -> None:
    """The settings' but for those that stopped, and those that are up by the table."""
    scene = Scene(*rows)
    await scene.directory.look()
    assert list(scene.directory.schedulers(cell)) == [f"http://{name}" for name in found]


async def test_settings_count_while_the_table_cannot_be_read() -> None:
    """What was read last serves for three rounds; then everybody that the settings name is asked."""
    scene = Scene(service("s2", stopped=True), service("s3"))
    await scene.directory.look()
    scene.table.down = True
    scene.at_s += 30
    await scene.directory.look()
    assert scene.directory.schedulers("c1") == ("http://s1", "http://s3")
    scene.at_s += 1
    assert scene.directory.schedulers("c1") == ("http://s1", "http://s2")


@pytest.mark.parametrize("down", [False, True])
async def test_looks_are_bounded(down: bool) -> None:
    """Many that ask at once cost one query a second, also while there is no answer; all wait for it."""
    scene = Scene(service("s3"))
    scene.table.down = down
    await asyncio.gather(*(scene.directory.look() for _ in range(10)))
    assert scene.table.reads == 1
    assert ("http://s3" in scene.directory.schedulers("c1")) is not down
    scene.at_s += 1
    await scene.directory.look()
    assert scene.table.reads == 2


@pytest.mark.parametrize(
    ("one", "state"),
    [
        pytest.param(service(), ServiceState.UP, id="heard now"),
        pytest.param(service(heard_ms=NOW_MS - 30_000), ServiceState.UP, id="three rounds ago"),
        pytest.param(service(heard_ms=NOW_MS - 30_001), ServiceState.SILENT, id="longer ago"),
        pytest.param(service(heard_ms=1, stopped=True), ServiceState.STOPPED, id="it said so"),
        pytest.param(service(heard_ms=NOW_MS + 9), ServiceState.UP, id="its clock is ahead"),
    ],
)
def test_state_follows_from_the_row(one: Service, state: ServiceState) -> None:
    """Three rows may be missing."""
    assert one.state(NOW_MS, 10.0) is state


async def test_a_process_announces_itself_and_its_end() -> None:
    """Each row is later than the one before, also when the clock stands still or the store was away."""
    table = Table()
    announcer = Announcer(SETTINGS, ServiceKind.SCHEDULER, table, lambda: NOW_MS)
    await announcer.say()
    table.down = True
    await announcer.say()
    table.down = False
    await announcer.say(stopped=True)
    first, last = table.services
    assert (first.address, first.wan_address) == ("http://s1", "http://w9")
    assert first.protocol_max == VERSIONS.newest
    assert last.stopped
    assert last.heard_ms > first.heard_ms
    assert msgspec.structs.replace(last, stopped=False, heard_ms=first.heard_ms) == first


async def test_who_shares_a_cells_work_is_its_schedulers_that_are_up() -> None:
    """Not API servers, other cells' schedulers, or those that stopped or fell silent; oneself always."""
    scene = Scene(
        service("s1"),
        service("s2"),
        service("s3", stopped=True),
        service("s4", heard_ms=NOW_MS - 60_000),
        service("a1", kind=ServiceKind.API),
        service("w1", cell="c2", region="r2"),
    )
    assert scene.directory.sharing("c1") == 1, "the table was not read yet"
    await scene.directory.look()
    assert [scene.directory.sharing(cell) for cell in ("c1", "c2", "c3")] == [2, 1, 1]
