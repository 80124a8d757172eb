"""The class as Placer sees it: what fits, what a claim takes, in a decision and on a host's row."""

from __future__ import annotations

import random
from typing import Any

import pytest
from placer_port_ranges import PortRanges

from placer.claims.operations import AddClaim, Refusal
from placer.model import reports, resource_classes
from placer.model.fitting import demand_of
from placer.model.hint import hint_of
from placer.model.host_view import summarize
from placer.model.messages import HostReport
from placer.model.records import HostRow, HostStatus, Inventory, inventory_record
from placer.model.request import RequestSpec
from placer.scheduler.select import select
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler

NAME = "CUSTOM_PORT_RANGE"
TEN = Inventory(total=10, fields={"first": 100, "last": 109})


def row(inventory: Inventory = TEN) -> HostRow:
    record = inventory_record("h1", {NAME: inventory})
    return HostRow(host="h1", name="h1", rev=1, status=HostStatus.UP, records=(record,))


def claim(name: str, amount: int) -> AddClaim:
    return AddClaim(
        claim=name,
        consumer=name,
        request="r1",
        project="p",
        demand=demand_of({NAME: amount}),
        lease_until_ms=1000,
    )


def after(before: HostRow, operation: AddClaim) -> HostRow:
    changed = operation.apply(before, now_ms=0)
    assert not isinstance(changed, Refusal), changed
    return changed


def test_entry_point_is_found() -> None:
    """Installing the package is all it takes."""
    assert NAME in resource_classes.names()
    assert isinstance(resource_classes.get(NAME), PortRanges)


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        pytest.param({}, "", id="ten ports"),
        pytest.param({"total": 9}, "number of ports", id="total does not match"),
        pytest.param({"fields": {"first": 100}}, "first and last", id="field is missing"),
        pytest.param({"fields": {"first": "x", "last": 9}}, "whole numbers", id="no number"),
        pytest.param({"units": ("a",)}, "no units", id="units"),
    ],
)
def test_report_is_checked(changed: dict[str, Any], wrong: str) -> None:
    """What an agent reports is checked by the class before it is stored."""
    said: dict[str, Any] = {"total": 10, "fields": {"first": 100, "last": 109}} | changed
    problem = reports.problem(HostReport(name="h1", inventories={NAME: Inventory(**said)}))
    assert wrong in problem
    assert bool(problem) is bool(wrong)


def test_claims_get_neighbouring_ports() -> None:
    """A claim on the row holds its ports; the next gets others, from the shortest gap that does."""
    first = after(row(), claim("a", 4))
    record = first.find("a")
    assert record is not None
    assert record.units == {NAME: {"100": 1, "101": 1, "102": 1, "103": 1}}
    second = after(first, claim("b", 2)).find("b")
    assert second is not None
    assert second.units == {NAME: {"104": 1, "105": 1}}


def test_ports_in_pieces_do_not_fit() -> None:
    """Enough ports, but no run that is long enough: the row itself refuses."""
    held = after(after(row(), claim("a", 4)), claim("b", 2))
    pieces = HostRow(
        host="h1",
        name="h1",
        rev=3,
        status=HostStatus.UP,
        records=tuple(record for record in held.records if record.id != "a"),
    )
    # 100 to 103 and 106 to 109 are free: eight ports, no five in a row.
    refused = claim("c", 5).apply(pieces, now_ms=0)
    assert refused == Refusal(f"{NAME}:no_such_run")
    assert hint_of(0, [summarize(pieces, cell="c1", region="r1")]).largest == {NAME: 4}


def test_decision_uses_it() -> None:
    """A request for ports is placed where there is such a run."""
    full = after(row(), claim("a", 8))
    spec = RequestSpec(resources={NAME: 5})
    wanted = Wanted(spec=spec, demand=spec.demand, settings=Scheduler())
    empty = HostRow("h2", "h2", 1, HostStatus.UP, row().records)
    views = [summarize(held, cell="c1", region="r1") for held in (full, empty)]
    selection = select(wanted, views, rng=random.Random(1))
    assert [view.host for view in selection.ranked] == ["h2"]
    assert selection.rejected == {f"{NAME}:no_capacity": 1}
