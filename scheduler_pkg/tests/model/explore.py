"""A small explicit-state checker: every interleaving of a few processes, breadth first.

What a simulation of seeds does not try it does not find; here, for a handful of processes and a bounded
number of faults, nothing is left out, and the first trace found is a shortest one.

A *process* is a generator that yields what it does to the outside, one operation at a time, and gets
the answer. Between two operations of one process, those of all others may come. Its local state is
the place where it stands and its variables, which therefore must be hashable.

A *key* of the store holds a tuple whose first element is what an LWT compares: the revision of a row,
the state of a commit record. An LWT is applied, is not applied, or its outcome is unknown: then it is
*in flight* and may be applied at any later moment at which its condition holds, or never. A process
that dies leaves the LWT that it was about to send in flight. There is no clock: whatever may happen
after some time may happen at once (``Choose``), so nothing that is shown here rests on clocks.

*Facts* are what is so in the world besides the store: an instance that runs, an answer that was given.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from types import FrameType
from typing import Any, Final, NamedTuple

Key = str
Value = tuple[Any, ...]
Fact = tuple[str, ...]
Store = tuple[Value, ...]
Facts = frozenset[Fact]

#: Rounds of recovery after which it must have nothing left to do.
_ROUNDS_MAX: Final = 12
_DEAD: Final = -1


class Read(NamedTuple):
    """The value of a key. ``far``: its cell may be cut off for a while; the answer then is None."""

    key: Key
    far: bool = False


class Lwt(NamedTuple):
    """Put ``value`` if the key's first element is ``expect``; None: whatever it is (a plain write).

    The answer: True, False, or None for unknown.
    """

    key: Key
    expect: Any
    value: Value


class Choose(NamedTuple):
    """Any of ``options`` may be the answer. Recovery at the end takes the first."""

    options: tuple[Any, ...]


class Look(NamedTuple):
    """Whether a fact is so."""

    fact: Fact


class Make(NamedTuple):
    """Have a fact be so, or not so."""

    fact: Fact
    so: bool = True


class Say(NamedTuple):
    """Tell the processes of one's own group. Nobody else sees it, so it takes no step of its own."""

    fact: Fact


class Await(NamedTuple):
    """Wait until one of ``facts`` was said; the answer is the first that was. No step of its own."""

    facts: tuple[Fact, ...]


Op = Read | Lwt | Choose | Look | Make | Say | Await
Steps = Generator[Op, Any, Any]


class Process(NamedTuple):
    """``loops``: it begins again when it ends or dies. Those of one ``group`` die together."""

    name: str
    run: Callable[..., Steps]
    args: tuple[Any, ...] = ()
    loops: bool = False
    group: str = ""


class Faults(NamedTuple):
    """How many of each may happen in one run."""

    deaths: int = 0
    unknown: int = 0
    cut_off: int = 0


class Violation(Exception):
    """Something that must not be so."""


class Scenario(NamedTuple):
    """``safe`` and ``right_in_the_end`` raise Violation; ``recovery``: what runs after the last fault,
    given the number of the round, until it changes nothing any more."""

    name: str
    store: dict[Key, Value]
    processes: tuple[Process, ...]
    faults: Faults
    safe: Callable[[dict[Key, Value], Facts], None]
    recovery: Callable[[int], tuple[Process, ...]]
    right_in_the_end: Callable[[dict[Key, Value], Facts], None]


class Result(NamedTuple):
    """``violation``: what was wrong, empty if nothing was; ``trace``: how it came to that."""

    states: int
    ends: int
    seconds: float
    violation: str
    trace: tuple[str, ...]


class _State(NamedTuple):
    store: Store
    in_flight: frozenset[Lwt]
    at: tuple[int, ...]
    facts: Facts
    faults: Faults


class _Locals:
    """Local states of processes by number: two histories that lead to the same place are one."""

    def __init__(self) -> None:
        self._known: dict[Any, int] = {}
        #: Process, and answers that lead to the state; what it does next (None: it has ended).
        self.history: list[tuple[Process, tuple[Any, ...]]] = []
        self.next: list[Op | None] = []
        self._after: dict[tuple[int, Any], int] = {}

    def first(self, process: Process) -> int:
        return self._intern(process, ())

    def after(self, number: int, answer: Any) -> int:
        key = (number, answer)
        if key not in self._after:
            process, answers = self.history[number]
            self._after[key] = self._intern(process, (*answers, answer))
        return self._after[key]

    def _intern(self, process: Process, answers: tuple[Any, ...]) -> int:
        run = process.run(*process.args)
        try:
            op = next(run)
            for answer in answers:
                op = run.send(answer)
        except StopIteration:
            if process.loops and answers:
                return self._intern(process, ())
            return self._number((process.name, "ended"), process, answers, None)
        where = (process.name, *_place(run))
        run.close()
        return self._number(where, process, answers, op)

    def _number(self, where: Any, process: Process, answers: tuple[Any, ...], op: Op | None) -> int:
        number = self._known.setdefault(where, len(self.next))
        if number == len(self.next):
            self.next.append(op)
            self.history.append((process, answers))
        return number


def _place(run: Any) -> Iterator[Any]:
    """Where a generator stands, and its variables; the same of those that it delegates to."""
    while run is not None and hasattr(run, "gi_frame"):
        frame: FrameType = run.gi_frame
        yield frame.f_code.co_name, frame.f_lasti, tuple(sorted(frame.f_locals.items(), key=_name))
        run = run.gi_yieldfrom


def _name(item: tuple[str, Any]) -> str:
    return item[0]


class Explorer:
    """One search through one scenario; ``states_max`` bounds it."""

    def __init__(self, scenario: Scenario, states_max: int = 2_000_000) -> None:
        self._scenario = scenario
        self._states_max = states_max
        self._keys = tuple(scenario.store)
        self._index = {key: number for number, key in enumerate(self._keys)}
        self._locals = _Locals()
        self._judged: set[Any] = set()
        self._safe: set[Any] = set()
        #: What is being tried, for the last line of a trace.
        self._trying = ""

    def run(self) -> Result:
        """Search all there is. A violation ends the search, with the steps that led to it."""
        started = time.monotonic()
        first = _State(
            store=tuple(self._scenario.store.values()),
            in_flight=frozenset(),
            at=tuple(self._locals.first(process) for process in self._scenario.processes),
            facts=frozenset(),
            faults=self._scenario.faults,
        )
        came_from: dict[_State, tuple[_State, str] | None] = {first: None}
        queue = deque([first])
        ends, state, violation, last = 0, first, "", ""
        try:
            while queue:
                state = queue.popleft()
                if self._at_rest(state):
                    ends += 1
                    self._trying = "recovery runs to its end"
                    self._judge(state)
                for label, new in self._steps(state):
                    if new in came_from:
                        continue
                    came_from[new] = (state, label)
                    queue.append(new)
                if len(came_from) > self._states_max:
                    raise Violation(f"more than {self._states_max} states")
        except Violation as wrong:
            violation, last = str(wrong), self._trying
        trace = [last] if violation else []
        while violation and (step := came_from[state]) is not None:
            state, label = step
            trace.append(label)
        seconds = time.monotonic() - started
        return Result(len(came_from), ends, seconds, violation, tuple(reversed(trace)))

    # -- steps

    def _steps(self, state: _State) -> Iterator[tuple[str, _State]]:
        for lwt in sorted(state.in_flight, key=repr):
            label = f"in flight, now applied: {shown(lwt)}"
            new = self._applied(state, lwt, label)
            if new is not None:
                yield label, new._replace(in_flight=new.in_flight - {lwt})
        for slot, process in enumerate(self._scenario.processes):
            op = self._locals.next[state.at[slot]] if state.at[slot] != _DEAD else None
            if op is not None:
                yield from self._taken(state, slot, process, op)

    def _taken(
        self, state: _State, slot: int, process: Process, op: Op
    ) -> Iterator[tuple[str, _State]]:
        name, faults = process.name, state.faults
        match op:
            case Read(key, far):
                value = state.store[self._index[key]]
                yield f"{name} reads {key}: {value}", self._go(state, slot, value)
                if far and faults.cut_off:
                    less = state._replace(faults=faults._replace(cut_off=faults.cut_off - 1))
                    yield f"{name} cannot reach {key}", self._go(less, slot, None)
            case Lwt():
                yield from self._sent(state, slot, process, op)
            case Choose(options):
                for option in options:
                    yield f"{name}: {option}", self._go(state, slot, option)
            case Look(fact):
                yield f"{name} looks for {fact}", self._go(state, slot, fact in state.facts)
            case Make(fact, so):
                yield from self._dies(state, slot, process, None)
                label = f"{name}: {' '.join(fact)}{'' if so else ' no more'}"
                yield label, self._go(self._made(state, fact, so, label), slot, None)

    def _sent(
        self, state: _State, slot: int, process: Process, lwt: Lwt
    ) -> Iterator[tuple[str, _State]]:
        label = f"{process.name} {shown(lwt)}"
        new = self._applied(state, lwt, label)
        ended = " -> applied" if new is not None else " -> not applied"
        yield label + ended, self._go(new or state, slot, new is not None)
        if state.faults.unknown:
            faults = state.faults._replace(unknown=state.faults.unknown - 1)
            lost = self._with_late(state._replace(faults=faults), lwt)
            yield f"{label} -> unknown", self._go(lost, slot, None)
        yield from self._dies(state, slot, process, lwt)

    def _dies(
        self, state: _State, slot: int, process: Process, lwt: Lwt | None
    ) -> Iterator[tuple[str, _State]]:
        if not state.faults.deaths:
            return
        at = list(state.at)
        late = state._replace(faults=state.faults._replace(deaths=state.faults.deaths - 1))
        for other, one in enumerate(self._scenario.processes):
            if other == slot or (process.group and one.group == process.group):
                op = self._locals.next[at[other]] if at[other] != _DEAD else None
                if isinstance(op, Lwt):
                    late = self._with_late(late, op)
                at[other] = self._locals.first(one) if one.loops else _DEAD
        words = f", in flight: {shown(lwt)}" if lwt else ""
        yield f"{process.name} dies{words}", late._replace(at=tuple(at))

    def _go(self, state: _State, slot: int, answer: Any) -> _State:
        at = list(state.at)
        at[slot] = self._locals.after(at[slot], answer)
        facts, moved = state.facts, True
        while moved:
            moved = False
            for other, number in enumerate(at):
                op = self._locals.next[number] if number != _DEAD else None
                if isinstance(op, Say):
                    facts, moved = facts | {op.fact}, True
                    at[other] = self._locals.after(number, None)
                elif isinstance(op, Await):
                    found = next((fact for fact in op.facts if fact in facts), None)
                    if found is not None:
                        at[other], moved = self._locals.after(number, found), True
        return state._replace(at=tuple(at), facts=facts)

    def _applied(self, state: _State, lwt: Lwt, label: str) -> _State | None:
        """The state with the LWT applied; None if its condition does not hold."""
        index = self._index[lwt.key]
        if lwt.expect is not None and state.store[index][0] != lwt.expect:
            return None
        store = (*state.store[:index], lwt.value, *state.store[index + 1 :])
        self._check(store, state.facts, label)
        alive = frozenset(late for late in state.in_flight if self._may_come(store, late))
        return state._replace(store=store, in_flight=alive)

    def _made(self, state: _State, fact: Fact, so: bool, label: str) -> _State:
        facts = state.facts | {fact} if so else state.facts - {fact}
        self._check(state.store, facts, label)
        return state._replace(facts=facts)

    def _with_late(self, state: _State, lwt: Lwt) -> _State:
        if not self._may_come(state.store, lwt):
            return state
        return state._replace(in_flight=state.in_flight | {lwt})

    def _may_come(self, store: Store, lwt: Lwt) -> bool:
        """Whether its condition may hold now or later: a revision never comes back, a state may."""
        now = store[self._index[lwt.key]][0]
        return not isinstance(lwt.expect, int) or now <= lwt.expect

    def _check(self, store: Store, facts: Facts, label: str) -> None:
        if (store, facts) not in self._safe:
            self._trying = label
            self._scenario.safe(dict(zip(self._keys, store, strict=True)), facts)
            self._safe.add((store, facts))

    # -- the end

    def _at_rest(self, state: _State) -> bool:
        """Whether only those that go on for ever are left. They may stand anywhere: what they were
        about to do is as if they had died."""
        return all(
            process.loops or at == _DEAD or self._locals.next[at] is None
            for at, process in zip(state.at, self._scenario.processes, strict=True)
        )

    def _judge(self, state: _State) -> None:
        """Recovery runs to its end; then each LWT in flight may still come, and recovery runs again."""
        key = (state.store, state.in_flight, state.facts)
        if key in self._judged:
            return
        self._judged.add(key)
        settled = self._settled(state)
        self._scenario.right_in_the_end(
            dict(zip(self._keys, settled.store, strict=True)), settled.facts
        )
        for lwt in sorted(settled.in_flight, key=repr):
            late = self._applied(settled, lwt, f"in the end applied: {shown(lwt)}")
            if late is not None:
                self._judge(late._replace(in_flight=late.in_flight - {lwt}))

    def _settled(self, state: _State) -> _State:
        for number in range(_ROUNDS_MAX):
            before = state
            for process in self._scenario.recovery(number):
                state = self._run_alone(state, process)
            if (state.store, state.facts) == (before.store, before.facts):
                return state
        raise Violation(f"recovery has not come to an end after {_ROUNDS_MAX} rounds")

    def _run_alone(self, state: _State, process: Process) -> _State:
        run = process.run(*process.args)
        answer: Any = None
        try:
            while True:
                op, answer = run.send(answer), None
                label = f"in the end {process.name}"
                match op:
                    case Read(key):
                        answer = state.store[self._index[key]]
                    case Lwt():
                        new = self._applied(state, op, f"{label} {shown(op)}")
                        answer, state = new is not None, new or state
                    case Choose(options):
                        answer = options[0]
                    case Look(fact):
                        answer = fact in state.facts
                    case Make(fact, so):
                        state = self._made(state, fact, so, f"{label}: {' '.join(fact)}")
        except StopIteration:
            return state


def shown(lwt: Lwt) -> str:
    """An LWT in words."""
    condition = "plainly" if lwt.expect is None else f"IF {lwt.expect}"
    return f"writes {lwt.key} {condition}: {lwt.value}"


def told(result: Result) -> str:
    """A result in words, with the steps of a violation."""
    head = f"{result.states} states, {result.ends} ends, {result.seconds:.1f} s"
    if not result.violation:
        return f"{head}: nothing wrong"
    steps = "\n".join(f"  {number}. {step}" for number, step in enumerate(result.trace, 1))
    return f"{head}: {result.violation}\n{steps}"
