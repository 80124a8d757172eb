"""A model of one request's life: schedulers, expiry, agents, a caller who cancels.

What ``scheduler/conductor.py``, ``claims/operations.py``, ``claims/expiry.py``, ``scheduler/lifecycle.py``
and the agent do, without amounts, cells and clocks: hosts have room for one instance, a lease may end
and a process may be thought dead at any moment. An orphan is a claim whose lease ends early, so it is
no case of its own here.

The request's row says where its instance is to be; a claim is an entry on its host's row:
``claimed`` -> ``building`` -> ``built`` -> ``deleting`` -> gone, and ``barred`` between the two
transactions that end a lease. ``without`` names the one rule that a mutant leaves out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from .explore import Choose, Fact, Facts, Faults, Look, Lwt, Make, Process, Read, Scenario, Steps
from .explore import Violation as Wrong

REQUEST: Final = "request"

#: The stages of a request from which it does not go on.
FINAL: Final = ("failed", "cancelled")


class Request(NamedTuple):
    """``claim``: where the instance is to be; ``by``: who made this revision."""

    rev: int
    stage: str = "accepted"
    claim: str = ""
    tried: tuple[str, ...] = ()
    by: str = ""

    def to(self, by: str, **changed: Any) -> Request:
        return self._replace(rev=self.rev + 1, by=by, **changed)


class Entry(NamedTuple):
    claim: str
    state: str


class Host(NamedTuple):
    """``rev`` and the entries, each by its claim; room for one that is not barred."""

    rev: int
    entries: tuple[Entry, ...] = ()

    def state_of(self, claim: str) -> str:
        return next((entry.state for entry in self.entries if entry.claim == claim), "")

    def having(self, claim: str, state: str) -> Host:
        """The row with the claim in that state; "": without it."""
        others = tuple(entry for entry in self.entries if entry.claim != claim)
        now = (*others, Entry(claim, state)) if state else others
        return Host(self.rev + 1, tuple(sorted(now)))


def host_of(claim: str) -> str:
    """A claim's id is ``who@host``."""
    return claim.partition("@")[2]


def runs(claim: str) -> Fact:
    return ("runs", claim)


class Life:
    """The protocol, less the rule ``without``."""

    def __init__(self, without: str = "") -> None:
        self.without = without

    # -- rows: read, judge, write, until the outcome is certain

    def add(self, claim: str) -> Steps:
        """Claim: True if the row shows it, False if it never will."""
        sent = 0
        while True:
            row = yield Read(host_of(claim))
            if row.state_of(claim):
                return True
            if sent and sent != row.rev:
                return False
            if any(entry.state != "barred" for entry in row.entries):
                return False
            expect = None if self.without == "revision is compared" else row.rev
            done = yield Lwt(host_of(claim), expect, row.having(claim, "claimed"))
            if done:
                return True
            sent = row.rev if done is None else sent

    def step(self, claim: str, sources: tuple[str, ...], target: str) -> Steps:
        """A step of the agent or a release: True if the row shows it, False if it may not be."""
        while True:
            row = yield Read(host_of(claim))
            state = row.state_of(claim)
            if state == target:
                return True
            if state not in sources:
                return False
            done = yield Lwt(host_of(claim), row.rev, row.having(claim, target))
            if done:
                return True

    def release(self, claim: str) -> Steps:
        """Give a claim up: not adopted, it goes; adopted, its agent destroys the instance first."""
        while True:
            row = yield Read(host_of(claim))
            state = row.state_of(claim)
            if state in ("", "deleting"):
                return state == ""
            target = "" if state in ("claimed", "barred") else "deleting"
            if self.without == "destroyed before freed":
                target = ""
            done = yield Lwt(host_of(claim), row.rev, row.having(claim, target))
            if done:
                return target == ""

    def change(self, old: Request, new: Request) -> Steps:
        """Change the request: True if it stands, False if it is lost to another change."""
        expect = None if self.without == "the request is changed by its revision" else old.rev
        while True:
            done = yield Lwt(REQUEST, expect, new)
            if done:
                return True
            if done is None and self.without == "an open outcome of the request is settled":
                return False
            stored = yield Read(REQUEST)
            if stored == new:
                return True
            if stored.rev != old.rev:
                return False

    # -- a scheduler

    def worker(self, name: str, hosts: tuple[str, ...]) -> Steps:
        """Place the request, on the first of ``hosts`` that takes it; alternates follow."""
        request = yield Read(REQUEST)
        if request.stage != "accepted":
            return
        for host in hosts:
            if host in request.tried:
                continue
            claim = f"{name}@{host}"
            held = yield from self.add(claim)
            if not held:
                continue
            named = yield from self.change(request, request.to(name, stage="placed", claim=claim))
            if not named and self.without != "who loses gives back":
                yield from self.release(claim)
            return
        yield from self.change(request, request.to(name, stage="failed"))

    def canceller(self, name: str) -> Steps:
        """Have the request cancelled, then release what it holds."""
        request = yield Read(REQUEST)
        while request.stage not in (*FINAL, "cancelling"):
            done = yield from self.change(request, request.to(name, stage="cancelling"))
            if done:
                break
            request = yield Read(REQUEST)
        yield from self.cancel(name)

    def cancel(self, name: str) -> Steps:
        """What a request that is to be cancelled asks for; safe to repeat."""
        request = yield Read(REQUEST)
        if request.stage != "cancelling":
            return
        if request.claim and self.without != "freed before it is called cancelled":
            gone = yield from self.release(request.claim)
            if not gone:
                return
        yield from self.change(request, request.to(name, stage="cancelled", claim=""))

    # -- the end of a lease

    def sweeper(self, host: str) -> Steps:
        """Bar, tell, drop; any scheduler of the cell, at any time."""
        row = yield Read(host)
        waiting = (
            ("claimed", "building") if self.without == "adopted has no lease" else ("claimed",)
        )
        for entry in row.entries:
            if entry.state not in waiting:
                continue
            if self.without == "a claim has a lease":
                return
            if self.without == "barred before told":
                yield from self.tell(entry.claim, "lapsed")
            if self.without == "told before dropped":
                yield from self.step(entry.claim, waiting, "")
                yield from self.tell(entry.claim, "lapsed")
                return
            yield from self.step(entry.claim, waiting, "barred")
        row = yield Read(host)
        for entry in row.entries:
            if entry.state == "barred":
                if self.without not in ("barred before told", "the request is told"):
                    yield from self.tell(entry.claim, "lapsed")
                yield from self.step(entry.claim, ("barred",), "")

    def tell(self, claim: str, what: str) -> Steps:
        """Have the request look for another host: the claim ``lapsed``, its build ``failed``, or its
        instance is ``gone``. Nobody may name a lapsed claim afterwards."""
        host = host_of(claim)
        fences = what == "lapsed" and self.without != "a slow claimer is fenced"
        while True:
            request = yield Read(REQUEST)
            named = request.claim == claim
            if named and request.stage in ("placed", "built"):
                new = request.to(host, stage="accepted", claim="", tried=(*request.tried, host))
            elif named and request.stage == "cancelling" and what == "gone":
                new = request.to(host, stage="cancelled", claim="")
            elif fences and request.stage == "accepted":
                new = request.to(host)
            else:
                return
            done = yield from self.change(request, new)
            if done:
                return

    # -- an agent: a loop over its row and what runs, without other memory

    def agent(self, host: str) -> Steps:
        """One look at the row, and what it asks for. The orders may be old when they are done."""
        row = yield Read(host)
        entry = next((e for e in row.entries if e.state != "barred"), None)
        if entry is None:
            return
        claim = entry.claim
        if entry.state == "claimed":
            yield from self.take(claim)
        elif entry.state == "building":
            yield from self.build(claim)
        elif entry.state == "built":
            yield from self.say_built(claim)
        elif entry.state == "deleting":
            yield from self.destroy(claim)

    def take(self, claim: str) -> Steps:
        """Adopt a claim that its request names."""
        request = yield Read(REQUEST)
        asked = self.without != "adopted only if named"
        if asked and (request.claim != claim or request.stage != "placed"):
            return
        if self.without == "adopted before it is built":
            yield Make(runs(claim))
        sources = ("claimed", "barred") if self.without == "barred is not adopted" else ("claimed",)
        yield from self.step(claim, sources, "building")

    def build(self, claim: str) -> Steps:
        """Build what is adopted; where that fails the row says so before anybody is told."""
        running = yield Look(runs(claim))
        if running:
            yield from self.step(claim, ("building",), "built")
            return
        how = yield Choose(("builds", "fails to build"))
        if how == "builds":
            yield Make(runs(claim))
            yield from self.step(claim, ("building",), "built")
            return
        if self.without == "the row says failed before the request":
            yield from self.tell(claim, "failed")
        direct = self.without == "a failed build goes by way of deleting"
        yield from self.step(claim, ("building",), "" if direct else "deleting")
        yield from self.tell(claim, "failed")

    def say_built(self, claim: str) -> Steps:
        """The request hears of it; a claim that it does not name is given up again."""
        while True:
            request = yield Read(REQUEST)
            if request.claim != claim:
                yield from self.release(claim)
                return
            if request.stage != "placed":
                return
            done = yield from self.change(request, request.to(host_of(claim), stage="built"))
            if done:
                return

    def destroy(self, claim: str) -> Steps:
        """Destroy, tell, free; in this order."""
        if self.without == "destroyed before freed":
            yield from self.step(claim, ("deleting",), "")
        running = yield Look(runs(claim))
        if running:
            yield Make(runs(claim), False)
        if self.without == "told before it is gone":
            yield from self.step(claim, ("deleting",), "")
        yield from self.tell(claim, "gone")
        yield from self.step(claim, ("deleting",), "")


def safe(store: dict[str, Any], facts: Facts) -> None:
    """At all times: no host is full twice, nothing runs without its entry, nothing runs twice."""
    for key, row in store.items():
        if key != REQUEST and sum(entry.state != "barred" for entry in row.entries) > 1:
            raise Wrong(f"host {key} holds two claims and has room for one")
    running = [claim for word, claim in facts if word == "runs"]
    for claim in running:
        if store[host_of(claim)].state_of(claim) not in ("building", "built", "deleting"):
            raise Wrong(f"{claim} runs without an entry on its host")
    if len(running) > 1:
        raise Wrong(f"two instances of one request run: {' and '.join(sorted(running))}")
    if running and store[REQUEST].stage == "cancelled":
        raise Wrong(f"the request is cancelled, and {running[0]} still runs")


def right(store: dict[str, Any], facts: Facts) -> None:
    """In the end: the request is built where it says, or nothing is left of it."""
    request = store[REQUEST]
    held = {
        (entry.claim, entry.state)
        for key, row in store.items()
        if key != REQUEST
        for entry in row.entries
    }
    wanted = {(request.claim, "built")} if request.stage == "built" else set()
    if request.stage not in ("built", *FINAL):
        raise Wrong(f"the request stays {request.stage} with claim {request.claim or 'none'}")
    if held != wanted:
        raise Wrong(
            f"the request is {request.stage} {request.claim}, but hosts hold {sorted(held)}"
        )
    running = {claim for word, claim in facts if word == "runs"}
    if running != {claim for claim, _ in wanted}:
        raise Wrong(f"the request is {request.stage} {request.claim}, but {sorted(running)} run")


def scenario(
    name: str,
    *processes: Process,
    life: Life,
    hosts: tuple[str, ...] = ("A", "B"),
    faults: Faults,
    store: dict[str, Any] | None = None,
) -> Scenario:
    """A request and its hosts; in the end everybody is there again, and a new scheduler too."""

    def recovery(number: int) -> tuple[Process, ...]:
        agents = tuple(Process(f"agent {host}", life.agent, (host,)) for host in hosts)
        sweepers = tuple(Process(f"sweeper {host}", life.sweeper, (host,)) for host in hosts)
        late = Process(f"late{number}", life.worker, (f"late{number}", hosts))
        cancels = Process(f"cancel{number}", life.cancel, (f"cancel{number}",))
        return (*agents, cancels, *sweepers, late, *agents)

    rows: dict[str, Any] = {REQUEST: Request(1), **{host: Host(1) for host in hosts}}
    return Scenario(name, {**rows, **(store or {})}, processes, faults, safe, recovery, right)
