"""What the rest of Placer asks of a store. ``cassandra.py`` is the one that ships.

Errors of every method: StoreUnavailable (nothing was written) or StoreUnknown (it may have been,
and may yet be). Conditional writes say False when their condition did not hold: nothing was written.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol, TypeVar

from placer.model.catalog import Flavor, Image
from placer.model.commit_record import CommitRecord, Decision
from placer.model.groups import ServerGroup
from placer.model.host_view import HostView
from placer.model.quotas import Quota
from placer.model.records import HostRow
from placer.model.request import Request
from placer.model.webhook import Webhook
from placer.model.work import Work
from placer.store.events import EventStore
from placer.store.hints import HintStore
from placer.store.instances import InstanceStore
from placer.store.webhooks import DeadLetterStore

T = TypeVar("T")


class RequestStore(Protocol):
    """The log of the requests whose home is one cell, and its work rows."""

    async def add_request(self, request: Request, work: Work) -> None:
        """Write a new request and its work row, at once. Safe to repeat, whatever became of it."""

    async def add_request_once(self, request: Request) -> bool:
        """Write a new request by LWT if its id is new; False: there is one."""

    async def change_request(self, request: Request, *, if_rev: int) -> bool:
        """Replace the stored request by LWT if its revision is ``if_rev``."""

    async def get_request(self, request_id: str, *, serial: bool = False) -> Request | None:
        """The stored request. ``serial`` sees, and settles, every change in flight."""

    async def add_work(self, work: Work) -> None:
        """Plain write; safe to repeat."""

    async def drop_work(self, work: Work) -> None:
        """Plain delete; safe to repeat."""

    async def read_work(self, shard: int, slot: int) -> list[Work]:
        """Work rows of one partition; of very many only some, until these are dropped."""


class RecordStore(Protocol):
    """Commit records of the write sets whose home is one cell (claim protocol, sections 1 and 3).

    Changed by LWT only and read serially only; an LWT that was refused is judged by a new read.
    """

    async def note_writeset(self, writeset: str) -> None:
        """Plain write of the list that recovery walks, by the minute in the id. Safe to repeat."""

    async def add_record(self, record: CommitRecord) -> bool:
        """Make the record by LWT if there is none. Never sent twice for one id."""

    async def read_record(self, writeset: str) -> CommitRecord | None:
        """The record as the last decided LWT left it (LOCAL_SERIAL)."""

    async def decide_record(self, writeset: str, decision: Decision) -> bool:
        """Decide by LWT IF state = preparing."""

    async def delete_record(self, writeset: str, *, if_state: Decision) -> bool:
        """Delete by LWT."""

    async def noted_writesets(self, slot: int) -> list[str]:
        """Ids of write sets made in minute ``slot`` and not forgotten; of very many only some."""

    async def forget_writeset(self, writeset: str) -> None:
        """Take it off that list. Safe to repeat."""


class RequestIndex(Protocol):
    """Requests of one cell's log by project, newest first."""

    async def note_request(self, request: Request) -> None:
        """Plain write; safe to repeat. A request that was not noted is missing from lists only."""

    async def page_requests(
        self, project: str, *, limit: int, before: tuple[int, str] | None = None
    ) -> list[tuple[int, str]]:
        """(created_ms, id) of up to ``limit`` requests, after ``before`` in the order of the list."""


class CellStore(RequestStore, RequestIndex, RecordStore, HintStore, Protocol):
    """One cell's keyspace, reached through coordinators of that cell's own datacenter."""

    @property
    def cell(self) -> str: ...

    @property
    def region(self) -> str: ...

    async def read_row(self, host: str, *, serial: bool = False) -> HostRow | None:
        """The host's row. ``serial`` sees, and settles, every write in flight (LOCAL_SERIAL)."""

    async def insert_row(self, row: HostRow) -> bool:
        """Make the row by LWT if there is none."""

    async def update_row(self, row: HostRow, *, if_rev: int) -> bool:
        """Replace the row's content by LWT if its revision is ``if_rev``; ``row.rev`` is the new."""

    def scan_rows(self) -> AsyncIterator[HostRow]:
        """Every host row of the cell, page by page. For the checker; no decision reads this."""

    def scan_revs(self) -> AsyncIterator[tuple[str, int]]:
        """Id and revision of every host row of the cell, page by page; nothing else is sent."""

    async def read_views(self, bucket: int) -> list[HostView]:
        """All host views of one bucket; perhaps stale."""

    async def write_view(self, view: HostView) -> None:
        """Plain write with the view's revision as its timestamp: the newest revision stays."""


class CellStores(Protocol):
    """The stores of all cells by name."""

    async def cell(self, name: str) -> CellStore:
        """Raises UnknownCell, or StoreUnavailable while the cell is cut off."""


class GlobalStore(InstanceStore, EventStore, DeadLetterStore, Protocol):
    """The keyspace that every datacenter has a copy of; read and written at LOCAL_QUORUM."""


class NamedStore(Protocol[T]):
    """Definitions by name, the same in all cells."""

    async def get(self, name: str) -> T | None: ...

    async def put(self, name: str, value: T) -> bool:
        """Write it; False if it was there with the same content. The last of two writers wins."""

    async def drop(self, name: str) -> bool:
        """Take it away; False if it was not there."""

    async def page(self, *, limit: int, after: str = "") -> list[T]:
        """Up to ``limit`` definitions in the order of their names, after ``after``."""


class GroupStore(Protocol):
    """Server groups by id, the same in all cells."""

    async def get(self, group_id: str) -> ServerGroup | None: ...

    async def put(self, group: ServerGroup) -> None:
        """Write a new group. Safe to repeat."""

    async def drop(self, group_id: str) -> bool:
        """Take it away; False if it was not there."""

    async def page(self, project: str, *, limit: int, after: str = "") -> list[ServerGroup]:
        """Up to ``limit`` groups of ``project`` in the order of their ids, after ``after``."""


class Catalog(Protocol):
    """What requests may name. Read and written at LOCAL_QUORUM, ordered by revision."""

    @property
    def flavors(self) -> NamedStore[Flavor]: ...

    @property
    def images(self) -> NamedStore[Image]: ...

    @property
    def groups(self) -> GroupStore: ...

    @property
    def quotas(self) -> NamedStore[Quota]:
        """By project; each is read with the revision of its row, which grows with every change."""

    @property
    def webhooks(self) -> NamedStore[Webhook]:
        """By id."""
