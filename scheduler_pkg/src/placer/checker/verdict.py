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
    HELD_AFTER_REFUSAL = "held_after_refusal"
    WENT_BACK = "went_back"


class Violation(Struct, frozen=True):
    """A broken guarantee. ``rev`` is the revision after which it was broken (0: no one revision).

    ``story`` says what is wrong and then, numbered and in order, the few steps that show it.
    """

    kind: Kind
    cell: str
    host: str
    rev: int
    story: str


class Incomplete(Struct, frozen=True):
    """What could not be proved: a host whose history has a hole, a damaged file, an open outcome."""

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


class Clients(Struct):
    """What clients recorded, by what they were told and what the store says of it.

    ``ok``, ``refused`` and ``unknown`` are what they were told. Of the unknown ones that asked for a
    claim, ``happened`` hold or held one and ``nothing`` never did; ``unresolved`` are neither (yet),
    ``undecided`` are behind a hole. ``leaving`` counts claims of requests that hold nothing, as their
    clients were told: on their way out, and no instance.
    """

    operations: int = 0
    by_kind: dict[str, int] = {}
    ok: int = 0
    refused: int = 0
    unknown: int = 0
    happened: int = 0
    nothing: int = 0
    unresolved: int = 0
    undecided: int = 0
    leaving: int = 0


class Files(Struct):
    """History files that were read: ``closed`` by their process at its end, the others are still
    written, or their process was killed. ``torn`` end in half a line, ``damaged`` lack lines or have
    some that cannot be read, ``missing`` should be there."""

    files: int = 0
    lines: int = 0
    closed: int = 0
    torn: int = 0
    damaged: int = 0
    missing: int = 0


class Passed(enum.StrEnum):
    """PASSED only if nothing was violated, no history has a hole or is damaged, and every outcome is
    known."""

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
    ``incomplete_total`` count all, ``hosts_incomplete`` the hosts among them. ``outcomes_open`` are
    writes of unknown outcome that found a host's last revision: they may yet apply, with a lease.
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
    seconds: float
    incomplete_total: int
    outcomes_open: int
    clients: Clients
    files: Files
