"""Small builders for tests: hosts, views and requests with only what a test is about."""

from __future__ import annotations

from placer.model.host_view import HostView, summarize
from placer.model.records import HostRow, HostStatus, Inventory, inventory_record
from placer.model.request import RequestSpec
from placer.scheduler.wanted import Wanted
from placer.settings import Scheduler


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
