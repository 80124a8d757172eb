"""Stores in memory for the API's tests: what was put can be read again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from placer.errors import StoreUnavailable, UnknownCell
from placer.model.host_view import HostView
from placer.model.instance import Instance
from placer.model.records import HostRow
from placer.model.request import Request
from placer.store.base import InstancePage


class MemoryCell:
    """A ``CellStore`` with views and requests; ``down`` makes it fail like a cell that is cut off."""

    def __init__(self, cell: str, region: str) -> None:
        self.cell = cell
        self.region = region
        self.views: dict[int, list[HostView]] = {}
        self.requests: dict[str, Request] = {}
        self.down = False

    async def read_row(self, host: str, *, serial: bool = False) -> HostRow | None:
        raise NotImplementedError

    async def insert_row(self, row: HostRow) -> bool:
        raise NotImplementedError

    async def update_row(self, row: HostRow, *, if_rev: int) -> bool:
        raise NotImplementedError

    def scan_rows(self) -> AsyncIterator[HostRow]:
        raise NotImplementedError

    async def read_views(self, bucket: int) -> list[HostView]:
        self._answer()
        return list(self.views.get(bucket, []))

    async def write_view(self, view: HostView) -> None:
        raise NotImplementedError

    async def put_request(self, request: Request) -> None:
        self._answer()
        stored = self.requests.get(request.id)
        if stored is None or stored.rev < request.rev:
            self.requests[request.id] = request

    async def get_request(self, request_id: str) -> Request | None:
        self._answer()
        return self.requests.get(request_id)

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailable(f"Cell {self.cell} is down.", remedy="Bring it back.")


class MemoryGlobals:
    """A ``GlobalStore`` whose pages are slices; the marker is the number of instances seen."""

    def __init__(self) -> None:
        self.instances: list[Instance] = []

    async def put_instance(self, instance: Instance) -> None:
        self.instances.append(instance)

    async def get_instance(self, instance_id: str) -> Instance | None:
        return next((one for one in self.instances if one.id == instance_id), None)

    async def list_instances(self, project: str, *, limit: int, marker: str = "") -> InstancePage:
        own = [one for one in self.instances if one.project == project]
        start = int(marker or 0)
        following = start + limit
        return InstancePage(own[start:following], str(following) if following < len(own) else "")


class MemoryStores:
    """What ``open_cells`` gives, with cells nyc1 (home), ams1 and ams2."""

    def __init__(self) -> None:
        self.cells = {
            name: MemoryCell(name, region)
            for name, region in (("nyc1", "nyc"), ("ams1", "ams"), ("ams2", "ams"))
        }
        self.globals = MemoryGlobals()
        self.closed = False

    async def cell(self, name: str) -> MemoryCell:
        if name not in self.cells:
            raise UnknownCell(f"Unknown cell {name!r}.", cell=name)
        return self.cells[name]

    async def close(self) -> None:
        self.closed = True
