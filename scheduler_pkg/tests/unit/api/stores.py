"""Stores in memory for the API's tests: what was put can be read again."""

from __future__ import annotations

from collections.abc import AsyncIterator

from placer.errors import StoreUnavailable, UnknownCell
from placer.model.catalog import Flavor, Image
from placer.model.commit_record import CommitRecord, Decision
from placer.model.groups import ServerGroup
from placer.model.hint import BucketHint
from placer.model.host_view import HostView
from placer.model.records import HostRow
from placer.model.request import Request
from placer.model.service import Service
from placer.model.webhook import Webhook
from placer.model.work import Work

from ..lists import MemoryLists
from ..named import MemoryNamed, MemoryQuotas


class _NoRows:
    """The parts of a ``CellStore`` that an API server has no right to."""

    async def read_row(self, host: str, *, serial: bool = False) -> HostRow | None:
        raise NotImplementedError

    async def insert_row(self, row: HostRow) -> bool:
        raise NotImplementedError

    async def update_row(self, row: HostRow, *, if_rev: int) -> bool:
        raise NotImplementedError

    def scan_rows(self) -> AsyncIterator[HostRow]:
        raise NotImplementedError

    def scan_revs(self) -> AsyncIterator[tuple[str, int]]:
        raise NotImplementedError

    async def write_view(self, view: HostView) -> None:
        raise NotImplementedError

    async def read_hints(self) -> list[BucketHint]:
        raise NotImplementedError

    async def write_hint(self, hint: BucketHint, at_us: int) -> None:
        raise NotImplementedError

    async def note_writeset(self, writeset: str) -> None:
        raise NotImplementedError

    async def add_record(self, record: CommitRecord) -> bool:
        raise NotImplementedError

    async def read_record(self, writeset: str) -> CommitRecord | None:
        raise NotImplementedError

    async def decide_record(self, writeset: str, decision: Decision) -> bool:
        raise NotImplementedError

    async def delete_record(self, writeset: str, *, if_state: Decision) -> bool:
        raise NotImplementedError

    async def noted_writesets(self, slot: int) -> list[str]:
        raise NotImplementedError

    async def forget_writeset(self, writeset: str) -> None:
        raise NotImplementedError


class MemoryCell(_NoRows):
    """A ``CellStore`` with views and requests; ``down`` makes it fail like a cell that is cut off."""

    def __init__(self, cell: str, region: str) -> None:
        self.cell = cell
        self.region = region
        self.views: dict[int, list[HostView]] = {}
        self.requests: dict[str, Request] = {}
        self.work: dict[str, Work] = {}
        self.noted: set[tuple[str, int, str]] = set()
        self.down = False

    async def read_views(self, bucket: int) -> list[HostView]:
        self._answer()
        return list(self.views.get(bucket, []))

    async def add_request(self, request: Request, work: Work) -> None:
        self._answer()
        self.requests.setdefault(request.id, request)
        self.work[work.id] = work

    async def add_request_once(self, request: Request) -> bool:
        self._answer()
        if request.id in self.requests:
            return False
        self.requests[request.id] = request
        return True

    async def change_request(self, request: Request, *, if_rev: int) -> bool:
        self._answer()
        stored = self.requests.get(request.id)
        if stored is None or stored.rev != if_rev:
            return False
        self.requests[request.id] = request
        return True

    async def get_request(self, request_id: str, *, serial: bool = False) -> Request | None:
        self._answer()
        return self.requests.get(request_id)

    async def add_work(self, work: Work) -> None:
        self._answer()
        self.work[work.id] = work

    async def drop_work(self, work: Work) -> None:
        self._answer()
        self.work.pop(work.id, None)

    async def read_work(self, shard: int, slot: int) -> list[Work]:
        raise NotImplementedError

    async def note_request(self, request: Request) -> None:
        self._answer()
        self.noted.add((request.spec.project, request.created_ms, request.id))

    async def page_requests(
        self, project: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[tuple[int, str]]:
        self._answer()
        own = sorted(((at, name) for who, at, name in self.noted if who == project), reverse=True)
        return [key for key in own if before is None or key < before][:limit]

    def _answer(self) -> None:
        if self.down:
            raise StoreUnavailable(f"Cell {self.cell} is down.", remedy="Bring it back.")


class MemoryGroups:
    """A ``GroupStore``."""

    def __init__(self) -> None:
        self.values: dict[str, ServerGroup] = {}

    async def get(self, group_id: str) -> ServerGroup | None:
        return self.values.get(group_id)

    async def put(self, group: ServerGroup) -> None:
        self.values[group.id] = group

    async def drop(self, group_id: str) -> bool:
        return self.values.pop(group_id, None) is not None

    async def page(self, project: str, *, limit: int, after: str = "") -> list[ServerGroup]:
        own = [self.values[name] for name in sorted(self.values) if name > after]
        return [group for group in own if group.project == project][:limit]


class MemoryCatalog:
    """A ``Catalog``."""

    def __init__(self) -> None:
        self.flavors: MemoryNamed[Flavor] = MemoryNamed()
        self.images: MemoryNamed[Image] = MemoryNamed()
        self.groups = MemoryGroups()
        self.quotas = MemoryQuotas()
        self.webhooks: MemoryNamed[Webhook] = MemoryNamed()


class MemoryServices:
    """A ``ServiceStore``."""

    def __init__(self) -> None:
        self.values: dict[str, Service] = {}

    async def put(self, service: Service) -> None:
        self.values[service.name] = service

    async def all(self) -> list[Service]:
        return [self.values[name] for name in sorted(self.values)]


class MemoryStores:
    """What ``open_cells`` gives, with cells nyc1 (home), ams1 and ams2."""

    def __init__(self) -> None:
        self.cells = {
            name: MemoryCell(name, region)
            for name, region in (("nyc1", "nyc"), ("ams1", "ams"), ("ams2", "ams"))
        }
        self.globals = MemoryLists()
        self.catalog = MemoryCatalog()
        self.services = MemoryServices()
        self.closed = False

    async def cell(self, name: str) -> MemoryCell:
        if name not in self.cells:
            raise UnknownCell(f"Unknown cell {name!r}.", cell=name)
        return self.cells[name]

    def nodes(self) -> dict[str, dict[str, str]]:
        return {"nyc1": {"10.0.0.1 (nyc1)": "up"}}

    async def close(self) -> None:
        self.closed = True
