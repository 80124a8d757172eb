"""The feed: every event is told to whoever follows the markers, whatever arrives late."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from placer import settings as config
from placer.errors import MarkerExpired
from placer.model.event import Event
from placer.store.feed import CATCH_UP_MS, Feed, Mark, heard_until
from placer.store.instances import Change

from ..lists import MemoryLists

START_MS = 1_800_000_000_000
PULSE_MS = 5_000


class Scene:
    """Two cells that pulse, a clock, and a reader that knows what it was told."""

    def __init__(self) -> None:
        self.lists = MemoryLists()
        self.now_ms = START_MS
        cells = tuple(config.Cell(name, "r", name, ("x",)) for name in ("c1", "c2"))
        settings = config.Settings(
            process="p",
            cell="c1",
            cluster=config.Cluster("d", cells),
            service_token_file=Path("x"),
            store=config.Store("u", Path("x")),
        )
        self.feed = Feed(settings, self.lists, lambda: self.now_ms)
        self.mark = self.feed.start_after({})
        self.told: list[str] = []
        self.cut: set[str] = set()

    def pass_s(self, seconds: int) -> None:
        for _ in range(seconds):
            self.now_ms += 1000
            for cell in {"c1", "c2"} - self.cut:
                self.pulse(cell, self.now_ms)

    def pulse(self, cell: str, at_ms: int) -> None:
        asyncio.run(self.lists.add_pulse(cell, at_ms - at_ms % PULSE_MS))

    def happen(self, name: str, cell: str = "c1", at_ms: int | None = None) -> None:
        event = Event(name, "instance.running", at_ms or self.now_ms, "r", cell)
        asyncio.run(self.lists.write_changes([Change(order=1, event=event)]))

    def read(self, limit: int = 100) -> list[str]:
        found = asyncio.run(self.feed.read(self.mark, limit))
        self.mark = found.mark
        names = [event.id for event in found.events]
        self.told += names
        return names


def test_events_are_told_once_when_nothing_is_late() -> None:
    """In order, and never again."""
    scene = Scene()
    for number in range(60):
        scene.pass_s(1)
        scene.happen(f"e{number}")
        assert scene.read() == [f"e{number}"]
    assert scene.read() == []


def test_a_page_goes_on_where_the_last_one_ended() -> None:
    """A reader that was away reads in pages; each cell has its share of one."""
    scene = Scene()
    for number in range(50):
        scene.pass_s(1)
        scene.happen(f"e{number}")
    pages = [scene.read(20) for _ in range(6)]
    assert [len(page) for page in pages] == [10, 10, 10, 10, 10, 0]
    assert scene.told == [f"e{number}" for number in range(50)]


def test_an_event_with_an_earlier_time_is_told_all_the_same() -> None:
    """A writer whose clock is behind, or a replica that heard later."""
    scene = Scene()
    scene.pass_s(30)
    scene.happen("first")
    scene.read()
    scene.happen("late", at_ms=scene.now_ms - 4_000)
    assert scene.read() == ["late"]
    assert scene.read() == []


def test_what_a_cell_did_while_it_was_cut_off_is_told_after() -> None:
    """In whatever order it arrives, also after newer events, also when the pulses come last."""
    scene = Scene()
    scene.pass_s(30)
    scene.cut = {"c2"}
    cut_ms = scene.now_ms
    for number in range(100):
        scene.pass_s(1)
        scene.happen(f"near{number}")
        assert scene.read() == [f"near{number}"]
    scene.cut = set()
    scene.pass_s(5)
    scene.happen("after", cell="c2")
    assert scene.read() == ["after"]
    hidden = list(range(0, 100, 7))
    random.Random(1).shuffle(hidden)
    for second in hidden:
        scene.happen(f"far{second}", cell="c2", at_ms=cut_ms + second * 1000)
        scene.pass_s(1)
        assert f"far{second}" in scene.read()
    for second in range(100):
        scene.pulse("c2", cut_ms + second * 1000)
    scene.pass_s(60)
    assert scene.read() == []
    assert next(c.since_ms for c in scene.mark.cells if c.cell == "c2") > cut_ms + 100_000


@pytest.mark.parametrize("seed", range(10))
def test_nothing_is_missed_whatever_the_order(seed: int) -> None:
    """Events of two cells that arrive up to ten seconds late; followed by markers, all are told."""
    scene, rng = Scene(), random.Random(seed)
    arriving: list[tuple[int, str, str, int]] = []
    written: set[str] = set()
    for number in range(300):
        scene.pass_s(1)
        for nth in range(rng.randrange(3)):
            name, cell = f"e{number}.{nth}", rng.choice(("c1", "c2"))
            delay_ms = rng.choice((0, 0, 0, 3_000, 10_000))
            arriving.append(
                (scene.now_ms + delay_ms, name, cell, scene.now_ms + rng.randrange(999))
            )
            written.add(name)
        for one in [one for one in arriving if one[0] <= scene.now_ms]:
            arriving.remove(one)
            scene.happen(one[1], cell=one[2], at_ms=one[3])
        if rng.random() < 0.7:
            scene.read(rng.choice((4, 1000)))
    for _, name, cell, at_ms in arriving:
        scene.happen(name, cell=cell, at_ms=at_ms)
    for _ in range(200):
        if not scene.read(50):
            break
    assert set(scene.told) == written
    assert len(scene.told) <= 3 * len(written)


def test_a_marker_older_than_the_events_is_refused() -> None:
    """The reader must list again."""
    scene = Scene()
    scene.now_ms += 8 * 86_400_000
    with pytest.raises(MarkerExpired, match="older than the events"):
        scene.read()


def test_a_cell_that_was_added_later_is_read_from_the_marker_on() -> None:
    """A marker that does not know a cell misses none of its events."""
    scene = Scene()
    scene.pass_s(20)
    scene.mark = Mark(tuple(one for one in scene.mark.cells if one.cell == "c1"))
    scene.happen("new", cell="c2")
    assert scene.read() == ["new"]


@pytest.mark.parametrize(
    ("pulses", "expected"),
    [
        pytest.param([5, 10, 15], 15, id="no gap"),
        pytest.param([5, 10, 25], 25, id="two missing are no gap"),
        pytest.param([5, 10, 40, 45], 10, id="a gap"),
        pytest.param([5, 10, *range(40, 645, 5)], 640, id="a gap of long ago"),
    ],
)
def test_until_when_a_cell_was_heard(pulses: list[int], expected: int) -> None:
    """Seconds; a gap is passed over when the cell was heard for ten minutes after it."""
    assert CATCH_UP_MS == 600_000
    found = heard_until(0, [second * 1000 for second in pulses], PULSE_MS)
    assert found == expected * 1000
