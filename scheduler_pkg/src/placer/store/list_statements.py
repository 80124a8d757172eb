"""The statements of the list of instances, its history, the feed of events and the name service.

Also those of webhooks. All but their turns are plain. Writes carry their timestamp, which is what orders them (model/instance.py), so that
any of them may be sent again, and in any order.
"""

from __future__ import annotations

from typing import Final

from cassandra import ConsistencyLevel as Cl
from msgspec import Struct

from placer.store.statements import Statement, lwt, read, write


class ListTable(Struct, frozen=True):
    """The statements of one list: of a project or of a cell."""

    put: Statement
    end: Statement
    guest: Statement
    reach: Statement
    page: Statement
    drop: Statement


def _list(table: str, owner: str) -> ListTable:
    key = f"{owner} = ? AND slot = ? AND created_ms = ? AND id = ?"
    return ListTable(
        put=write(
            f"put_{table}",
            f"INSERT INTO {{keyspace}}.{table} ({owner}, slot, created_ms, id, place) "
            "VALUES (?, ?, ?, ?, ?) USING TIMESTAMP ?",
        ),
        # What is final takes all columns with it when its time is over.
        end=write(
            f"end_{table}",
            f"INSERT INTO {{keyspace}}.{table} "
            f"({owner}, slot, created_ms, id, place, guest, reach) "
            "VALUES (?, ?, ?, ?, ?, '', '') USING TIMESTAMP ? AND TTL ?",
        ),
        guest=write(
            f"guest_{table}",
            f"UPDATE {{keyspace}}.{table} USING TIMESTAMP ? SET guest = ? WHERE {key}",
        ),
        reach=write(
            f"reach_{table}",
            f"UPDATE {{keyspace}}.{table} USING TIMESTAMP ? SET reach = ? WHERE {key}",
        ),
        # Of each partition so many, newest first; who asks puts them in one order. ORDER BY with one
        # LIMIT for all would read each partition to its end before it sorts.
        page=read(
            f"page_{table}",
            f"SELECT created_ms, id, place, guest, reach FROM {{keyspace}}.{table} "
            f"WHERE {owner} IN ? AND slot IN ? AND (created_ms, id) < (?, ?) "
            "PER PARTITION LIMIT ?",
            paged=False,
        ),
        drop=write(
            f"drop_{table}",
            f"DELETE FROM {{keyspace}}.{table} USING TIMESTAMP ? WHERE {key}",
        ),
    )


OF_PROJECT: Final = _list("instance_of_project", "project")
OF_CELL: Final = _list("instance_of_cell", "cell")

PUT_BY_ID: Final = write(
    "put_instance_by_id",
    "UPDATE {keyspace}.instance_by_id USING TIMESTAMP ? SET place = ? WHERE id = ?",
)

END_BY_ID: Final = write(
    "end_instance_by_id",
    "UPDATE {keyspace}.instance_by_id USING TIMESTAMP ? AND TTL ? "
    "SET place = ?, guest = '', reach = '' WHERE id = ?",
)

GUEST_BY_ID: Final = write(
    "guest_instance_by_id",
    "UPDATE {keyspace}.instance_by_id USING TIMESTAMP ? SET guest = ? WHERE id = ?",
)

REACH_BY_ID: Final = write(
    "reach_instance_by_id",
    "UPDATE {keyspace}.instance_by_id USING TIMESTAMP ? SET reach = ? WHERE id = ?",
)

ADD_HISTORY: Final = write(
    "add_history",
    "INSERT INTO {keyspace}.instance_by_id (id, nr, event, body) VALUES (?, ?, ?, ?) "
    "USING TIMESTAMP ? AND TTL ?",
)

GET_INSTANCE: Final = read(
    "get_instance",
    "SELECT place, guest, reach, body FROM {keyspace}.instance_by_id WHERE id = ? LIMIT ?",
    paged=False,
)

NOTE_SLOT: Final = write(
    "note_slot", "INSERT INTO {keyspace}.list_slot (owner, slot) VALUES (?, ?) USING TIMESTAMP 1"
)

READ_SLOTS: Final = read(
    "read_slots",
    "SELECT slot FROM {keyspace}.list_slot WHERE owner = ? AND slot <= ? LIMIT ?",
    paged=False,
)

ADD_EVENT: Final = write(
    "add_event",
    "INSERT INTO {keyspace}.event (cell, slot, at_ms, id, body) VALUES (?, ?, ?, ?, ?) "
    "USING TIMESTAMP ? AND TTL ?",
)

EVENT_KEYS: Final = read(
    "event_keys",
    "SELECT at_ms, id FROM {keyspace}.event WHERE cell = ? AND slot IN ? "
    "AND (at_ms, id) >= (?, '') AND (at_ms, id) <= (?, ?) PER PARTITION LIMIT ?",
    paged=False,
)

EVENTS_AFTER: Final = read(
    "events_after",
    "SELECT body FROM {keyspace}.event WHERE cell = ? AND slot IN ? "
    "AND (at_ms, id) > (?, ?) AND (at_ms, id) < (?, '') PER PARTITION LIMIT ?",
    paged=False,
)

ADD_PULSE: Final = write(
    "add_pulse",
    "INSERT INTO {keyspace}.pulse (cell, at_ms) VALUES (?, ?) USING TIMESTAMP 1 AND TTL ?",
)

LAST_PULSES: Final = read(
    "last_pulses",
    "SELECT cell, at_ms FROM {keyspace}.pulse WHERE cell IN ? PER PARTITION LIMIT 1",
    paged=False,
)

PULSES_AFTER: Final = read(
    "pulses_after",
    "SELECT at_ms FROM {keyspace}.pulse WHERE cell = ? AND at_ms > ? ORDER BY at_ms ASC LIMIT ?",
    paged=False,
)

PUT_SERVICE: Final = write(
    "put_service",
    "INSERT INTO {keyspace}.service (shard, name, body) VALUES (0, ?, ?) USING TTL ? AND TIMESTAMP ?",
)

LIST_SERVICES: Final = read(
    "list_services",
    "SELECT body FROM {keyspace}.service WHERE shard = 0 LIMIT ?",
    paged=False,
)


ADD_DEAD_LETTER: Final = write(
    "add_dead_letter",
    "INSERT INTO {keyspace}.dead_letter (webhook, at_ms, event, body) VALUES (?, ?, ?, ?) "
    "USING TIMESTAMP 1 AND TTL ?",
)

DEAD_LETTERS: Final = read(
    "dead_letters",
    "SELECT body FROM {keyspace}.dead_letter WHERE webhook = ? AND (at_ms, event) < (?, ?) LIMIT ?",
    paged=False,
)

READ_TURN: Final = read(
    "read_turn", "SELECT body FROM {keyspace}.webhook_turn WHERE id = ?", Cl.LOCAL_SERIAL
)

ADD_TURN: Final = lwt(
    "add_turn", "INSERT INTO {keyspace}.webhook_turn (id, rev, body) VALUES (?, ?, ?) IF NOT EXISTS"
)

CHANGE_TURN: Final = lwt(
    "change_turn", "UPDATE {keyspace}.webhook_turn SET rev = ?, body = ? WHERE id = ? IF rev = ?"
)


def _of(table: ListTable) -> tuple[Statement, ...]:
    return table.put, table.end, table.guest, table.reach, table.page, table.drop


LIST_STATEMENTS: Final = (
    *_of(OF_PROJECT),
    *_of(OF_CELL),
    PUT_BY_ID,
    END_BY_ID,
    GUEST_BY_ID,
    REACH_BY_ID,
    ADD_HISTORY,
    GET_INSTANCE,
    NOTE_SLOT,
    READ_SLOTS,
    ADD_EVENT,
    EVENT_KEYS,
    EVENTS_AFTER,
    ADD_PULSE,
    LAST_PULSES,
    PULSES_AFTER,
    PUT_SERVICE,
    LIST_SERVICES,
    ADD_DEAD_LETTER,
    DEAD_LETTERS,
)

TURN_STATEMENTS: Final = (READ_TURN, ADD_TURN, CHANGE_TURN)
