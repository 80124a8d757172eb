"""One host after another: its chain of revisions, its bounds after each, and its row in the end."""

from __future__ import annotations

import functools
from collections.abc import Container
from typing import Final

from placer.checker import stories
from placer.checker.chain import Chain, Links, chains, links
from placer.checker.findings import Findings
from placer.checker.replayer import Life, Replayer, life_of, overbooked
from placer.checker.sets import Sets
from placer.checker.verdict import Kind
from placer.history import Write, WriteOutcome
from placer.model.records import HostRow, RowKind

_NONE: Final[frozenset[int]] = frozenset()


class Rows:
    """All hosts of a check, and the lives of all claims that were ever on them.

    ``younger`` are ids of writes that were recorded after the rows were read: they may be missing
    from the rows. Where that is not known, the clocks say it, within ``clock_error_us``.
    """

    def __init__(
        self,
        found: Findings,
        sets: Sets,
        rows_read_us: int,
        clock_error_us: int,
        younger: Container[int] = _NONE,
    ) -> None:
        self._found = found
        self._sets = sets
        self._rows_read_us = rows_read_us
        self._clock_error_us = clock_error_us
        self._younger = younger
        self.lives: dict[str, Life] = {}
        self.holed: set[str] = set()
        #: Hosts whose rows are known from their making to the end.
        self.whole: set[str] = set()
        self.names: dict[str, str] = {}
        self.revisions = 0
        self.shrunk = 0
        self.concurrent = 0

    def host(self, cell: str, host: str, row: HostRow | None, writes: list[Write]) -> None:
        name = f"host {row.name if row and row.name else host} of cell {cell}"
        self.names[host] = name
        found = links(writes)
        self._doubled(cell, host, name, found)
        if row is None:
            self._no_row(cell, host, name, found)
            return
        self._not_lost(cell, host, name, row, found)
        chain, replayer = self._best(host, row, found)
        self.revisions += len(chain.writes)
        self.shrunk += replayer.shrunk
        for problem in replayer.problems:
            self._found.violated(
                problem.kind,
                cell,
                host,
                problem.rev,
                functools.partial(stories.of_problem, name, problem, chain.writes),
            )
        self._real_time(cell, host, name, chain)
        if chain.hole < 0:
            self.whole.add(host)
            self._sets.row(cell, host, name, replayer.traces)
        if chain.hole >= 0:
            self._hole(cell, host, name, row, found, chain, replayer)
        elif difference := replayer.differs_from(row):
            self._differs(cell, host, name, row, chain, difference)
        self._claims(cell, host, name, row.kind, replayer)

    def _doubled(self, cell: str, host: str, name: str, found: Links) -> None:
        for one, other in found.twice:
            headline = f"On {name}, two writes that found revision {one.rev} both applied"
            steps = [f"revision {w.next}, {w.process} {stories.put(w)}" for w in (one, other)]
            self._found.violated(
                Kind.TWO_WRITERS, cell, host, one.next, stories.story(headline, steps)
            )
        for write in found.repeated:
            self._found.unproved(
                cell,
                host,
                write.next,
                f"The histories tell twice of one write of {write.process} on {name}, of revision "
                f"{write.next}: a file or a line was copied.",
            )

    def _best(self, host: str, row: HostRow, found: Links) -> tuple[Chain, Replayer]:
        """The chain that explains the row; the first one if none does."""
        first: tuple[Chain, Replayer] | None = None
        for chain in chains(found, row.rev):
            replayer = Replayer(host)
            for write in chain.writes:
                replayer.apply(write)
            if first is None:
                first = chain, replayer
            if not replayer.problems and chain.hole < 0 and not replayer.differs_from(row):
                return chain, replayer
        assert first is not None
        return first

    def _no_row(self, cell: str, host: str, name: str, found: Links) -> None:
        early = [w for w in found.applied.values() if self._before_reading(w)]
        if early:
            self._found.violated(
                Kind.LOST_WRITE,
                cell,
                host,
                early[0].next,
                f"There is no row of {name}, but {early[0].process} was told that its write of "
                f"revision {early[0].next} applied.",
            )
        self.concurrent += len(found.applied) - len(early)

    def _not_lost(self, cell: str, host: str, name: str, row: HostRow, found: Links) -> None:
        """No write that had applied when the rows were read is younger than the row."""
        younger = [write for write in found.applied.values() if write.next > row.rev]
        lost = [write for write in younger if self._before_reading(write)]
        self.concurrent += len(younger) - len(lost)
        if lost:
            write = min(lost, key=lambda w: w.next)
            headline = f"A write of {name} that applied is not in the store"
            steps = [
                f"revision {write.next}, {write.process} {stories.put(write)} and was told that "
                f"it applied",
                f"in the end the row is at revision {row.rev}",
            ]
            self._found.violated(
                Kind.LOST_WRITE, cell, host, write.next, stories.story(headline, steps)
            )

    def _before_reading(self, write: Write) -> bool:
        if id(write) in self._younger:
            return False
        return write.ended_us + self._clock_error_us < self._rows_read_us

    def _real_time(self, cell: str, host: str, name: str, chain: Chain) -> None:
        latest: Write | None = None
        for write in chain.writes:
            if (
                latest is not None
                and write.outcome is WriteOutcome.APPLIED
                and write.ended_us + self._clock_error_us < latest.started_us
            ):
                headline = f"On {name}, revisions are not in the order of their writes"
                steps = [
                    f"{write.process} had its answer for revision {write.next} at "
                    f"{write.ended_us} us",
                    f"{latest.process} began to write revision {latest.next}, which it follows, "
                    f"at {latest.started_us} us",
                ]
                self._found.violated(
                    Kind.REAL_TIME, cell, host, write.next, stories.story(headline, steps)
                )
            if latest is None or write.started_us > latest.started_us:
                latest = write

    def _differs(
        self, cell: str, host: str, name: str, row: HostRow, chain: Chain, difference: str
    ) -> None:
        def told() -> str:
            there = {record.id: record for record in row.records}
            ids = {r.id for write in chain.writes for r in write.put if r.is_claim} | there.keys()
            for claim in sorted(ids):
                last = stories.touches(chain.writes, claim)[-1:]
                record = last[0].record if last else None
                if record != there.get(claim) and last:
                    steps = [stories.words(last[0]), f"the row is at revision {row.rev}"]
                    return stories.story(f"On {name}, in the end: {difference}", steps)
            return stories.story(f"On {name}, in the end: {difference}")

        self._found.violated(Kind.ROW_DIFFERS, cell, host, row.rev, told)

    def _hole(
        self,
        cell: str,
        host: str,
        name: str,
        row: HostRow,
        found: Links,
        chain: Chain,
        replayer: Replayer,
    ) -> None:
        self.holed.add(host)
        begin = "its making" if chain.hole == 0 else f"revision {chain.hole}"
        self._found.unproved(
            cell,
            host,
            chain.hole,
            f"No history tells what followed {begin} of {name}; the row is at revision {row.rev}.",
        )
        behind = [w for w in found.applied.values() if chain.hole < w.rev and w.next <= row.rev]
        for write in sorted(behind, key=lambda w: w.rev):
            replayer.live_only(write)
        # A quota may be put below what is used: of its row only the whole history tells.
        shrinks = row.kind is RowKind.QUOTA
        if not shrinks and not any(p.kind is Kind.DOUBLE_BOOKING for p in replayer.problems):
            for words in overbooked(row):
                self._found.violated(
                    Kind.DOUBLE_BOOKING, cell, host, row.rev, f"On {name}, in the end: {words}."
                )
        present = {record.id: record for record in row.claims}
        for claim, record in present.items():
            replayer.lives[claim] = life_of(host, record, 0)
        for claim, life in list(replayer.lives.items()):
            if not life.dropped_rev and claim not in present:
                del replayer.lives[claim]

    def _claims(self, cell: str, host: str, name: str, kind: RowKind, replayer: Replayer) -> None:
        for claim, life in replayer.lives.items():
            life.share = life.share or kind is not RowKind.HOST
            other = self.lives.setdefault(claim, life)
            if other is not life:
                self._found.violated(
                    Kind.PLACED_TWICE,
                    cell,
                    host,
                    0,
                    f"Claim {claim} was put on {name} at revision {life.made_rev} and on "
                    f"{self.names[other.host]} at revision {other.made_rev}.",
                )
