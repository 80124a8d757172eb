"""The claim protocol explored state by state: with all its rules nothing goes wrong, without one it does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from .explore import Explorer, Faults, Lwt, Process, Read, Result, Scenario, Steps, Violation, told
from .scenarios import COURTESIES, EXPLORED, MUTANTS, Explored, Mutant

Note = Callable[[str, object], None]


@pytest.mark.parametrize("one", EXPLORED, ids=lambda one: one.story)
def test_nothing_goes_wrong(one: Explored, record_property: Note) -> None:
    """In no interleaving of its processes and faults; the number of states is noted."""
    result = Explorer(one.make(one.faults, "")).run()
    record_property("states", result.states)
    assert not result.violation, told(result)
    assert result.states >= one.states_min, told(result)
    assert result.ends, "no end was reached, so nothing was judged"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.rule)
def test_a_rule_left_out_is_noticed(mutant: Mutant, record_property: Note) -> None:
    """By a shortest story that ends in what the rule is there to prevent."""
    result = Explorer(mutant.make(mutant.faults, mutant.rule)).run()
    record_property("states", result.states)
    assert mutant.wrong in result.violation, told(result)
    assert result.violation, told(result)
    assert result.trace


@pytest.mark.parametrize("courtesy", COURTESIES, ids=lambda courtesy: courtesy.rule)
def test_what_is_only_a_courtesy(courtesy: Mutant) -> None:
    """Recovery does without it: it is faster with it, not safer."""
    result = Explorer(courtesy.make(courtesy.faults, courtesy.rule)).run()
    assert not result.violation, told(result)


# -- the checker itself, on a counter that two processes raise


def _counter(increment: Callable[[str], Steps], faults: Faults) -> Result:
    """Both raise it by one; in the end it must be 2 if nobody died."""

    def right(store: dict[str, tuple[int, ...]], facts: object) -> None:
        if store["n"][0] != 2:
            raise Violation(f"the counter is {store['n'][0]}")

    processes = (Process("p", increment, ("p",)), Process("q", increment, ("q",)))
    return Explorer(
        Scenario("counter", {"n": (0,)}, processes, faults, lambda *_: None, lambda _: (), right)
    ).run()


def _until_applied(name: str) -> Steps:
    while True:
        now = yield Read("n")
        done = yield Lwt("n", now[0], (now[0] + 1,))
        if done:
            return


def _plain(name: str) -> Steps:
    now = yield Read("n")
    yield Lwt("n", None, (now[0] + 1,))


def test_every_interleaving_is_tried() -> None:
    """A lost update is found, by a shortest trace: two reads and two writes."""
    result = _counter(_plain, Faults())
    assert result.violation == "the counter is 1"
    assert len(result.trace) == 5


def test_a_right_counter_is_right() -> None:
    """Compared and repeated, nothing is lost."""
    assert not _counter(_until_applied, Faults()).violation


def test_a_lost_answer_may_have_been_applied() -> None:
    """Repeated without looking whether it was: one too many."""
    assert _counter(_until_applied, Faults(unknown=1)).violation == "the counter is 3"


def test_a_death_is_tried_and_what_was_in_flight_with_it() -> None:
    """Who dies before his write leaves it out, or has it applied much later."""
    result = _counter(_until_applied, Faults(deaths=1))
    assert result.violation == "the counter is 1"
    assert any("dies, in flight" in step for step in result.trace)


def test_too_many_states_are_no_success() -> None:
    """A search that was cut off has shown nothing."""
    scenario = EXPLORED[0].make(EXPLORED[0].faults, "")
    assert "more than 100 states" in Explorer(scenario, states_max=100).run().violation
