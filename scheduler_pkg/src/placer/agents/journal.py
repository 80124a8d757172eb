"""The agent's own journal: which claims it holds, and how far it got with each.

The truth about a claim is the host's row, the truth about its instance is the driver; the agent is
a loop over the two (claim protocol, section 6). The journal adds what neither can say: that BUILT
was answered, which instances the agent is answerable for when their claim is gone, and how often
each has changed since (``states.py``). A phase is
written before the step that it announces, so a restart finds at worst a step announced and not
taken, and takes it again.

SQLite in WAL mode with synchronous=NORMAL: a commit is one append to the log without an fsync, so a
killed process loses nothing. A power cut may lose the last commits, never the file; then the row and
the driver still know enough. FULL would cost an fsync for each of thousands of builds for no more
than that. The connection is exclusive: a second agent on the same directory is refused.
"""

from __future__ import annotations

import asyncio
import enum
import sqlite3
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from placer.errors import InvalidInput, PlacerError
from placer.model.messages import ClaimOrder, GuestState

_TABLES: Final = (
    """
CREATE TABLE IF NOT EXISTS claim (
  claim TEXT PRIMARY KEY,
  phase TEXT NOT NULL,
  claim_order BLOB NOT NULL
) WITHOUT ROWID
""",
    """
CREATE TABLE IF NOT EXISTS guest (
  claim TEXT PRIMARY KEY,
  state BLOB NOT NULL
) WITHOUT ROWID
""",
)


class Phase(enum.StrEnum):
    """How far the agent got with a claim."""

    BUILDING = "building"  # adopted; a build was begun and perhaps finished
    BUILT = "built"  # the scheduler knows that the instance runs
    DESTROYING = "destroying"  # the claim is deleting; the instance may be half gone


class Entry(Struct, frozen=True):
    phase: Phase
    order: ClaimOrder


class JournalError(PlacerError):
    """The journal cannot be written, as when its disk is full; the change is not in it."""

    code = "agent.journal"


class Journal:
    """The claims this agent holds: all in memory, each change on disk before it returns.

    One thread does the disk's work, so that a slow disk never stops the event loop.
    """

    def __init__(self, directory: Path, *, executor: Executor | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._executor = executor or ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._path = directory / "journal.sqlite"
        self._database = _open(self._path)
        self._entries = _load(self._database)
        self._states = _load_states(self._database)

    @property
    def entries(self) -> dict[str, Entry]:
        return self._entries

    @property
    def states(self) -> dict[str, GuestState]:
        """What was last said of instances, by claim; of one that only ever ran, nothing."""
        return self._states

    def phase(self, claim: str) -> Phase | None:
        entry = self._entries.get(claim)
        return entry.phase if entry else None

    async def put(self, order: ClaimOrder, phase: Phase) -> None:
        """Note that ``order`` enters ``phase``; raises JournalError."""
        await self._do(
            lambda: self._database.execute(
                "INSERT OR REPLACE INTO claim VALUES (?, ?, ?)",
                (order.claim, phase.value, msgspec.json.encode(order)),
            )
        )
        self.remember(order, phase)

    def remember(self, order: ClaimOrder, phase: Phase) -> None:
        """Note in memory alone what the disk has no room for and a restart would find out anew."""
        self._entries[order.claim] = Entry(phase, order)

    async def put_state(self, state: GuestState) -> None:
        """Note what is to be said of an instance; raises JournalError."""
        await self._do(
            lambda: self._database.execute(
                "INSERT OR REPLACE INTO guest VALUES (?, ?)",
                (state.claim, msgspec.json.encode(state)),
            )
        )
        self.remember_state(state)

    def remember_state(self, state: GuestState) -> None:
        """As ``remember``."""
        self._states[state.claim] = state

    async def forget(self, claim: str) -> None:
        """The claim is gone and nothing of it runs. Raises JournalError."""
        await self._do(lambda: self._delete(claim))
        self._entries.pop(claim, None)
        self._states.pop(claim, None)

    def close(self) -> None:
        self._executor.shutdown(wait=True)
        self._database.close()

    def _delete(self, claim: str) -> None:
        # The claim last: while it is there, a restart comes back here.
        self._database.execute("DELETE FROM guest WHERE claim = ?", (claim,))
        self._database.execute("DELETE FROM claim WHERE claim = ?", (claim,))

    async def _do(self, work: Callable[[], object]) -> None:
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, work)
        except sqlite3.Error as error:
            raise JournalError(
                f"The journal {self._path} cannot be written: {error}.",
                remedy="Is its disk full, or read-only? No claim is built until it can be.",
            ) from error


def _open(path: Path) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(path, timeout=1.0, isolation_level=None, check_same_thread=False)
        database.execute("PRAGMA locking_mode = EXCLUSIVE")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        for table in _TABLES:
            database.execute(table)
        # Takes the exclusive lock now, not at the first claim.
        database.execute("DELETE FROM claim WHERE claim = ''")
    except sqlite3.OperationalError as error:
        raise InvalidInput(
            f"Cannot open the journal {path}: {error}.",
            remedy="Is another agent running on this agent.journal_dir? Give each its own.",
        ) from error
    except sqlite3.DatabaseError as error:
        raise InvalidInput(
            f"The journal {path} is damaged: {error}.",
            remedy="Move it away and start again: rows and driver say what must be done.",
        ) from error
    return database


def _load(database: sqlite3.Connection) -> dict[str, Entry]:
    rows = database.execute("SELECT claim, phase, claim_order FROM claim")
    return {
        claim: Entry(Phase(phase), msgspec.json.decode(order, type=ClaimOrder))
        for claim, phase, order in rows
    }


def _load_states(database: sqlite3.Connection) -> dict[str, GuestState]:
    rows = database.execute("SELECT claim, state FROM guest")
    return {claim: msgspec.json.decode(state, type=GuestState) for claim, state in rows}
