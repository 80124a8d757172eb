"""Filter and weigher as a decision sees them, by their entry points."""

from __future__ import annotations

import random

import msgspec
import pytest

from placer.model import weights
from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow, HostStatus, Inventory, inventory_record
from placer.model.request import RequestSpec
from placer.scheduler import filters
from placer.scheduler.select import first_reason, score, select
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler


def view(name: str, **changed: object) -> HostView:
    record = inventory_record(name, {"VCPU": Inventory(total=8)})
    row = HostRow(name, name, 1, HostStatus.UP, (record,))
    return msgspec.structs.replace(summarize(row, cell="c1", region="r1"), **changed)


def wanted(**more: object) -> Wanted:
    spec = RequestSpec(resources={"VCPU": 1}, **more)  # type: ignore[arg-type]
    return Wanted(spec=spec, demand=spec.demand, settings=Scheduler())


def test_entry_points_are_found() -> None:
    """Before the capacity filter, and among the names that a request may weigh by."""
    assert list(filters.table())[-2:] == ["maintenance", "capacity"]
    assert "few_guests" in weights.names()


@pytest.mark.parametrize(
    ("host", "reason"),
    [
        pytest.param(view("a"), None, id="host at work"),
        pytest.param(
            view("a", aggregates=("maintenance",)), "host_in_maintenance", id="host in maintenance"
        ),
    ],
)
def test_filter(host: HostView, reason: str | None) -> None:
    """A host in maintenance is left out and counted."""
    assert first_reason(wanted(), host) == reason


def test_named_host_is_taken_all_the_same() -> None:
    """Whoever names the host wants that one."""
    host = view("a", aggregates=("maintenance",))
    assert select(wanted(host="a"), [host], rng=random.Random(1)).ranked == (host,)


def test_weigher_counts_where_it_is_asked_for() -> None:
    """Factor 0 by default: an installed weigher changes nothing until somebody gives it a factor."""
    busy, idle = view("busy", claims=7), view("idle")
    assert score(wanted(), busy) == score(wanted(), idle)
    # 1 against 1 / 8, times the factor.
    assert score(wanted(weights={"few_guests": 2.0}), idle) - score(
        wanted(weights={"few_guests": 2.0}), busy
    ) == pytest.approx(1.75)
