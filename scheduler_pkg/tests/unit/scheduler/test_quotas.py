"""Quota rows looked after, and refusals in words: what was there before, what is left elsewhere."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from placer import settings as config
from placer.claims import quotas as rows
from placer.claims.protocol import HostWriter
from placer.claims.quotas import EXCEEDED, UNDECIDED, TakeShare
from placer.claims.recovery import Recovery
from placer.claims.writeset import Alter
from placer.history import HistoryWriter
from placer.model import quotas
from placer.model.quotas import Quota, QuotaSpec
from placer.model.records import HostRow, Record
from placer.model.request import Request, RequestSpec, Shortage, Stage
from placer.scheduler.quota_list import QuotaList
from placer.scheduler.quota_rows import Holding, QuotaRows, uncounted
from placer.scheduler.quotas import Quotas, chief, explained, said

from ...simulation.clock import run_simulated
from ...simulation.store import SimStore, SimStores
from ..named import MemoryQuotas

CELLS = tuple(config.Cell(name, f"r-{name}", name, ("10.0.0.1",)) for name in ("c1", "c2"))
SETTINGS = config.Settings("p1", "c1", config.Cluster("test", CELLS), Path("unread"))
ROW = quotas.row_id("c1", "red")


class Scene:
    """One process with quotas; ``held`` is the list of instances."""

    def __init__(self) -> None:
        rng = random.Random(1)
        self.stores = {cell.name: SimStore(rng, cell=cell.name) for cell in CELLS}
        cells = SimStores(*self.stores.values())
        history = HistoryWriter(None, "p1")
        self.writers = {
            name: HostWriter(store, SETTINGS.scheduler, history)
            for name, store in self.stores.items()
        }
        self.defined = MemoryQuotas()
        self.held: dict[str, Holding] = {}
        self.listed = 0
        self.known = QuotaList(self.defined, ("c1", "c2"))
        recovery = Recovery(cells, self.writer, SETTINGS.cluster, history)
        self.rows = QuotaRows(
            SETTINGS, cells, self.known, self.writer, recovery, self._held, rng=rng
        )
        self.quotas = Quotas(SETTINGS, self.known, self.rows, self.writer, rng=rng)

    async def writer(self, cell: str) -> HostWriter:
        return self.writers[cell]

    async def _held(self, cell: str, project: str) -> dict[str, Holding]:
        self.listed += 1
        return self.held if cell == "c1" else {}

    async def put(self, **spec: object) -> Quota:
        made = quotas.new_quota("red", QuotaSpec(**spec), ("c1", "c2"))  # type: ignore[arg-type]
        await self.defined.put("red", made)
        await self.known.refresh()
        found = self.known.of("red")
        assert found is not None
        return found

    async def take(self, claim: str, instance: str, vcpu: int) -> HostRow:
        """A share whose claim is on no host."""
        adds = (TakeShare(claim, instance, {"VCPU": vcpu}),)
        made = await self.writers["c1"].submit(ROW, Alter("t", adds, ()), deadline_s=5)
        assert isinstance(made, HostRow), made
        return made


def run(scenario: Callable[[Scene], Awaitable[None]]) -> None:
    async def whole() -> None:
        scene = Scene()
        await scenario(scene)
        for writer in scene.writers.values():
            await writer.close(1.0)

    run_simulated(whole())


def asked(vcpu: int) -> Request:
    wanted = RequestSpec({"VCPU": vcpu}, project="red")
    return Request("c1.r", 1, "c1", wanted, Stage.ACCEPTED, 0, 0)


@pytest.mark.parametrize(
    ("project", "resources"),
    [
        pytest.param("blue", {"VCPU": 1}, id="another project"),
        pytest.param("red", {"DISK_GB": 1}, id="a class without limit"),
    ],
)
def test_what_is_not_limited_reads_nothing(project: str, resources: dict[str, int]) -> None:
    """Neither a row nor the list of instances; the claim gets no further participant."""

    async def scenario(scene: Scene) -> None:
        await scene.put(limits={"VCPU": 0})
        spec = RequestSpec(resources, project=project)
        request = Request("c1.r", 1, "c1", spec, Stage.ACCEPTED, 0, 0)
        assert await scene.quotas.short(request, "c1", 100) is None
        assert await scene.quotas.shares(request, {("c1", "h"): ()}) == []
        assert not scene.stores["c1"].rows
        assert scene.listed == 0

    run(scenario)


def test_row_is_made_by_who_needs_it_first() -> None:
    """With what the project's instances have by then; a later look reads no list."""

    async def scenario(scene: Scene) -> None:
        await scene.put(limits={"VCPU": 10}, cells={"c1": 1})
        scene.held = {"i1": Holding("c1.h.x", {"VCPU": 7, "DISK_GB": 3})}
        assert await scene.quotas.short(asked(3), "c1") is None
        assert rows.used(scene.stores["c1"].rows[ROW]) == {"VCPU": 7}
        assert await scene.quotas.short(asked(2), "c1") is None
        assert scene.listed == 1
        reason = await scene.quotas.short(asked(4), "c1")
        assert reason is not None
        assert reason.code == EXCEEDED
        assert reason.quota == Shortage("c1", "VCPU", 4, 3, 10)

    run(scenario)


def test_refusal_is_believed_of_a_row_in_order_only() -> None:
    """A share whose claim is gone is given back before anybody is refused for it."""

    async def scenario(scene: Scene) -> None:
        quota = await scene.put(limits={"VCPU": 10}, cells={"c1": 1})
        await scene.rows.follow("c1", quota)
        host = HostRow("h", "h", 1, (await scene.rows.follow("c1", quota)).status, ())
        scene.stores["c1"].rows["h"] = host
        await scene.take("c1.h.gone", "i1", 8)
        assert await scene.quotas.short(asked(4), "c1") is None
        assert not scene.stores["c1"].rows[ROW].claims

    run(scenario)


def test_share_of_a_listed_instance_stays() -> None:
    """Its host is not even read."""

    async def scenario(scene: Scene) -> None:
        quota = await scene.put(limits={"VCPU": 10}, cells={"c1": 1})
        await scene.rows.follow("c1", quota)
        await scene.take("c1.h.x", "i1", 8)
        scene.held = {"i1": Holding("c1.h.x", {"VCPU": 8})}
        reason = await scene.quotas.short(asked(4), "c1")
        assert reason is not None
        assert rows.used(scene.stores["c1"].rows[ROW]) == {"VCPU": 8}

    run(scenario)


def test_quota_put_again_is_followed() -> None:
    """Less than is used: said in the view; more: there is room at once."""

    async def scenario(scene: Scene) -> None:
        quota = await scene.put(limits={"VCPU": 10}, cells={"c1": 1})
        await scene.rows.follow("c1", quota)
        await scene.take("c1.h.x", "i1", 8)
        scene.held = {"i1": Holding("c1.h.x", {"VCPU": 8})}
        view = await scene.quotas.put(await scene.put(limits={"VCPU": 5}, cells={"c1": 1}))
        assert view.slices[0].used == {"VCPU": 8}
        assert view.slices[0].left == {"VCPU": 0}
        assert "above its slice of 5" in view.notes[0]
        await scene.put(limits={"VCPU": 20}, cells={"c1": 1})
        assert await scene.quotas.short(asked(12), "c1") is None

    run(scenario)


def test_refusal_says_what_other_cells_have_left() -> None:
    """The slice of this cell is used up, that of another is not: ask there, or divide anew."""

    async def scenario(scene: Scene) -> None:
        await scene.put(limits={"VCPU": 13}, cells={"c1": {"VCPU": 3}, "c2": {"VCPU": 10}})
        reason = await scene.quotas.short(asked(4), "c1")
        assert reason is not None
        assert "Left elsewhere: 10 in c2." in reason.message
        assert "Ask in cell c2" in reason.remedy
        assert "PUT /v1/quotas/red" in reason.remedy

    run(scenario)


@pytest.mark.parametrize(
    ("others", "remedy"),
    [
        pytest.param({}, "Release some VCPU, or raise", id="nothing is left anywhere"),
        pytest.param({"c2": 1}, "Divide the quota otherwise", id="some, but not enough"),
        pytest.param({"c2": 4}, "Ask in cell c2", id="enough in another cell"),
    ],
)
def test_remedy_fits_what_is_left(others: dict[str, int], remedy: str) -> None:
    """It names what the reader can do."""
    quota = Quota("red", {"VCPU": 9}, {})
    reason = explained(quota, Shortage("c1", "VCPU", 4, 2, 5), others)
    assert reason.remedy.startswith(remedy)
    assert "2 of 5 VCPU" in reason.message


def test_only_what_has_no_share_is_counted() -> None:
    """An instance that was resized counts with what it has beyond its share; never below it."""
    held = {
        "old": Holding("c1.h.a", {"VCPU": 3}),
        "grown": Holding("c1.h.b", {"VCPU": 6}),
        "shrunk": Holding("c1.h.c", {"VCPU": 1}),
    }
    shares = [
        Record(id=f"{name}/quota", provider="q", amounts={"VCPU": -4}, consumer=name)
        for name in ("grown", "shrunk")
    ]
    assert uncounted(held, shares, ("VCPU", "DISK_GB")) == {"VCPU": 5}


def test_words_of_quota_rows_are_told_apart() -> None:
    """A slice that is used up ends it all; a row that cannot say says less than a full host."""
    full, used_up = "VCPU:no_capacity", f"{EXCEEDED}:VCPU:4:0:9"
    assert said({"h": full, ROW: "claim_gone"}) == {"h": full, ROW: UNDECIDED}
    assert chief({"h": full, ROW: used_up}) == used_up
    assert chief({"h": full, ROW: UNDECIDED}) == full
    assert chief({ROW: UNDECIDED}) == UNDECIDED


def test_an_added_cell_takes_its_slice_up() -> None:
    """Put when there was c1 alone; a process that knows c2 too finds five in each, and c1's row follows
    although nobody put the quota again."""

    async def scenario(scene: Scene) -> None:
        spec = QuotaSpec(limits={"VCPU": 10})
        alone = quotas.new_quota("red", spec, ("c1",))
        await scene.defined.put("red", quotas.stored(alone, spec))
        before = QuotaList(scene.defined, ("c1",))
        await before.refresh()
        old = before.of("red")
        assert old is not None
        assert rows.limits(await scene.rows.follow("c1", old)) == {"VCPU": 10}
        await scene.known.refresh()
        assert await scene.quotas.short(asked(5), "c2") is None
        reason = await scene.quotas.short(asked(6), "c2")
        assert reason is not None
        assert reason.quota == Shortage("c2", "VCPU", 6, 5, 5)
        (quota,) = scene.known.all()
        assert rows.limits(await scene.rows.follow("c1", quota)) == {"VCPU": 5}

    run(scenario)
