"""What the checker says, as values: stories for people, counts for programs."""

from __future__ import annotations

import enum

from msgspec import Struct


class Kind(enum.StrEnum):
    """What was broken. The words never change; ``story`` tells the case."""

    DOUBLE_BOOKING = "double_booking"
    TWO_WRITERS = "two_writers"
    LOST_WRITE = "lost_write"
    LOST_CLAIM = "lost_claim"
    RESURRECTED = "resurrected"
    BAD_STEP = "bad_step"
    BAD_RECORD = "bad_record"
    ROW_DIFFERS = "row_differs"
    REAL_TIME = "real_time"
    PLACED_TWICE = "placed_twice"
    SPLIT = "split"
    TWO_DECISIONS = "two_decisions"
    NOT_FROZEN = "not_frozen"


class Violation(Struct, frozen=True):
    """A broken guarantee. ``rev`` is the revision after which it was broken (0: no one revision)."""

    kind: Kind
    cell: str
    host: str
    rev: int
    story: str


class Incomplete(Struct, frozen=True):
    """A host whose history has a hole: what lies behind it could not be proved."""

    cell: str
    host: str
    rev: int
    story: str


class Claims(Struct):
    """Acknowledged claims by what became of them; ``undecided`` are behind a hole in the history.

    ``pending`` are on the host's row and not built yet: claimed, building, or being deleted.
    ``unacknowledged`` are claims that were written but that no requester was told of; they are not
    among the others.
    """

    acknowledged: int = 0
    built: int = 0
    pending: int = 0
    expired: int = 0
    released: int = 0
    lost: int = 0
    undecided: int = 0
    unacknowledged: int = 0


class WriteSets(Struct):
    """Changes of several rows, by what became of them; ``tags`` are on the rows in the end."""

    committed: int = 0
    aborted: int = 0
    open: int = 0
    tags: int = 0


class Passed(enum.StrEnum):
    """PASSED only if nothing was violated and no history has a hole."""

    PASSED = "passed"
    VIOLATED = "violated"
    INCOMPLETE = "incomplete"


class Verdict(Struct, frozen=True, kw_only=True):
    """The result of a check, one JSON object.

    ``double_bookings`` counts the times a revision promised more than there is: of a class, or of
    one device. ``revisions_checked`` counts revisions replayed with every bound verified.
    ``booked`` is {region: {class: share of the capacity that is promised}} in the final rows.
    ``shrunk`` counts reports that took capacity below what was promised already: allowed, and told.
    ``concurrent`` counts events that are younger than the reading of the rows, left out.
    ``violations`` and ``incomplete`` hold the first of each; ``violations_total`` and
    ``hosts_incomplete`` count all.
    """

    verdict: Passed
    double_bookings: int
    violations: tuple[Violation, ...]
    violations_total: int
    revisions_checked: int
    hosts_checked: int
    hosts_incomplete: int
    incomplete: tuple[Incomplete, ...]
    claims: Claims
    writesets: WriteSets
    booked: dict[str, dict[str, float]]
    cells: dict[str, str]
    shrunk: int
    concurrent: int
    events: int
    torn_lines: int
    seconds: float
