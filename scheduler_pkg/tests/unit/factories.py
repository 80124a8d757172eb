"""Small builders for tests: hosts, views and requests with only what a test is about."""

from __future__ import annotations

import msgspec

from placer.model.event import Event, event_id
from placer.model.host_view import HostView, summarize
from placer.model.instance import Instance, InstanceState
from placer.model.records import HostRow, HostStatus, Inventory, inventory_record
from placer.model.request import RequestSpec
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler
from placer.store.instances import Change

#: The settings file of a process that speaks to nobody; what follows is of its cell, or a part of its own.
BARE_SETTINGS = """\
process = "nyc1-x-1"
cell = "nyc1"
[cluster]
deployment = "demo"
[[cluster.cells]]
name = "nyc1"
region = "nyc"
datacenter = "nyc1"
"""


def row(
    name: str = "h1",
    *,
    vcpu: int = 8,
    memory: int = 1024,
    traits: tuple[str, ...] = (),
    status: HostStatus = HostStatus.UP,
    **more: Inventory,
) -> HostRow:
    """A host of its own name as uuid, at revision 1, with nothing claimed."""
    offered = {"VCPU": Inventory(total=vcpu), "MEMORY_MB": Inventory(total=memory), **more}
    record = inventory_record(name, offered, traits)
    return HostRow(host=name, name=name, rev=1, status=status, records=(record,))


def view(name: str = "h1", **more: object) -> HostView:
    return summarize(row(name, **more), cell="c1", region="r1")  # type: ignore[arg-type]


def spec(vcpu: int = 1, **more: object) -> RequestSpec:
    return RequestSpec(resources={"VCPU": vcpu}, **more)  # type: ignore[arg-type]


def wanted(asked: RequestSpec, *, settings: Scheduler | None = None, **more: object) -> Wanted:
    return Wanted(
        spec=asked,
        demand=asked.demand,
        settings=settings or Scheduler(),
        **more,  # type: ignore[arg-type]
    )


def instance(number: int = 1, **more: object) -> Instance:
    """An instance of project default that runs on h1 of nyc1, made at ``number`` ms."""
    fields: dict[str, object] = {
        "id": f"i{number}",
        "project": "default",
        "region": "nyc",
        "cell": "nyc1",
        "host": "u",
        "host_name": "h1",
        "request": "nyc1.r",
        "claim": f"nyc1.u.c{number}",
        "state": InstanceState.RUNNING,
        "resources": {"VCPU": 1},
        "created_ms": number,
        "updated_ms": number,
        "rev": 1,
    }
    return Instance(**(fields | more))  # type: ignore[arg-type]


def placed(one: Instance, **event: object) -> Change:
    """The change that puts ``one`` in the lists."""
    told = Event(
        id=event_id(one.claim, one.state, one.order),
        type=f"instance.{one.state}",
        at_ms=one.updated_ms,
        region=one.region,
        cell=one.cell,
        project=one.project,
        instance=one.id,
    )
    return Change(
        order=one.order,
        event=msgspec.structs.replace(told, **event),
        instance=one.id,
        project=one.project,
        cell=one.cell,
        created_ms=one.created_ms,
        place=one,
    )
