"""Definitions on the store: the newest revision stays, what is gone stays gone, pages are full."""

from __future__ import annotations

import time
from typing import Any

from placer.model.catalog import Flavor
from placer.model.groups import Policy, Scope, ServerGroup
from placer.store import statements
from placer.store.catalog import CassandraCatalog
from placer.store.statements import Statement


class Tables:
    """Rows as Cassandra keeps them: of two writes the later timestamp stays."""

    def __init__(self) -> None:
        self.flavors: dict[str, tuple[int, bool, str]] = {}
        self.groups: dict[str, tuple[int, bool, str]] = {}
        self.by_project: dict[tuple[str, str], tuple[int, bool, str]] = {}

    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]:
        match statement.name:
            case "get_flavor":
                return self._one(self.flavors, params[0])
            case "page_flavor":
                after, limit = params
                names = [name for name in sorted(self.flavors) if name > after][:limit]
                return [(name, *self.flavors[name][1:]) for name in names]
            case "put_flavor":
                self._put(self.flavors, params[0], *params[1:])
            case "get_server_group":
                return self._one(self.groups, params[0])
            case "put_server_group":
                self._put(self.groups, params[0], *params[1:])
            case "put_server_group_by_project":
                self._put(self.by_project, params[:2], *params[2:])
            case "page_server_groups":
                project, after, limit = params
                keys = [key for key in sorted(self.by_project) if key[0] == project]
                keys = [key for key in keys if key[1] > after][:limit]
                return [(key[1], *self.by_project[key][1:]) for key in keys]
            case other:
                raise AssertionError(other)
        return []

    def _one(self, table: dict[str, tuple[int, bool, str]], key: str) -> list[tuple[Any, ...]]:
        return [table[key]] if key in table else []

    def _put(self, table: Any, key: Any, rev: int, gone: bool, body: str, at: int) -> None:
        assert at == rev
        if key not in table or table[key][0] < rev:
            table[key] = (rev, gone, body)


async def nowhere(_: str) -> None:
    """There is no cell but this one."""


def flavor(name: str, vcpu: int = 1) -> Flavor:
    return Flavor(name=name, resources={"VCPU": vcpu})


async def test_put_says_whether_something_changed() -> None:
    """The same content again writes nothing."""
    flavors = CassandraCatalog(Tables(), nowhere).flavors
    assert await flavors.put("m1", flavor("m1"))
    assert not await flavors.put("m1", flavor("m1"))
    assert await flavors.put("m1", flavor("m1", 2))
    assert await flavors.get("m1") == flavor("m1", 2)


async def test_a_clock_that_is_behind_can_still_replace() -> None:
    """The stored revision is an hour ahead of this server's clock."""
    tables = Tables()
    flavors = CassandraCatalog(tables, nowhere).flavors
    await flavors.put("m1", flavor("m1"))
    _, gone, body = tables.flavors["m1"]
    ahead = time.time_ns() // 1000 + 3_600_000_000
    tables.flavors["m1"] = (ahead, gone, body)
    await flavors.put("m1", flavor("m1", 2))
    assert await flavors.get("m1") == flavor("m1", 2)
    assert await flavors.drop("m1")
    assert await flavors.get("m1") is None
    assert tables.flavors["m1"][0] == ahead + 2


async def test_what_is_gone_can_be_made_again() -> None:
    """And is gone only once."""
    flavors = CassandraCatalog(Tables(), nowhere).flavors
    assert not await flavors.drop("m1")
    await flavors.put("m1", flavor("m1"))
    assert await flavors.drop("m1")
    assert not await flavors.drop("m1")
    assert await flavors.put("m1", flavor("m1"))
    assert await flavors.get("m1") == flavor("m1")


async def test_pages_are_full_however_many_are_gone() -> None:
    """Nine flavors of which every second one is gone: 1 3 5 7 9 are left."""
    flavors = CassandraCatalog(Tables(), nowhere).flavors
    for number in range(1, 10):
        await flavors.put(f"m{number}", flavor(f"m{number}"))
    for number in range(2, 10, 2):
        await flavors.drop(f"m{number}")
    assert [one.name for one in await flavors.page(limit=3)] == ["m1", "m3", "m5"]
    assert [one.name for one in await flavors.page(limit=3, after="m5")] == ["m7", "m9"]


async def test_groups_are_listed_by_project() -> None:
    """A group that is gone is in no list and has no id."""
    groups = CassandraCatalog(Tables(), nowhere).groups
    for number, project in enumerate(("red", "blue", "red")):
        group_id = f"nyc1.{number}"
        await groups.put(ServerGroup(group_id, "web", Policy.AFFINITY, Scope.HOST, project))
    assert [one.id for one in await groups.page("red", limit=9)] == ["nyc1.0", "nyc1.2"]
    assert await groups.drop("nyc1.0")
    assert not await groups.drop("nyc1.0")
    assert await groups.get("nyc1.0") is None
    assert [one.id for one in await groups.page("red", limit=9)] == ["nyc1.2"]


async def test_a_group_is_found_where_it_was_made() -> None:
    """Not in this region yet, but in the cell that its id names; once dropped it is not asked for."""
    here, there = Tables(), Tables()
    asked: list[str] = []

    async def made_in(group_id: str) -> Tables:
        asked.append(group_id)
        return there

    group = ServerGroup("ams1.1", "web", Policy.AFFINITY, Scope.HOST, "red")
    await CassandraCatalog(there, nowhere).groups.put(group)
    groups = CassandraCatalog(here, made_in).groups
    assert await groups.get("ams1.1") == group
    assert await groups.get("ams1.2") is None
    here.groups["ams1.1"] = (there.groups["ams1.1"][0] + 1, True, "{}")
    assert await groups.get("ams1.1") is None
    assert asked == ["ams1.1", "ams1.2"]


def test_every_statement_of_the_catalog_is_prepared() -> None:
    """A statement that is not in the list would fail when it is first used."""
    listed = {statement.name for statement in statements.GLOBAL_STATEMENTS}
    for table in (statements.FLAVORS, statements.IMAGES):
        assert {table.get.name, table.page.name, table.put.name} <= listed
