"""A host's writes put in order: one chain of revisions, each written exactly once.

The revision makes the order recoverable, as in Kingsbury and Alvaro's Elle (VLDB 2020): a write
names the revision that it found and the one that it made, and only an LWT that applied makes one.
So no search is needed, but where answers were lost: a write of unknown outcome may or may not be
the one that made the next revision.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from msgspec import Struct

from placer.history import Write, WriteOutcome

#: Chains tried where several writes of unknown outcome could have made the same revisions.
CHAINS_MAX: Final = 64


class Links(Struct):
    """The writes of one host by the revision they found: applied ones, and unknown ones.

    ``twice``: two applied writes of one revision; ``repeated``: one write that is told twice.
    """

    applied: dict[int, Write]
    unknown: dict[int, list[Write]]
    twice: list[tuple[Write, Write]]
    repeated: list[Write]


class Chain(Struct):
    """``writes`` in order; ``hole`` is the revision at which it breaks off before the end, or -1.

    ``doubts`` are the revisions that more than one unknown write could have made.
    """

    writes: list[Write]
    hole: int
    doubts: list[int]


def links(writes: Sequence[Write]) -> Links:
    """Writes by the revision they found. Refused ones wrote nothing and are left out.

    A writer may record a write as unknown before it sends it, and again with its outcome: the
    outcome counts, and a process that is killed in between leaves no hole.
    """
    found = Links(applied={}, unknown={}, twice=[], repeated=[])
    settled: set[tuple[str, int, int]] = set()
    if any(write.outcome is WriteOutcome.UNKNOWN for write in writes):
        settled = {_attempt(write) for write in writes if write.outcome is not WriteOutcome.UNKNOWN}
    for write in writes:
        if write.outcome is WriteOutcome.APPLIED:
            other = found.applied.setdefault(write.rev, write)
            if other is not write:
                # Of one process, of one moment, with one content: no two transactions are that alike.
                if other == write:
                    found.repeated.append(write)
                else:
                    found.twice.append((other, write))
        elif write.outcome is WriteOutcome.UNKNOWN and _attempt(write) not in settled:
            found.unknown.setdefault(write.rev, []).append(write)
    return found


def _attempt(write: Write) -> tuple[str, int, int]:
    """What tells one attempt of one process from another, on one host."""
    return write.process, write.rev, write.started_us


def chains(found: Links, last_rev: int) -> Iterator[Chain]:
    """The chain up to ``last_rev``; where answers were lost, each that is possible (bounded).

    A first chain is always given. More follow only if it has doubts.
    """
    first = _walk(found, last_rev, {})
    yield first
    if not first.doubts:
        return
    options = [range(len(found.unknown[rev])) for rev in first.doubts]
    for choice in itertools.islice(itertools.product(*options), 1, CHAINS_MAX):
        yield _walk(found, last_rev, dict(zip(first.doubts, choice, strict=True)))


def _walk(found: Links, last_rev: int, choice: dict[int, int]) -> Chain:
    chain = Chain(writes=[], hole=-1, doubts=[])
    rev = 0
    while rev != last_rev:
        write = found.applied.get(rev)
        if write is None:
            write = _fill(found, rev, last_rev, choice, chain)
        if write is None or not rev < write.next <= last_rev:
            chain.hole = rev
            break
        chain.writes.append(write)
        rev = write.next
    return chain


def _fill(
    found: Links, rev: int, last_rev: int, choice: dict[int, int], chain: Chain
) -> Write | None:
    """An unknown write that may have made the revision after ``rev``."""
    candidates = found.unknown.get(rev, [])
    if rev == 0:
        # A row may have been tried to be made more than once, each time with a revision of its own.
        candidates = [w for w in candidates if w.next == last_rev or _continued(found, w.next)]
        return candidates[0] if candidates else None
    if len(candidates) > 1:
        chain.doubts.append(rev)
    return candidates[choice.get(rev, 0)] if candidates else None


def _continued(found: Links, rev: int) -> bool:
    return rev in found.applied or rev in found.unknown
