"""Every CQL statement of the running services, with its whole contract beside it.

Consistency, by kind of table (reference: Cassandra's documentation on lightweight transactions):
- ``host`` rows: Paxos among the replicas of the cell's own datacenter (LOCAL_SERIAL). The commit is
  QUORUM, not LOCAL_QUORUM: the keyspace lives in one datacenter, so both mean its quorum, but
  QUORUM also waits correctly when the coordinator is elsewhere.
- requests: made plainly, changed by LWT as host rows are; work rows are plain.
- views: may be stale, so one replica answers.
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


#: A statement and its parameters.
Write = tuple[Statement, tuple[Any, ...]]


READ_HOST: Final = Statement(
    name="read_host",
    cql="SELECT host, name, rev, status, records, kind, health FROM {keyspace}.host WHERE host = ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

READ_HOST_SERIAL: Final = Statement(
    name="read_host_serial",
    cql="SELECT host, name, rev, status, records, kind, health FROM {keyspace}.host WHERE host = ?",
    consistency=Cl.LOCAL_SERIAL,
    idempotent=True,
)

SCAN_HOSTS: Final = Statement(
    name="scan_hosts",
    cql="SELECT host, name, rev, status, records, kind, health FROM {keyspace}.host",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

SCAN_REVS: Final = Statement(
    name="scan_revs",
    cql="SELECT host, rev FROM {keyspace}.host",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

INSERT_HOST: Final = Statement(
    name="insert_host",
    cql="INSERT INTO {keyspace}.host (host, kind, name, rev, status, records, health) "
    "VALUES (?, ?, ?, ?, ?, ?, ?) IF NOT EXISTS",
    consistency=Cl.QUORUM,
    serial_consistency=Cl.LOCAL_SERIAL,
    idempotent=False,
)

UPDATE_HOST: Final = Statement(
    name="update_host",
    cql="UPDATE {keyspace}.host SET name = ?, rev = ?, status = ?, records = ?, health = ? "
    "WHERE host = ? IF rev = ?",
    consistency=Cl.QUORUM,
    serial_consistency=Cl.LOCAL_SERIAL,
    idempotent=False,
)

NOTE_WRITESET: Final = Statement(
    name="note_writeset",
    cql="INSERT INTO {keyspace}.writeset (slot, id) VALUES (?, ?) USING TIMESTAMP 1",
    consistency=Cl.QUORUM,
    idempotent=True,
)

NOTED_WRITESETS: Final = Statement(
    name="noted_writesets",
    cql="SELECT id FROM {keyspace}.writeset WHERE slot = ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

FORGET_WRITESET: Final = Statement(
    name="forget_writeset",
    cql="DELETE FROM {keyspace}.writeset USING TIMESTAMP 2 WHERE slot = ? AND id = ?",
    consistency=Cl.QUORUM,
    idempotent=True,
)

READ_RECORD: Final = Statement(
    name="read_record",
    cql="SELECT state, participants, created_ms FROM {keyspace}.record WHERE id = ?",
    consistency=Cl.LOCAL_SERIAL,
    idempotent=True,
)

ADD_RECORD: Final = Statement(
    name="add_record",
    cql="INSERT INTO {keyspace}.record (id, state, participants, created_ms) VALUES (?, ?, ?, ?) "
    "IF NOT EXISTS",
    consistency=Cl.QUORUM,
    serial_consistency=Cl.LOCAL_SERIAL,
    idempotent=False,
)

DECIDE_RECORD: Final = Statement(
    name="decide_record",
    cql="UPDATE {keyspace}.record SET state = ? WHERE id = ? IF state = 'preparing'",
    consistency=Cl.QUORUM,
    serial_consistency=Cl.LOCAL_SERIAL,
    idempotent=False,
)

DELETE_RECORD: Final = Statement(
    name="delete_record",
    cql="DELETE FROM {keyspace}.record WHERE id = ? IF state = ?",
    consistency=Cl.QUORUM,
    serial_consistency=Cl.LOCAL_SERIAL,
    idempotent=False,
)

READ_VIEWS: Final = Statement(
    name="read_views",
    cql="SELECT body FROM {keyspace}.host_view WHERE bucket = ?",
    consistency=Cl.LOCAL_ONE,
    idempotent=True,
)

WRITE_VIEW: Final = Statement(
    name="write_view",
    cql="INSERT INTO {keyspace}.host_view (bucket, host, rev, body) VALUES (?, ?, ?, ?) "
    "USING TIMESTAMP ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

#: Nobody knows the id yet, so there is no race; the fixed timestamp lies below that of every LWT, so
#: that sending it again buries nothing.
ADD_REQUEST: Final = Statement(
    name="add_request",
    cql="INSERT INTO {keyspace}.request (id, rev, body) VALUES (?, ?, ?) USING TIMESTAMP 1",
    consistency=Cl.QUORUM,
    idempotent=True,
)

ADD_REQUEST_ONCE: Final = Statement(
    name="add_request_once",
    cql="INSERT INTO {keyspace}.request (id, rev, body) VALUES (?, ?, ?) IF NOT EXISTS",
    consistency=Cl.QUORUM,
    serial_consistency=Cl.LOCAL_SERIAL,
    idempotent=False,
)

CHANGE_REQUEST: Final = Statement(
    name="change_request",
    cql="UPDATE {keyspace}.request SET rev = ?, body = ? WHERE id = ? IF rev = ?",
    consistency=Cl.QUORUM,
    serial_consistency=Cl.LOCAL_SERIAL,
    idempotent=False,
)

GET_REQUEST: Final = Statement(
    name="get_request",
    cql="SELECT body FROM {keyspace}.request WHERE id = ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

GET_REQUEST_SERIAL: Final = Statement(
    name="get_request_serial",
    cql="SELECT body FROM {keyspace}.request WHERE id = ?",
    consistency=Cl.LOCAL_SERIAL,
    idempotent=True,
)

ADD_WORK: Final = Statement(
    name="add_work",
    cql="INSERT INTO {keyspace}.work (shard, slot, id, rev, at_ms) VALUES (?, ?, ?, ?, ?)",
    consistency=Cl.QUORUM,
    idempotent=True,
)

DROP_WORK: Final = Statement(
    name="drop_work",
    cql="DELETE FROM {keyspace}.work WHERE shard = ? AND slot = ? AND id = ? AND rev = ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

READ_WORK: Final = Statement(
    name="read_work",
    cql="SELECT id, rev, at_ms FROM {keyspace}.work WHERE shard = ? AND slot = ? LIMIT ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

READ_HINTS: Final = Statement(
    name="read_hints",
    cql="SELECT body FROM {keyspace}.bucket_hint WHERE cell = ?",
    consistency=Cl.LOCAL_ONE,
    idempotent=True,
)

WRITE_HINT: Final = Statement(
    name="write_hint",
    cql="INSERT INTO {keyspace}.bucket_hint (cell, bucket, body) VALUES (?, ?, ?) "
    "USING TIMESTAMP ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)


class NamedTable(Struct, frozen=True):
    """The statements of a table of definitions by name, all in one partition (there are few)."""

    get: Statement
    page: Statement
    put: Statement


def _named(table: str) -> NamedTable:
    """A row that is ``gone`` keeps its name and revision, so that no old write can bring it back."""
    return NamedTable(
        get=Statement(
            name=f"get_{table}",
            cql=f"SELECT rev, gone, body FROM {{keyspace}}.{table} WHERE shard = 0 AND name = ?",
            consistency=Cl.LOCAL_QUORUM,
            idempotent=True,
        ),
        page=Statement(
            name=f"page_{table}",
            cql=f"SELECT name, gone, body, rev FROM {{keyspace}}.{table} "
            "WHERE shard = 0 AND name > ? LIMIT ?",
            consistency=Cl.LOCAL_QUORUM,
            idempotent=True,
        ),
        put=Statement(
            name=f"put_{table}",
            cql=f"INSERT INTO {{keyspace}}.{table} (shard, name, rev, gone, body) "
            "VALUES (0, ?, ?, ?, ?) USING TIMESTAMP ?",
            consistency=Cl.LOCAL_QUORUM,
            idempotent=True,
        ),
    )


FLAVORS: Final = _named("flavor")
IMAGES: Final = _named("image")
QUOTAS: Final = _named("quota")
WEBHOOKS: Final = _named("webhook")

GET_SERVER_GROUP: Final = Statement(
    name="get_server_group",
    cql="SELECT rev, gone, body FROM {keyspace}.server_group WHERE id = ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

PUT_SERVER_GROUP: Final = Statement(
    name="put_server_group",
    cql="INSERT INTO {keyspace}.server_group (id, rev, gone, body) VALUES (?, ?, ?, ?) "
    "USING TIMESTAMP ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

PUT_SERVER_GROUP_BY_PROJECT: Final = Statement(
    name="put_server_group_by_project",
    cql="INSERT INTO {keyspace}.server_group_by_project (project, id, rev, gone, body) "
    "VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

PAGE_SERVER_GROUPS: Final = Statement(
    name="page_server_groups",
    cql="SELECT id, gone, body FROM {keyspace}.server_group_by_project "
    "WHERE project = ? AND id > ? LIMIT ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

NOTE_REQUEST: Final = Statement(
    name="note_request",
    cql="INSERT INTO {keyspace}.request_by_project (project, created_ms, id) VALUES (?, ?, ?) "
    "USING TIMESTAMP 1",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
)

PAGE_REQUESTS: Final = Statement(
    name="page_requests",
    cql="SELECT created_ms, id FROM {keyspace}.request_by_project "
    "WHERE project = ? AND (created_ms, id) < (?, ?) LIMIT ?",
    consistency=Cl.LOCAL_QUORUM,
    idempotent=True,
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
