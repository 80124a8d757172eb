"""Bringing a cluster to the wanted schema: superuser, replication, numbered changes, roles, grants.

``plan`` and ``apply`` compute the same list of changes; the second also makes them. Every step
looks first, so that a second run changes nothing. Written for one operator at a time (the playbook).

The driver waits for schema agreement after each schema statement, which takes gossip one to three
seconds. Here all go to one node, which applies them in order, and agreement is awaited once before
rows are written to the new tables.

Sources: Cassandra's documentation on authentication, NetworkTopologyStrategy and CREATE/GRANT.
"""

from __future__ import annotations

import importlib.resources
import re
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import structlog
from cassandra import ConsistencyLevel
from cassandra.cluster import NoHostAvailable, Session
from cassandra.policies import WhiteListRoundRobinPolicy
from cassandra.query import SimpleStatement
from msgspec import Struct

from placer import settings as config
from placer.errors import InvalidInput, StoreError, StoreUnavailable
from placer.model import ids
from placer.store.cassandra import GLOBAL_KEYSPACE, driver_cluster

log = structlog.get_logger(__name__)

_AUTH_KEYSPACE: Final = "system_auth"
#: The superuser every new cluster has; it can only be used until the first ``apply``.
_DEFAULT_ROLE: Final = "cassandra"
_DEFAULT_PASSWORD: Final = "cassandra"  # Cassandra's own default, which we remove
_CONNECT_TRIES: Final = 10
_CONNECT_WAIT_S: Final = 3.0
_STATEMENT_TIMEOUT_S: Final = 60.0
#: Grants under way at once.
_AT_ONCE: Final = 8
#: After a keyspace was dropped each node looks for the grants of each of its tables, and revokes them with a
#: quorum of every datacenter: a minute and more for twelve busy nodes of one machine.
_AGREEMENT_TIMEOUT_S: Final = 300.0

#: Service role -> permissions by kind of table. ``host`` is LWT-only: MODIFY, by the scheduler alone.
_GRANTS: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "placer_api": {
        "cell.host_view": ("SELECT",),
        "cell.request": ("SELECT", "MODIFY"),
        "cell.work": ("SELECT", "MODIFY"),
        "cell.request_by_project": ("SELECT", "MODIFY"),
        "global": ("SELECT",),
        "global.flavor": ("MODIFY",),
        "global.image": ("MODIFY",),
        "global.server_group": ("MODIFY",),
        "global.server_group_by_project": ("MODIFY",),
        "global.quota": ("MODIFY",),
        "global.service": ("MODIFY",),
        "global.webhook": ("MODIFY",),
    },
    "placer_scheduler": {
        "cell.host": ("SELECT", "MODIFY"),
        "cell.record": ("SELECT", "MODIFY"),
        "cell.writeset": ("SELECT", "MODIFY"),
        "cell.host_view": ("SELECT", "MODIFY"),
        "cell.bucket_hint": ("SELECT", "MODIFY"),
        "cell.request": ("SELECT", "MODIFY"),
        "cell.work": ("SELECT", "MODIFY"),
        "cell.webhook_turn": ("SELECT", "MODIFY"),
        "global": ("SELECT", "MODIFY"),
    },
    "placer_check": {
        "cell.host": ("SELECT",),
        "cell.record": ("SELECT",),
        "cell.host_view": ("SELECT",),
        "cell.request": ("SELECT",),
        "cell.work": ("SELECT",),
        "global": ("SELECT",),
    },
}


class Result(Struct, frozen=True):
    """What was (or would be) changed; ``rebuild``: datacenters whose nodes must stream a keyspace
    that they are new to, {keyspace: [datacenter]}."""

    changed: bool
    changes: list[str]
    rebuild: dict[str, list[str]]


class Bootstrap:
    """One run against one cluster, as its administrator."""

    def __init__(self, settings: config.Settings, secrets: Path, *, make: bool) -> None:
        if settings.store is None:
            raise InvalidInput("The settings have no [store].", remedy="Add it.")
        self._settings = settings
        self._store = settings.store
        self._secrets = secrets
        self._make = make
        self._changes: list[str] = []
        self._rebuild: dict[str, list[str]] = {}
        self._session: Session | None = None

    def run(self) -> Result:
        """Look, and where ``make`` is set, change. Raises StoreError."""
        fresh = self._connect()
        try:
            if self._replicate(_AUTH_KEYSPACE):
                self._agree()
            if fresh:
                self._make_superuser()
            self._drop_default_superuser()
            self._replicate(GLOBAL_KEYSPACE)
            done = self._migrate(GLOBAL_KEYSPACE, "global")
            for cell in self._settings.cluster.cells:
                self._replicate(ids.keyspace_of(cell.name), only=cell)
                done += self._migrate(ids.keyspace_of(cell.name), "cell")
            if self._changes:
                self._agree()
            self._note_migrations(done)
            self._cells()
            self._roles()
        finally:
            self._close()
        return Result(bool(self._changes), self._changes, self._rebuild)

    def forget(self, cells: Sequence[str]) -> Result:
        """Drop what is left of removed cells: their keyspaces, the notes of their schemas, their rows.

        The notes go with the keyspace: a later cell of the same name has to get its tables. Raises
        InvalidInput for a cell that the settings name, StoreError. Safe to repeat.
        """
        named = [one.name for one in self._settings.cluster.cells]
        if kept := sorted(set(cells) & set(named)):
            raise InvalidInput(
                f"Cell {kept[0]} is still one of the deployment's: {', '.join(named)}.",
                remedy="Take it out of the inventory and deploy; then it can be forgotten.",
                field="cells",
            )
        self._connect()
        try:
            for cell in cells:
                self._forget(cell)
        finally:
            self._close()
        return Result(bool(self._changes), self._changes, self._rebuild)

    def _forget(self, cell: str) -> None:
        keyspace = ids.keyspace_of(cell)
        if self._exists("system_schema.keyspaces", "keyspace_name", keyspace):
            self._change(f"drop keyspace {keyspace}", f"DROP KEYSPACE IF EXISTS {keyspace}")
            self._agree()
        for table, column, value in (
            ("schema_change", "keyspace_name", keyspace),
            ("cell", "name", cell),
        ):
            if self._exists(f"{GLOBAL_KEYSPACE}.{table}", column, value):
                self._change(
                    f"delete {value} from {table}",
                    f"DELETE FROM {GLOBAL_KEYSPACE}.{table} WHERE {column} = %s",
                    value,
                )

    # -- connection

    def _connect(self) -> bool:
        """Connect as our administrator, else as the default superuser; True for the latter."""
        ours = (self._store.username, config.read_secret(self._store.password_file))
        username = self._log_in(ours, (_DEFAULT_ROLE, _DEFAULT_PASSWORD))
        return username == _DEFAULT_ROLE

    def _log_in(self, *logins: tuple[str, str]) -> str:
        """Open a session with the first of ``logins`` that is let in; says which. Bounded tries.

        A role that was just made may be refused by a replica that has not heard of it yet.
        """
        error: Exception | None = None
        for _ in range(_CONNECT_TRIES):
            for username, password in logins:
                try:
                    self._open(username, password)
                    return username
                except NoHostAvailable as failed:
                    error = failed
            time.sleep(_CONNECT_WAIT_S)
        raise StoreUnavailable(
            f"Cannot log in to Cassandra as {logins[0][0]}: {error}.",
            remedy="Are the nodes up, and are the secrets those of this cluster?",
        )

    def _open(self, username: str, password: str) -> None:
        home = self._settings.home
        cluster = driver_cluster(
            home.contact_points[:1], home.datacenter, self._store, username, password
        )
        only = WhiteListRoundRobinPolicy(list(home.contact_points[:1]))
        cluster.profile_manager.default.load_balancing_policy = only
        cluster.max_schema_agreement_wait = 0
        # Nothing here reads the driver's own copy of the schema, which each change would fetch anew.
        cluster.schema_metadata_enabled = False
        cluster.token_metadata_enabled = False
        try:
            self._session = cluster.connect()
            # The control connection may be let in while the session's own is refused: ask.
            self._query("SELECT key FROM system.local")
        except BaseException:
            cluster.shutdown()
            raise

    def _close(self) -> None:
        if self._session is not None:
            self._session.cluster.shutdown()
            self._session = None

    def _query(self, cql: str, *params: Any) -> list[Any]:
        assert self._session is not None
        # A plan may look before system_auth is replicated to this datacenter; it decides nothing.
        level = ConsistencyLevel.LOCAL_QUORUM if self._make else ConsistencyLevel.ONE
        statement = SimpleStatement(cql, consistency_level=level)
        return list(self._session.execute(statement, params or None, timeout=_STATEMENT_TIMEOUT_S))

    def _change(self, what: str, cql: str, *params: Any) -> None:
        """Note a change and, unless planning, make it."""
        self._changes.append(what)
        if self._make:
            log.info("schema_change", change=what)
            try:
                self._query(cql, *params)
            except Exception as error:
                raise StoreError(f"{what} failed: {error}.") from error

    def _change_all(self, changes: Sequence[tuple[str, str]]) -> None:
        """The same with changes (what, CQL) that are safe to repeat and of different rows, some at once."""
        self._changes += [what for what, _ in changes]
        if not self._make:
            return
        assert self._session is not None
        for start in range(0, len(changes), _AT_ONCE):
            begun = []
            for what, cql in changes[start : start + _AT_ONCE]:
                log.info("schema_change", change=what)
                answer = self._session.execute_async(cql, timeout=_STATEMENT_TIMEOUT_S)
                begun.append((what, cql, answer))
            for what, cql, answer in begun:
                try:
                    answer.result()
                except Exception as error:
                    log.warning("schema_change_again", change=what, why=str(error))
                    try:
                        self._query(cql)  # alone; slow nodes may not have had time for so many
                    except Exception as last:
                        raise StoreError(f"{what} failed: {last}.") from last

    # -- steps

    def _make_superuser(self) -> None:
        """Our own superuser with a generated password; from here on this run is it."""
        name = self._store.username
        password = config.read_secret(self._store.password_file)
        if not self._exists("system_auth.roles", "role", name):
            self._change(
                f"role {name}",
                f"CREATE ROLE {name} WITH PASSWORD = {_literal(password)} "
                "AND LOGIN = true AND SUPERUSER = true",
            )
        if self._make:
            self._close()
            self._log_in((name, password))

    def _drop_default_superuser(self) -> None:
        """Looked for on every run: one that was interrupted may have left it."""
        if self._exists("system_auth.roles", "role", _DEFAULT_ROLE):
            self._change(f"drop role {_DEFAULT_ROLE}", f"DROP ROLE IF EXISTS {_DEFAULT_ROLE}")

    def _agree(self) -> None:
        """Wait until all nodes have one schema version."""
        if not self._make:
            return
        assert self._session is not None
        control = self._session.cluster.control_connection
        if not control.wait_for_schema_agreement(wait_time=_AGREEMENT_TIMEOUT_S):
            raise StoreUnavailable(
                f"The nodes did not agree on one schema within {_AGREEMENT_TIMEOUT_S:.0f} s.",
                remedy="Is a node down? Bring it back and run this again.",
            )

    def _replicate(self, keyspace: str, only: config.Cell | None = None) -> bool:
        """NetworkTopologyStrategy naming every datacenter (or the one cell's): never the shorthand
        ``replication_factor``, which would expand to datacenters added later. True if changed."""
        cells = [only] if only is not None else self._settings.cluster.cells
        wanted = {cell.datacenter: str(cell.replication) for cell in cells}
        current = self._replication(keyspace)
        if keyspace == _AUTH_KEYSPACE:
            wanted |= leaving(current or {}, wanted, self._datacenters())
        if current == wanted:
            return False
        options = ", ".join(f"'{dc}': {rf}" for dc, rf in sorted(wanted.items()))
        replication = "{'class': 'NetworkTopologyStrategy', " + options + "}"
        verb = "CREATE" if current is None else "ALTER"
        self._change(
            f"{verb.lower()} keyspace {keyspace} {wanted}",
            f"{verb} KEYSPACE {keyspace} WITH replication = {replication}",
        )
        if current and "replication_factor" not in current:
            new = sorted(set(wanted) - set(current))
            if new:
                self._rebuild[keyspace] = new
        return True

    def _datacenters(self) -> set[str]:
        """Those that have nodes, as the node that answers knows them."""
        tables = ("local", "peers_v2")
        rows = [self._query(f"SELECT data_center FROM system.{table}") for table in tables]
        return {datacenter for found in rows for (datacenter,) in found}

    def _replication(self, keyspace: str) -> dict[str, str] | None:
        rows = self._query(
            "SELECT replication FROM system_schema.keyspaces WHERE keyspace_name = %s", keyspace
        )
        if not rows:
            return None
        return {key: value for key, value in dict(rows[0][0]).items() if key != "class"}

    def _migrate(self, keyspace: str, kind: str) -> list[tuple[str, int]]:
        """Apply the numbered files of ``kind`` that this keyspace has not seen; says which.

        Every statement is IF NOT EXISTS or its like: a run that was interrupted repeats the file.
        """
        applied = self._applied(keyspace)
        done = []
        for number, text in _numbered(kind):
            if number in applied:
                continue
            for statement in _split(text.replace("{keyspace}", keyspace)):
                self._change(f"{keyspace}: {_first_words(statement)}", statement)
            done.append((keyspace, number))
        return done

    def _note_migrations(self, done: Iterable[tuple[str, int]]) -> None:
        for keyspace, number in done:
            self._change(
                f"{keyspace}: schema {number}",
                f"INSERT INTO {GLOBAL_KEYSPACE}.schema_change "
                "(keyspace_name, number, applied_at) VALUES (%s, %s, toTimestamp(now()))",
                keyspace,
                number,
            )

    def _applied(self, keyspace: str) -> set[int]:
        if not self._exists_table(GLOBAL_KEYSPACE, "schema_change"):
            return set()
        rows = self._query(
            f"SELECT number FROM {GLOBAL_KEYSPACE}.schema_change WHERE keyspace_name = %s",
            keyspace,
        )
        return {row[0] for row in rows}

    def _cells(self) -> None:
        """One row per cell; the number of buckets is part of where views are, so it is fixed."""
        known: dict[str, int] = {}
        if self._exists_table(GLOBAL_KEYSPACE, "cell"):
            known = dict(self._query(f"SELECT name, host_buckets FROM {GLOBAL_KEYSPACE}.cell"))
        for cell in self._settings.cluster.cells:
            if cell.name not in known:
                self._change(
                    f"cell {cell.name}",
                    f"INSERT INTO {GLOBAL_KEYSPACE}.cell (name, region, datacenter, host_buckets) "
                    "VALUES (%s, %s, %s, %s)",
                    cell.name,
                    cell.region,
                    cell.datacenter,
                    cell.host_buckets,
                )
            elif known[cell.name] != cell.host_buckets:
                raise InvalidInput(
                    f"host_buckets of cell {cell.name} is {known[cell.name]} in the cluster and "
                    f"{cell.host_buckets} in the settings.",
                    remedy="It cannot be changed later; put the old number back.",
                )

    def _roles(self) -> None:
        for role, grants in _GRANTS.items():
            password = config.read_secret(self._secrets / role)
            if not self._exists("system_auth.roles", "role", role):
                self._change(
                    f"role {role}",
                    f"CREATE ROLE {role} WITH PASSWORD = {_literal(password)} AND LOGIN = true",
                )
            held = self._held(role)
            # Each is written with a quorum of every datacenter, twice: one after the other they take
            # longer than all tables.
            missing = []
            for resource, in_cql, permissions in self._wanted(grants):
                if left := [one for one in permissions if (resource, one) not in held]:
                    listed = ", ".join(left)
                    what = f"grant {listed} on {resource} to {role}"
                    missing.append((what, f"GRANT {listed} ON {in_cql} TO {role}"))
            self._change_all(missing)

    def _wanted(
        self, grants: dict[str, tuple[str, ...]]
    ) -> Iterable[tuple[str, str, tuple[str, ...]]]:
        """(resource as system_auth names it, resource in CQL, permissions)."""
        for what, permissions in grants.items():
            kind, _, table = what.partition(".")
            keyspaces = (
                [GLOBAL_KEYSPACE]
                if kind == "global"
                else [ids.keyspace_of(cell.name) for cell in self._settings.cluster.cells]
            )
            for keyspace in keyspaces:
                resource = f"data/{keyspace}" + (f"/{table}" if table else "")
                in_cql = f"TABLE {keyspace}.{table}" if table else f"KEYSPACE {keyspace}"
                yield resource, in_cql, permissions

    def _held(self, role: str) -> set[tuple[str, str]]:
        rows = self._query(
            "SELECT resource, permissions FROM system_auth.role_permissions WHERE role = %s", role
        )
        return {(resource, permission) for resource, held in rows for permission in held}

    def _exists(self, table: str, column: str, value: str) -> bool:
        return bool(self._query(f"SELECT {column} FROM {table} WHERE {column} = %s", value))

    def _exists_table(self, keyspace: str, table: str) -> bool:
        return bool(
            self._query(
                "SELECT table_name FROM system_schema.tables "
                "WHERE keyspace_name = %s AND table_name = %s",
                keyspace,
                table,
            )
        )


def _literal(text: str) -> str:
    """``text`` as a CQL string; role statements take no bind variables."""
    return "'" + text.replace("'", "''") + "'"


def leaving(
    current: Mapping[str, str], wanted: Mapping[str, str], datacenters: Collection[str]
) -> dict[str, str]:
    """The replicas of accounts that datacenters on their way out keep until their nodes have left.

    Cassandra refuses to take ``system_auth`` from a datacenter that has nodes; of no other keyspace.
    """
    return {dc: rf for dc, rf in current.items() if dc in datacenters and dc not in wanted}


def _numbered(kind: str) -> list[tuple[int, str]]:
    """The schema files ``<kind>_NNN.cql`` of the package, in order."""
    folder = importlib.resources.files("placer.store") / "schema"
    found = [
        (int(match[1]), entry.read_text())
        for entry in folder.iterdir()
        if (match := re.fullmatch(kind + r"_(\d+)\.cql", entry.name))
    ]
    return sorted(found)


def _split(text: str) -> list[str]:
    """Statements of a schema file: comments go, semicolons end statements."""
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("--"))
    return [part.strip() for part in bare.split(";\n") if part.strip(" \n;")]


def _first_words(statement: str) -> str:
    return " ".join(statement.replace("IF NOT EXISTS ", "").split()[:3])


def run(settings: config.Settings, secrets: Path, *, make: bool) -> Result:
    """Apply (``make``) or plan the schema. ``secrets`` is a folder with a file per service role."""

    return Bootstrap(settings, secrets, make=make).run()


def forget(settings: config.Settings, cells: Sequence[str]) -> Result:
    """Drop what is left of cells that were removed from the deployment."""

    return Bootstrap(settings, Path(), make=True).forget(cells)
