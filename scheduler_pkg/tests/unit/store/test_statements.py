"""The contract of every statement, as far as the claim protocol depends on it (section 9)."""

from __future__ import annotations

import importlib.resources
import re

import pytest
from cassandra import ConsistencyLevel as Cl

from placer.store import list_statements, statements
from placer.store.statements import Statement

ALL = sorted(
    {
        value
        for module in (statements, list_statements)
        for value in vars(module).values()
        if isinstance(value, Statement)
    },
    key=lambda statement: statement.name,
)
CELL_TABLES = {
    table
    for file in (importlib.resources.files("placer.store") / "schema").iterdir()
    for table in re.findall(r"CREATE TABLE IF NOT EXISTS \{keyspace\}\.(\w+)", file.read_text())
    if file.name.startswith("cell_")
}
LWT = [s for s in ALL if re.search(r"\bIF\b", s.cql)]
#: Tables whose rows are changed by lightweight transactions only.
LWT_ONLY = ("host", "record")


def _table(statement: Statement) -> str:
    """The one table that it reads or writes."""
    (table,) = re.findall(r"\{keyspace\}\.(\w+)", statement.cql)
    return str(table)


def _is(statements_: list[Statement]) -> list[object]:
    return [pytest.param(s, id=s.name) for s in statements_]


@pytest.mark.parametrize("statement", _is(LWT))
def test_transaction_goes_through_the_rows_own_datacenter(statement: Statement) -> None:
    """Paxos among the replicas of the cell alone, committed at a quorum, and never sent twice."""
    assert statement.serial_consistency == Cl.LOCAL_SERIAL
    assert statement.consistency == Cl.QUORUM
    assert not statement.idempotent


@pytest.mark.parametrize("statement", _is(LWT))
def test_transaction_is_on_a_table_of_a_cell(statement: Statement) -> None:
    """The nodes are told to leave placer_global out of Paxos repairs (roles/cassandra, cassandra.yaml)."""
    assert _table(statement) in CELL_TABLES


@pytest.mark.parametrize("statement", _is([s for s in ALL if s.name.endswith("_serial")]))
def test_serial_read_is_serial_in_the_rows_own_datacenter(statement: Statement) -> None:
    """What a decision rests on is read LOCAL_SERIAL, and may be read again."""
    assert statement.consistency == Cl.LOCAL_SERIAL
    assert statement.idempotent


@pytest.mark.parametrize("table", LWT_ONLY)
def test_no_plain_write_on_what_transactions_own(table: str) -> None:
    """One plain write would go past every comparison of a revision."""
    writes = [
        s
        for s in ALL
        if re.match(rf"(INSERT INTO|UPDATE|DELETE FROM) \{{keyspace\}}\.{table}\b", s.cql)
    ]
    assert writes
    assert all(statement in LWT for statement in writes)


def test_records_are_read_serially_only() -> None:
    """A commit record decides; a stale one would decide wrongly."""
    reads = [s for s in ALL if re.match(r"SELECT .* FROM \{keyspace\}\.record\b", s.cql)]
    assert [s.consistency for s in reads] == [Cl.LOCAL_SERIAL]


def test_no_expiry_on_any_table_of_a_cell() -> None:
    """A time to live is a write that nobody compares."""
    assert not [s.name for s in ALL if "TTL" in s.cql and _table(s) in CELL_TABLES]
