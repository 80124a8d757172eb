"""The store on Apache Cassandra: one driver session per cell, prepared statements, one adapter.

A cell's statements go only to nodes of that cell's datacenter, because its keyspace is replicated
there and nowhere else. Four of the driver's defaults are wrong for lightweight transactions and are
replaced here: consistency LOCAL_ONE, serial consistency SERIAL, a retry policy that resends after a
lost connection whatever the statement, and an unmapped error for "CAS write unknown".
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

import msgspec
from cassandra import (
    AuthenticationFailed,
    OperationTimedOut,
    ReadFailure,
    ReadTimeout,
    RequestExecutionException,
    Unavailable,
    WriteFailure,
    WriteTimeout,
)
from cassandra.auth import PlainTextAuthProvider
from cassandra.cluster import (
    EXEC_PROFILE_DEFAULT,
    Cluster,
    ExecutionProfile,
    NoHostAvailable,
    PreparedStatement,
    ResponseFuture,
    Session,
)
from cassandra.connection import ConnectionException
from cassandra.policies import (
    AddressTranslator,
    ConstantReconnectionPolicy,
    DCAwareRoundRobinPolicy,
    FallthroughRetryPolicy,
    TokenAwarePolicy,
)
from cassandra.protocol import (
    ErrorMessage,
    IsBootstrappingErrorMessage,
    OverloadedErrorMessage,
)
from cassandra.protocol import RequestValidationException as RequestValidationMessage
from cassandra.query import BatchStatement, BatchType, tuple_factory

from placer import settings as config
from placer.errors import InvalidInput, StoreError, StoreUnavailable, StoreUnknown, UnknownCell
from placer.model import ids
from placer.model.host_view import HostView, bucket_of
from placer.model.records import Health, HostRow, HostStatus, Record, RowKind
from placer.store import statements
from placer.store.catalog import CassandraCatalog, CassandraRequestIndex
from placer.store.events import CassandraEvents
from placer.store.hints import CassandraHints
from placer.store.inflight import InFlight
from placer.store.instances import CassandraInstances
from placer.store.list_statements import LIST_STATEMENTS, TURN_STATEMENTS
from placer.store.lone_node import Answers, LoneNodeMessage
from placer.store.reaching import reaching
from placer.store.records import CassandraRecords, applied
from placer.store.requests import CassandraRequests
from placer.store.services import CassandraServices
from placer.store.statements import Statement, Write
from placer.store.webhooks import CassandraDeadLetters, CassandraTurns

GLOBAL_KEYSPACE: Final = "placer_global"

#: Statements that are prepared at once: all of a cell's, and each thread lives for that moment only.
_PREPARED_AT_ONCE: Final = 32
#: Nodes of a cell that a session tries to reach at once.
_CONNECTING_MAX: Final = 8
_SCAN_PAGE_ROWS: Final = 200
_REVS_PAGE_ROWS: Final = 2000
#: Times that an idempotent statement is sent, the first included.
_TRIES_MAX: Final = 3

_encode = msgspec.json.Encoder().encode
_decode_records = msgspec.json.Decoder(tuple[Record, ...]).decode
_decode_health = msgspec.json.Decoder(Health).decode
_decode_view = msgspec.json.Decoder(HostView).decode


def translate(error: BaseException, statement: str, cell: str) -> StoreError:
    """The driver's error as one of ours; what is not known to be NOT_APPLIED is UNKNOWN.

    NoHostAvailable is NOT_APPLIED when no node answered: the driver raises it then only when no
    connection took the statement; an error after sending is rethrown as itself.
    """
    where = {"statement": statement, "cell": cell}
    if isinstance(error, (Unavailable, LoneNodeMessage)):
        return StoreUnavailable(
            f"Cell {cell} has too few live replicas for {statement}.",
            remedy="Bring its nodes back; other cells are not affected.",
            **where,
        )
    if isinstance(error, NoHostAvailable) and _refused(error, AuthenticationFailed):
        return StoreUnavailable(
            f"The nodes of cell {cell} refuse the login: {error}.",
            remedy="Compare store.username and store.password_file with the roles of the cluster.",
            **where,
        )
    if isinstance(error, NoHostAvailable) and not _refused(error, ErrorMessage):
        return StoreUnavailable(
            f"No node of cell {cell} can be reached.",
            remedy="It is cut off or down; other cells are not affected.",
            **where,
        )
    unknown = (
        OperationTimedOut,
        WriteTimeout,
        WriteFailure,
        ReadTimeout,
        ReadFailure,
        ConnectionException,
    )
    if isinstance(error, unknown):
        return StoreUnknown(
            f"The answer of cell {cell} to {statement} was lost ({type(error).__name__}).", **where
        )
    if isinstance(error, (RequestExecutionException, ErrorMessage, NoHostAvailable)) and not (
        isinstance(error, RequestValidationMessage)
    ):
        # An error of the server (its own, overloaded, bootstrapping, "CAS write unknown" that the
        # driver has no exception for): it may have begun. When in doubt, unknown.
        return StoreUnknown(f"Cell {cell} could not finish {statement}: {error}.", **where)
    return StoreError(f"Cell {cell} rejected {statement}: {error}.", **where)


def _refused(error: NoHostAvailable, kind: type[Exception]) -> bool:
    """Whether a node answered, with a refusal of ``kind``, before the driver ran out of nodes to ask."""
    return any(
        isinstance(why, kind) and not isinstance(why, LoneNodeMessage)
        for why in error.errors.values()
    )


class AskNext(FallthroughRetryPolicy):  # type: ignore[misc]  # the driver has no types
    """Nothing is sent again, but for what may be sent twice to a node that stops or starts.

    Such a node refuses what it gets in the moments before its connections close (5.0 says "Server
    is shutting down") and in those before it counts the others as alive (lone_node.py), and another
    one of the cell can answer at once. A transaction is not sent again: its outcome is settled.
    """

    def on_request_error(
        self, query: Any, consistency: Any, error: Any, retry_num: int
    ) -> tuple[int, None]:
        refused = isinstance(error, (OverloadedErrorMessage, IsBootstrappingErrorMessage))
        if refused and query.is_idempotent and retry_num + 1 < _TRIES_MAX:
            return self.RETRY_NEXT_HOST, None
        return self.RETHROW, None


class _PrivateAddresses(AddressTranslator):  # type: ignore[misc]  # the driver has no types
    """Nodes announce WAN addresses; inside a region they are reached by their private ones."""

    def __init__(self, address_map: dict[str, str]) -> None:
        self._map = address_map

    def translate(self, addr: str) -> str:
        return self._map.get(addr, addr)


def driver_cluster(
    contact_points: Iterable[str],
    datacenter: str,
    store: config.Store,
    username: str,
    password: str,
) -> Cluster:
    """A driver cluster bound to one datacenter (it opens no connection elsewhere)."""
    profile = ExecutionProfile(
        # Replicas in ring order, unshuffled: all claimers of a host meet at one coordinator, where
        # they queue on its lock instead of contending by ballots.
        load_balancing_policy=TokenAwarePolicy(
            DCAwareRoundRobinPolicy(datacenter, used_hosts_per_remote_dc=0), shuffle_replicas=False
        ),
        retry_policy=AskNext(),
        request_timeout=store.request_timeout_s,
        row_factory=tuple_factory,
    )
    return Cluster(
        contact_points=list(contact_points),
        protocol_version=5,
        auth_provider=PlainTextAuthProvider(username, password),
        execution_profiles={EXEC_PROFILE_DEFAULT: profile},
        address_translator=_PrivateAddresses(store.address_map),
        # A constant delay: after a partition heals, claims must flow again within seconds.
        reconnection_policy=ConstantReconnectionPolicy(store.reconnect_s, max_attempts=None),
        connection_class=reaching(store.reach_timeout_s),
        # A link that comes and goes lets packets through between its cuts, so that nobody notices; what was lost
        # the kernel sends again after pauses that double, and may meet the next cut. Statements waited on such
        # connections, until they were given up, long after the link was back.
        sockopts=[
            (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(store.tcp_user_timeout_s * 1000))
        ],
        connect_timeout=store.connect_timeout_s,
        control_connection_timeout=store.connect_timeout_s,
        idle_heartbeat_interval=5,
        idle_heartbeat_timeout=5,
        # A node that does not answer holds one of them for the whole of reach_timeout_s. With two, the nodes
        # of a region that is back waited for their turn, one after the other.
        executor_threads=_CONNECTING_MAX,
        # Nodes keep what was prepared, also over a restart; one that lost it says so, and the driver prepares
        # that statement again. Before a node that came back is used, driver 3.30 would prepare all of them, ten
        # a round trip, and with protocol 5 begins again at the first with every ten: over a WAN that took longer
        # than all else after a cut.
        reprepare_on_up=False,
    )


class CassandraSession:
    """A session to one cell with its prepared statements, made awaitable."""

    def __init__(
        self,
        cell: config.Cell,
        cluster: Cluster,
        session: Session,
        request_timeout_s: float,
        inflight_max: int,
    ) -> None:
        self.cell = cell
        self._request_timeout_s = request_timeout_s
        self._in_flight = InFlight(cell.name, inflight_max)
        self._cluster = cluster
        self._session = session
        self._prepared: dict[str, PreparedStatement] = {}

    def prepare(self, wanted: Sequence[Statement], keyspace: str) -> None:
        """Prepare ``wanted`` (blocking; done once at start).

        Side by side: each takes two round trips, one to a node and one to the others, and one after the
        other they kept a scheduler that had just started from claiming over a WAN for ten seconds.
        """
        texts = [statement.cql.format(keyspace=keyspace) for statement in wanted]
        with ThreadPoolExecutor(_PREPARED_AT_ONCE) as threads:
            made = list(threads.map(self._session.prepare, texts))
        for statement, prepared in zip(wanted, made, strict=True):
            prepared.consistency_level = statement.consistency
            prepared.is_idempotent = statement.idempotent
            if statement.serial_consistency is not None:
                prepared.serial_consistency_level = statement.serial_consistency
            if not statement.paged:
                prepared.fetch_size = None
            self._prepared[statement.name] = prepared

    async def execute(self, statement: Statement, *params: Any) -> list[tuple[Any, ...]]:
        """Rows of the first page; raises StoreError as ``translate`` says.

        A lost answer to an idempotent statement is asked for again, a bounded number of times and
        not once the first tries took as long as one may: so at most twice ``request_timeout_s``.
        """
        return await self._repeat(lambda: self._start(statement, params), statement)

    async def execute_batch(self, writes: Sequence[Write]) -> None:
        """Plain writes of one consistency in one message; each stands for itself (no batch log).

        All are idempotent, so it is sent again as ``execute`` does.
        """
        await self._repeat(lambda: self._start_batch(writes), writes[0][0])

    async def _repeat(
        self, start: Callable[[], ResponseFuture], statement: Statement
    ) -> list[tuple[Any, ...]]:
        loop = asyncio.get_running_loop()
        again_until = loop.time() + self._request_timeout_s
        for attempt in range(1, _TRIES_MAX + 1):
            try:
                rows, _ = await self._ask(start, statement)
                return rows
            except StoreUnknown:
                late = attempt == _TRIES_MAX or loop.time() >= again_until
                if late or not statement.idempotent:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    async def pages(
        self, statement: Statement, *params: Any, page_rows: int = _SCAN_PAGE_ROWS
    ) -> AsyncIterator[tuple[Any, ...]]:
        """All rows, a page at a time."""
        bound = self._prepared[statement.name].bind(params)
        bound.fetch_size = page_rows
        state: bytes | None = None
        while True:
            rows, response = await self._ask(
                partial(self._session.execute_async, bound, timeout=None, paging_state=state),
                statement,
            )
            for row in rows:
                yield row
            if not response.has_more_pages:
                return
            state = response._paging_state

    def nodes(self) -> dict[str, str]:
        """Up or down, by address, as the driver sees the nodes of its datacenter."""
        words = {True: "up", False: "down", None: "unknown"}
        return {
            f"{node.address} ({node.datacenter})": words[node.is_up]
            for node in self._cluster.metadata.all_hosts()
        }

    async def close(self) -> None:
        await asyncio.to_thread(self._cluster.shutdown)

    def _start(self, statement: Statement, params: Sequence[Any]) -> ResponseFuture:
        try:
            # No timer of the driver's: it keeps them in one sorted list, which cost a tenth of a
            # scheduler's CPU. The event loop's deadline in _await bounds the wait.
            return self._session.execute_async(self._prepared[statement.name], params, timeout=None)
        except Exception as error:
            raise translate(error, statement.name, self.cell.name) from error

    def _start_batch(self, writes: Sequence[Write]) -> ResponseFuture:
        first = writes[0][0]
        batch = BatchStatement(BatchType.UNLOGGED, consistency_level=first.consistency)
        batch.is_idempotent = first.idempotent
        try:
            for statement, params in writes:
                batch.add(self._prepared[statement.name], params)
            return self._session.execute_async(batch, timeout=None)
        except Exception as error:
            raise translate(error, first.name, self.cell.name) from error

    async def _ask(
        self, start: Callable[[], ResponseFuture], statement: Statement
    ) -> tuple[list[tuple[Any, ...]], ResponseFuture]:
        """Send one statement when it is its turn; its turn and its answer within ``request_timeout_s``."""
        until = asyncio.get_running_loop().time() + self._request_timeout_s
        await self._in_flight.take(statement.name, until)
        try:
            response = start()
        except BaseException:
            self._in_flight.give()
            raise
        return await self._await(response, statement, until)

    async def _await(
        self, response: ResponseFuture, statement: Statement, until: float
    ) -> tuple[list[tuple[Any, ...]], ResponseFuture]:
        """The one place where a driver future becomes awaitable; waits until the loop's ``until``.

        Callbacks come from the driver's own thread. Cancelling the wait does not cancel the
        statement: whoever cancels must treat a write as unknown. Its turn ends when it does.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[tuple[Any, ...]]] = loop.create_future()

        def finish(rows: Any, error: BaseException | None) -> None:
            self._in_flight.give()
            if future.done():
                return
            if error is None:
                future.set_result(list(rows or ()))
            else:
                future.set_exception(translate(error, statement.name, self.cell.name))

        response.add_callbacks(
            lambda rows: loop.call_soon_threadsafe(finish, rows, None),
            lambda error: loop.call_soon_threadsafe(finish, None, error),
        )
        try:
            async with asyncio.timeout_at(until):
                return await future, response
        except TimeoutError:
            raise StoreUnknown(
                f"Cell {self.cell.name} did not answer {statement.name} within "
                f"{self._request_timeout_s:g} s.",
                statement=statement.name,
                cell=self.cell.name,
            ) from None


async def connect(
    cell: config.Cell,
    store: config.Store,
    *,
    keyspaces: Sequence[tuple[Sequence[Statement], str]] = (),
    username: str = "",
    password: str = "",
) -> CassandraSession:
    """Open a session to ``cell`` and prepare statements for ``keyspaces``; raises StoreError."""
    secret = password or config.read_secret(store.password_file)
    cluster = driver_cluster(
        cell.contact_points, cell.datacenter, store, username or store.username, secret
    )

    def open_session() -> CassandraSession:
        driver_session = cluster.connect()
        driver_session.client_protocol_handler = Answers
        session = CassandraSession(
            cell, cluster, driver_session, store.request_timeout_s, store.inflight_max
        )
        for wanted, keyspace in keyspaces:
            session.prepare(wanted, keyspace)
        return session

    try:
        return await asyncio.to_thread(open_session)
    except Exception as error:
        await asyncio.to_thread(cluster.shutdown)
        raise translate(error, "connect", cell.name) from error


def _row(values: tuple[Any, ...]) -> HostRow:
    host, name, rev, status, text, kind, health = values
    return HostRow(
        host=host,
        name=name,
        rev=rev,
        status=HostStatus(status),
        records=_decode_records(text),
        kind=RowKind(kind),
        health=_decode_health(health),
    )


def _content(row: HostRow) -> tuple[Any, ...]:
    """What every write of a row sets, in the statements' order."""
    text, health = _encode(row.records).decode(), _encode(row.health).decode()
    return row.name, row.rev, row.status.value, text, health


class CassandraCellStore(
    CassandraRequests, CassandraRequestIndex, CassandraRecords, CassandraHints, CassandraTurns
):
    """``CellStore`` on one cell's keyspace."""

    def __init__(self, session: CassandraSession, work_shards: int) -> None:
        self._session: CassandraSession = session
        self._work_shards = work_shards
        self._cell = session.cell

    @property
    def cell(self) -> str:
        return self._cell.name

    @property
    def region(self) -> str:
        return self._cell.region

    async def read_row(self, host: str, *, serial: bool = False) -> HostRow | None:
        statement = statements.READ_HOST_SERIAL if serial else statements.READ_HOST
        rows = await self._session.execute(statement, host)
        return _row(rows[0]) if rows else None

    async def scan_rows(self) -> AsyncIterator[HostRow]:
        async for values in self._session.pages(statements.SCAN_HOSTS):
            yield _row(values)

    async def scan_revs(self) -> AsyncIterator[tuple[str, int]]:
        revs = self._session.pages(statements.SCAN_REVS, page_rows=_REVS_PAGE_ROWS)
        async for host, rev in revs:
            yield host, rev

    async def insert_row(self, row: HostRow) -> bool:
        rows = await self._session.execute(
            statements.INSERT_HOST, row.host, row.kind.value, *_content(row)
        )
        return applied(rows)

    async def update_row(self, row: HostRow, *, if_rev: int) -> bool:
        rows = await self._session.execute(statements.UPDATE_HOST, *_content(row), row.host, if_rev)
        return applied(rows)

    async def read_views(self, bucket: int) -> list[HostView]:
        rows = await self._session.execute(statements.READ_VIEWS, bucket)
        return [_decode_view(text) for (text,) in rows]

    async def write_view(self, view: HostView) -> None:
        bucket = bucket_of(view, self._cell.host_buckets)
        if bucket is None:
            return
        await self._session.execute(
            statements.WRITE_VIEW,
            bucket,
            view.host,
            view.rev,
            _encode(view).decode(),
            view.rev,
        )


class CassandraGlobalStore(CassandraInstances, CassandraEvents, CassandraDeadLetters):
    """``GlobalStore`` through the home cell's datacenter."""

    def __init__(self, session: CassandraSession, keep: config.Keep) -> None:
        self._session: CassandraSession = session
        self._keep = keep
        self._noted = OrderedDict()


class Stores:
    """The home cell's stores, and those of other cells, connected when first asked for."""

    def __init__(self, settings: config.Settings, home: CassandraSession) -> None:
        if settings.store is None:
            raise InvalidInput("The settings have no [store].", remedy="Add it.")
        self._settings = settings
        self._store = settings.store
        self._sessions: dict[str, CassandraSession] = {home.cell.name: home}
        self._connecting: dict[str, asyncio.Lock] = {}
        self.globals = CassandraGlobalStore(home, settings.cluster.keep)
        self.catalog = CassandraCatalog(home, self._made_in)
        self.services = CassandraServices(home)

    async def cell(self, name: str) -> CassandraCellStore:
        """The store of cell ``name``; raises UnknownCell, or StoreUnavailable if it is cut off."""
        session = await self._session(name)
        return CassandraCellStore(session, self._settings.cluster.work_shards)

    def nodes(self) -> dict[str, dict[str, str]]:
        """Up or down, by cell and address: each connected cell's nodes as the driver sees them."""
        return {name: session.nodes() for name, session in self._sessions.items()}

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def _session(self, name: str) -> CassandraSession:
        cell = self._settings.cluster.cell(name)
        async with self._connecting.setdefault(name, asyncio.Lock()):
            if name not in self._sessions:
                self._sessions[name] = await connect(
                    cell,
                    self._store,
                    keyspaces=[
                        _cell_statements(cell),
                        ([statements.GET_SERVER_GROUP], GLOBAL_KEYSPACE),
                    ],
                )
        return self._sessions[name]

    async def _made_in(self, identifier: str) -> CassandraSession | None:
        try:
            cell = ids.cell_of(identifier)
            return await self._session(cell) if cell != self._settings.cell else None
        except UnknownCell:
            return None


def _cell_statements(cell: config.Cell) -> tuple[Sequence[Statement], str]:
    return statements.CELL_STATEMENTS, ids.keyspace_of(cell.name)


async def open_cells(settings: config.Settings) -> Stores:
    """Connect to the home cell; other cells follow on first use. Raises StoreError."""
    if settings.store is None:
        raise InvalidInput("The settings have no [store].", remedy="Add it.")
    home = await connect(
        settings.home,
        settings.store,
        keyspaces=[
            _cell_statements(settings.home),
            (statements.GLOBAL_STATEMENTS, GLOBAL_KEYSPACE),
            (LIST_STATEMENTS, GLOBAL_KEYSPACE),
            (TURN_STATEMENTS, ids.keyspace_of(settings.cell)),
        ],
    )
    return Stores(settings, home)
