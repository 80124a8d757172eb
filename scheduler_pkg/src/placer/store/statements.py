"""Every CQL statement of the running services, with its whole contract beside it.

Consistency, by kind of table (reference: Cassandra's documentation on lightweight transactions):
- ``host`` rows: Paxos among the replicas of the cell's own datacenter (LOCAL_SERIAL). The commit is
  QUORUM, not LOCAL_QUORUM: the keyspace lives in one datacenter, so both mean its quorum, but
  QUORUM also waits correctly when the coordinator is elsewhere.
- requests: made plainly, changed by LWT as host rows are; work rows are plain.
- views, and the revisions that they are held against: may be stale, so one replica answers.
- everything else: LOCAL_QUORUM, that is read-your-writes within a datacenter.
"""

from __future__ import annotations

from typing import Any, Final

from cassandra import ConsistencyLevel as Cl
from msgspec import Struct


class Statement(Struct, frozen=True):
    """A named statement; ``{keyspace}`` is filled in per cell.

    The driver itself never sends a statement twice (FallthroughRetryPolicy). An ``idempotent`` one
    whose answer was lost is sent again by the session, within bounds: reads, and plain writes whose
    timestamp is a parameter, so that the second writes what the first did. One that is not ``paged``
    has a LIMIT and is answered whole.
    """

    name: str
    cql: str
    consistency: int
    idempotent: bool
    serial_consistency: int | None = None
    paged: bool = True


def read(
    name: str, cql: str, consistency: int = Cl.LOCAL_QUORUM, *, paged: bool = True
) -> Statement:
    """A SELECT. LOCAL_SERIAL also brings what an LWT left half done to its end."""
    return Statement(name, cql, consistency, idempotent=True, paged=paged)


def write(name: str, cql: str, consistency: int = Cl.LOCAL_QUORUM) -> Statement:
    """A plain write that may be sent again: its timestamp is in it, or it does not matter."""
    return Statement(name, cql, consistency, idempotent=True)


def lwt(name: str, cql: str) -> Statement:
    """A transaction on one row: Paxos in the row's own datacenter, never sent twice."""
    return Statement(name, cql, Cl.QUORUM, idempotent=False, serial_consistency=Cl.LOCAL_SERIAL)


#: A statement and its parameters.
Write = tuple[Statement, tuple[Any, ...]]


READ_HOST: Final = read(
    "read_host",
    "SELECT host, name, rev, status, records, kind, health FROM {keyspace}.host WHERE host = ?",
)

READ_HOST_SERIAL: Final = read(
    "read_host_serial",
    "SELECT host, name, rev, status, records, kind, health FROM {keyspace}.host WHERE host = ?",
    Cl.LOCAL_SERIAL,
)

SCAN_HOSTS: Final = read(
    "scan_hosts", "SELECT host, name, rev, status, records, kind, health FROM {keyspace}.host"
)

#: What the sweeper holds views against, several times a minute over all rows: one replica answers, and a
#: revision that it lacks another answers the next time.
SCAN_REVS: Final = read("scan_revs", "SELECT host, rev FROM {keyspace}.host", Cl.LOCAL_ONE)

INSERT_HOST: Final = lwt(
    "insert_host",
    "INSERT INTO {keyspace}.host (host, kind, name, rev, status, records, health) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS",
)

UPDATE_HOST: Final = lwt(
    "update_host",
    "UPDATE {keyspace}.host SET name = ?, rev = ?, status = ?, records = ?, health = ? "
    "WHERE host = ? IF rev = ?",
)

NOTE_WRITESET: Final = write(
    "note_writeset",
    "INSERT INTO {keyspace}.writeset (slot, id) VALUES (?, ?) USING TIMESTAMP 1",
    Cl.QUORUM,
)

NOTED_WRITESETS: Final = read(
    "noted_writesets", "SELECT id FROM {keyspace}.writeset WHERE slot = ?"
)

FORGET_WRITESET: Final = write(
    "forget_writeset",
    "DELETE FROM {keyspace}.writeset USING TIMESTAMP 2 WHERE slot = ? AND id = ?",
    Cl.QUORUM,
)

READ_RECORD: Final = read(
    "read_record",
    "SELECT state, participants, created_ms FROM {keyspace}.record WHERE id = ?",
    Cl.LOCAL_SERIAL,
)

ADD_RECORD: Final = lwt(
    "add_record",
    "INSERT INTO {keyspace}.record (id, state, participants, created_ms) VALUES (?, ?, ?, ?) "
    "IF NOT EXISTS",
)

DECIDE_RECORD: Final = lwt(
    "decide_record", "UPDATE {keyspace}.record SET state = ? WHERE id = ? IF state = 'preparing'"
)

DELETE_RECORD: Final = lwt(
    "delete_record", "DELETE FROM {keyspace}.record WHERE id = ? IF state = ?"
)

READ_VIEWS: Final = read(
    "read_views", "SELECT body FROM {keyspace}.host_view WHERE bucket = ?", Cl.LOCAL_ONE
)

WRITE_VIEW: Final = write(
    "write_view",
    "INSERT INTO {keyspace}.host_view (bucket, host, rev, body) VALUES (?, ?, ?, ?) "
    "USING TIMESTAMP ?",
)

#: Nobody knows the id yet, so there is no race; the fixed timestamp lies below that of every LWT, so
#: that sending it again buries nothing.
ADD_REQUEST: Final = write(
    "add_request",
    "INSERT INTO {keyspace}.request (id, rev, body) VALUES (?, ?, ?) USING TIMESTAMP 1",
    Cl.QUORUM,
)

ADD_REQUEST_ONCE: Final = lwt(
    "add_request_once",
    "INSERT INTO {keyspace}.request (id, rev, body) VALUES (?, ?, ?) IF NOT EXISTS",
)

CHANGE_REQUEST: Final = lwt(
    "change_request", "UPDATE {keyspace}.request SET rev = ?, body = ? WHERE id = ? IF rev = ?"
)

GET_REQUEST: Final = read("get_request", "SELECT body FROM {keyspace}.request WHERE id = ?")

GET_REQUEST_SERIAL: Final = read(
    "get_request_serial", "SELECT body FROM {keyspace}.request WHERE id = ?", Cl.LOCAL_SERIAL
)

ADD_WORK: Final = write(
    "add_work",
    "INSERT INTO {keyspace}.work (shard, slot, id, rev, at_ms) VALUES (?, ?, ?, ?, ?)",
    Cl.QUORUM,
)

DROP_WORK: Final = write(
    "drop_work", "DELETE FROM {keyspace}.work WHERE shard = ? AND slot = ? AND id = ? AND rev = ?"
)

READ_WORK: Final = read(
    "read_work", "SELECT id, rev, at_ms FROM {keyspace}.work WHERE shard = ? AND slot = ? LIMIT ?"
)

READ_HINTS: Final = read(
    "read_hints", "SELECT body FROM {keyspace}.bucket_hint WHERE cell = ?", Cl.LOCAL_ONE
)

WRITE_HINT: Final = write(
    "write_hint",
    "INSERT INTO {keyspace}.bucket_hint (cell, bucket, body) VALUES (?, ?, ?) USING TIMESTAMP ?",
)


class NamedTable(Struct, frozen=True):
    """The statements of a table of definitions by name, all in one partition (there are few)."""

    get: Statement
    page: Statement
    put: Statement


def _named(table: str) -> NamedTable:
    """A row that is ``gone`` keeps its name and revision, so that no old write can bring it back."""
    return NamedTable(
        get=read(
            f"get_{table}",
            f"SELECT rev, gone, body FROM {{keyspace}}.{table} WHERE shard = 0 AND name = ?",
        ),
        page=read(
            f"page_{table}",
            f"SELECT name, gone, body, rev FROM {{keyspace}}.{table} "
            "WHERE shard = 0 AND name > ? LIMIT ?",
        ),
        put=write(
            f"put_{table}",
            f"INSERT INTO {{keyspace}}.{table} (shard, name, rev, gone, body) "
            "VALUES (0, ?, ?, ?, ?) USING TIMESTAMP ?",
        ),
    )


FLAVORS: Final = _named("flavor")
IMAGES: Final = _named("image")
QUOTAS: Final = _named("quota")
WEBHOOKS: Final = _named("webhook")

GET_SERVER_GROUP: Final = read(
    "get_server_group", "SELECT rev, gone, body FROM {keyspace}.server_group WHERE id = ?"
)

PUT_SERVER_GROUP: Final = write(
    "put_server_group",
    "INSERT INTO {keyspace}.server_group (id, rev, gone, body) VALUES (?, ?, ?, ?) "
    "USING TIMESTAMP ?",
)

PUT_SERVER_GROUP_BY_PROJECT: Final = write(
    "put_server_group_by_project",
    "INSERT INTO {keyspace}.server_group_by_project (project, id, rev, gone, body) "
    "VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
)

PAGE_SERVER_GROUPS: Final = read(
    "page_server_groups",
    "SELECT id, gone, body FROM {keyspace}.server_group_by_project "
    "WHERE project = ? AND id > ? LIMIT ?",
)

NOTE_REQUEST: Final = write(
    "note_request",
    "INSERT INTO {keyspace}.request_by_project (project, created_ms, id) VALUES (?, ?, ?) "
    "USING TIMESTAMP 1",
)

PAGE_REQUESTS: Final = read(
    "page_requests",
    "SELECT created_ms, id FROM {keyspace}.request_by_project "
    "WHERE project = ? AND (created_ms, id) < (?, ?) LIMIT ?",
)

CELL_STATEMENTS: Final = (
    READ_HOST,
    READ_HOST_SERIAL,
    SCAN_HOSTS,
    SCAN_REVS,
    INSERT_HOST,
    UPDATE_HOST,
    NOTE_WRITESET,
    NOTED_WRITESETS,
    FORGET_WRITESET,
    READ_RECORD,
    ADD_RECORD,
    DECIDE_RECORD,
    DELETE_RECORD,
    READ_VIEWS,
    WRITE_VIEW,
    READ_HINTS,
    WRITE_HINT,
    ADD_REQUEST,
    ADD_REQUEST_ONCE,
    CHANGE_REQUEST,
    GET_REQUEST,
    GET_REQUEST_SERIAL,
    ADD_WORK,
    DROP_WORK,
    READ_WORK,
    NOTE_REQUEST,
    PAGE_REQUESTS,
)

GLOBAL_STATEMENTS: Final = (
    *(FLAVORS.get, FLAVORS.page, FLAVORS.put),
    *(IMAGES.get, IMAGES.page, IMAGES.put),
    *(QUOTAS.get, QUOTAS.page, QUOTAS.put),
    *(WEBHOOKS.get, WEBHOOKS.page, WEBHOOKS.put),
    GET_SERVER_GROUP,
    PUT_SERVER_GROUP,
    PUT_SERVER_GROUP_BY_PROJECT,
    PAGE_SERVER_GROUPS,
)
