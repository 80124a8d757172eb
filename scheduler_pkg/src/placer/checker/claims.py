"""All claims that a requester was told of: none is lost, none is undone, and no two are one.

A claim's life comes from its host's row (``rows.py``); who was told of it, from the schedulers'
acknowledgements and from the clients' own histories.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from placer.checker import stories
from placer.checker.findings import Findings
from placer.checker.replayer import Life
from placer.checker.rows import Rows
from placer.checker.verdict import Claims, Kind
from placer.history import Acknowledged, Operation, Write, WriteOutcome
from placer.model import ids
from placer.model.records import ClaimState

#: Steps of one story: attempts to write a claim, at most.
_ATTEMPTS_SHOWN: Final = 3


class Lives:
    """Judges acknowledged claims by their lives."""

    def __init__(
        self,
        found: Findings,
        rows: Rows,
        writes: Mapping[str, Sequence[Write]],
        operations: Iterable[Operation],
        clock_error_us: int,
    ) -> None:
        self._found = found
        self._rows = rows
        self._lives = rows.lives
        self._writes = writes
        self._clock_error_us = clock_error_us
        #: The first answer that named each claim.
        self._heard: dict[str, Operation] = {}
        for operation in operations:
            for claim in operation.claims:
                self._heard.setdefault(claim, operation)
        self.counts = Claims()

    def judge(self, acknowledged: Iterable[Acknowledged], ended: Mapping[str, str]) -> None:
        """Every claim that somebody was told of, once."""
        told: set[str] = set()
        current: dict[str, list[Acknowledged]] = defaultdict(list)
        for event in self._all(acknowledged):
            if event.claim in told:
                continue
            told.add(event.claim)
            self.counts.acknowledged += 1
            life = self._lives.get(event.claim)
            if life is None:
                self._without_trace(event)
            elif life.aborted:
                self._aborted(event, life)
            else:
                self._count(life, ended.get(event.claim, ""))
                if not life.dropped_rev and life.state is not ClaimState.DELETING:
                    current[event.request].append(event)
        for held in current.values():
            self._no_more_than_asked(held)
        self._one_set_a_consumer()
        self.counts.unacknowledged = len(self._lives.keys() - told)

    def _all(self, acknowledged: Iterable[Acknowledged]) -> Iterable[Acknowledged]:
        """What schedulers told, then what only clients say that they were told. Who looks does not
        know how many were asked for: at least as many as the answer named."""
        yield from acknowledged
        for claim, operation in self._heard.items():
            yield Acknowledged(
                process=operation.process,
                cell=ids.cell_of(claim),
                host=ids.host_of(claim),
                claim=claim,
                request=operation.request,
                at_us=operation.ended_us,
                of=max(operation.of, len(operation.claims)),
            )

    def _without_trace(self, event: Acknowledged) -> None:
        if event.host in self._rows.holed:
            self.counts.undecided += 1
            return
        self.counts.lost += 1

        def told() -> str:
            attempts = stories.touches(self._writes.get(event.host, ()), event.claim)
            steps = [stories.words(touch) for touch in attempts[:_ATTEMPTS_SHOWN]]
            made = {touch.write.rev for touch in attempts}
            instead = [
                write
                for write in self._writes.get(event.host, ())
                if write.rev in made
                and write.outcome is WriteOutcome.APPLIED
                and all(record.id != event.claim for record in write.put)
            ]
            steps += [
                f"revision {w.next}, {w.process} {stories.put(w)} instead" for w in instead[:1]
            ]
            return stories.story(
                f"Claim {event.claim} was acknowledged and no write put it on "
                f"{self._rows.names.get(event.host, f'host {event.host}')}",
                [*steps, *self._telling(event)],
            )

        self._found.violated(Kind.LOST_CLAIM, event.cell, event.host, 0, told)

    def _telling(self, event: Acknowledged) -> list[str]:
        """Who told whom."""
        heard = self._heard.get(event.claim)
        if heard is None or heard.process != event.process:
            steps = [
                f"{event.process} told request {event.request} that it has claim {event.claim}"
            ]
        else:
            steps = []
        return [*steps, stories.told(heard)] if heard else steps

    def _count(self, life: Life, how: str) -> None:
        if life.dropped_rev:
            if life.expired or how == "expired":
                self.counts.expired += 1
            else:
                self.counts.released += 1
        elif life.state is ClaimState.BUILT:
            self.counts.built += 1
        else:
            self.counts.pending += 1

    def _aborted(self, event: Acknowledged, life: Life) -> None:
        self.counts.lost += 1

        def told() -> str:
            shown = stories.touches(self._writes[event.host], event.claim)
            return stories.story(
                f"Claim {event.claim} was acknowledged and its write set undone",
                [*map(stories.words, (shown[0], shown[-1])), *self._telling(event)],
            )

        self._found.violated(Kind.LOST_CLAIM, event.cell, event.host, life.dropped_rev, told)

    def _no_more_than_asked(self, held: list[Acknowledged]) -> None:
        """One request's claims that are not on their way out. While an instance moves, its request
        may have one more, and says so."""
        last = held[-1]
        most = max(event.of for event in held)
        if len(held) <= most:
            return
        headline = f"Request {last.request} may have {most} and has {len(held)} claims at once"
        self._found.violated(
            Kind.PLACED_TWICE,
            last.cell,
            last.host,
            0,
            lambda: stories.story(headline, [self._put(e.claim) for e in held[: most + 1]]),
        )

    def _one_set_a_consumer(self) -> None:
        """A consumer has one allocation set of each epoch, and the one of the highest is its own.

        A set is what one write set took, or one claim. Two sets of one epoch break the rule if both
        are built in the end, or certainly were at one moment: the later of the two was built before
        the other had begun to go, by more than the clocks may differ.
        """
        sets: dict[tuple[str, int], list[str]] = defaultdict(list)
        for claim, life in self._lives.items():
            built = life.built_us or (life.state is ClaimState.BUILT and not life.dropped_rev)
            if built and life.consumer and not life.share and not life.aborted:
                sets[life.consumer, life.epoch].append(claim)
        for (consumer, epoch), claims in sets.items():
            if len(claims) > 1:
                self._apart(consumer, epoch, claims)

    def _apart(self, consumer: str, epoch: int, claims: list[str]) -> None:
        """Claims of one consumer and epoch, in the order in which they were built."""
        claims.sort(key=lambda claim: self._lives[claim].built_us)
        for one, other in itertools.pairwise(claims):
            first, second = self._lives[one], self._lives[other]
            one_set = bool(first.tag) and first.tag == second.tag
            if not one_set and self._together(first, second):
                words = f"Consumer {consumer} has two allocation sets of its epoch {epoch} at once"
                told = functools.partial(self._both, words, one, other)
                self._found.violated(Kind.PLACED_TWICE, ids.cell_of(other), second.host, 0, told)

    def _both(self, headline: str, one: str, other: str) -> str:
        return stories.story(headline, [self._put(one), self._put(other)])

    def _together(self, first: Life, second: Life) -> bool:
        """Whether both certainly stood, built, at one moment; ``second`` was built later."""
        if not _gone(first) and not _gone(second):
            return True
        if not second.built_us:
            return False
        return not first.left_us or second.built_us + self._clock_error_us < first.left_us

    def _put(self, claim: str) -> str:
        """Who put a claim on its host, and when."""
        host = self._lives[claim].host
        where = self._rows.names.get(host, f"host {host}")
        touches = stories.touches(self._writes.get(host, ()), claim)
        applied = [t for t in touches if t.write.outcome is not WriteOutcome.REFUSED]
        return (
            f"{where}, {stories.words(applied[0])}" if applied else f"claim {claim} is on {where}"
        )


def _gone(life: Life) -> bool:
    return bool(life.dropped_rev) or life.state is ClaimState.DELETING
