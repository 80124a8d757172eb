"""What the plain request costs in statements: the price of a claim is a promise, so it is counted."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from placer.model.quotas import QuotaSpec, new_quota
from placer.model.request import Stage

from ...simulation.clock import run_simulated
from ...simulation.conducting import CELLS, World

#: Statements of a cell by the name of their method.
STATEMENTS = (
    *("add_request", "add_request_once", "change_request", "get_request"),
    *("add_work", "drop_work", "read_work"),
    *("read_row", "insert_row", "update_row", "read_views", "write_view"),
    *("add_record", "read_record", "decide_record", "delete_record", "note_writeset"),
)


class Ledger:
    """Statements sent to a store, in order."""

    def __init__(self, store: Any) -> None:
        self.sent: list[str] = []
        for name in STATEMENTS:
            setattr(store, name, self._counted(name, getattr(store, name)))

    def _counted(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        async def counted(*args: Any, **kwargs: Any) -> Any:
            self.sent.append(name)
            return await method(*args, **kwargs)

        return counted


def test_a_plain_request_costs_three_rounds_before_its_answer() -> None:
    """Candidates, claim, outcome, one after the other; the rest is beside them or afterwards.

    add_work is beside add_request. The host's row is not read, as the process knows it as well as
    the view does. write_view is beside the outcome.
    """

    async def scenario() -> None:
        world = World(1)
        process = world.start("c1", 0)
        world.carry = lambda *_, **__: None  # type: ignore[method-assign]
        await world.host("h1", 16)
        for task in list(process._tasks):
            task.cancel()  # the scan reads on its own account
        ledger = Ledger(world.stores["c1"])
        done = await world.ask(5)
        assert done.stage is Stage.PLACED
        before = [name for name in ledger.sent if name not in ("write_view", "drop_work")]
        assert before == ["add_request", "add_work", "read_views", "update_row", "change_request"]
        await asyncio.sleep(0.5)
        assert sorted(ledger.sent) == sorted([*before, "write_view", "drop_work"])
        process.die()
        await asyncio.sleep(0)

    run_simulated(scenario())


def test_a_host_that_the_process_does_not_know_costs_one_read_more() -> None:
    """Its view speaks of a newer revision than the process has seen, or it has seen none."""

    async def scenario() -> None:
        world = World(1)
        maker, asker = world.start("c1", 0), world.start("c1", 1)
        world.carry = lambda *_, **__: None  # type: ignore[method-assign]
        await world.host("h1", 16)
        maker.die()
        asker._writers.clear()
        for task in list(asker._tasks):
            task.cancel()
        ledger = Ledger(world.stores["c1"])
        assert (await world.ask(5)).stage is Stage.PLACED
        assert ledger.sent.count("read_row") == 1
        asker.die()
        await asyncio.sleep(0)

    run_simulated(scenario())


def test_building_costs_two_changes_of_the_row_and_one_of_the_request() -> None:
    """Adopt, built; nothing is read: the process that placed the request remembers it."""

    async def scenario() -> None:
        world = World(1)
        process = world.start("c1", 0)
        await world.host("h1", 16)
        for task in list(process._tasks):
            task.cancel()
        world.stores["c1"].quiet = True  # every notification arrives
        ledger = Ledger(world.stores["c1"])
        asked = await world.ask(5)
        await world.until(lambda: world.stored(asked).stage is Stage.BUILT, 5, "built")
        await asyncio.sleep(3)
        counted = {name: ledger.sent.count(name) for name in set(ledger.sent)}
        views = counted.pop("write_view")
        assert counted == {
            "add_request": 1,
            "add_work": 1,
            "read_views": 1,
            "drop_work": 1,
            "update_row": 3,
            "change_request": 2,
        }
        assert views <= 3
        process.die()
        await asyncio.sleep(0)

    run_simulated(scenario())


def test_a_quota_costs_those_who_have_one() -> None:
    """A write set with the quota's row, which the process knows; another project pays nothing."""

    async def scenario() -> None:
        world = World(1)
        process = world.start("c1", 0)
        world.carry = lambda *_, **__: None  # type: ignore[method-assign]
        await world.host("h1", 16)
        spec = QuotaSpec({"VCPU": 10})
        await world.quotas.put("red", new_quota("red", spec, CELLS))
        await process.quota_list.refresh()
        for task in list(process._tasks):
            task.cancel()
        assert (await world.ask(5, project="red")).stage is Stage.PLACED  # makes the row
        await asyncio.sleep(1)
        ledger = Ledger(world.stores["c1"])
        assert (await world.ask(5)).stage is Stage.PLACED
        assert ledger.sent.count("update_row") == 1
        assert "add_record" not in ledger.sent
        await asyncio.sleep(1)
        ledger.sent.clear()
        assert (await world.ask(5, project="red")).stage is Stage.PLACED
        await asyncio.sleep(1)
        counted = {name: ledger.sent.count(name) for name in set(ledger.sent)}
        del counted["write_view"]
        # Host and quota are tagged, and settled after the answer.
        assert counted == {
            **dict.fromkeys(("add_request", "add_work", "read_views", "note_writeset"), 1),
            **dict.fromkeys(("add_record", "decide_record", "change_request"), 1),
            "update_row": 4,
            "delete_record": 1,
            "drop_work": 1,
        }
        process.die()
        await asyncio.sleep(0)

    run_simulated(scenario())
