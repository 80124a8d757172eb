"""What is explored: scenarios of both models, and the rules whose absence must be noticed in each.

``python -m scheduler_pkg.tests.model`` (from the repository's root) runs all and prints the states.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from . import life, sets
from .explore import Faults, Process, Scenario
from .life import Life
from .sets import Entry, Plan, Row, Sets

QUIET: Final = Faults()
DEATH: Final = Faults(deaths=1)
UNKNOWN: Final = Faults(unknown=1)
BOTH: Final = Faults(deaths=1, unknown=1)
CUT_OFF: Final = Faults(cut_off=1)

#: A scenario, given the faults that may happen and the rule that is left out.
Make = Callable[[Faults, str], Scenario]


class Explored(NamedTuple):
    """A scenario in which nothing may go wrong. Fewer states: the model has gone blind."""

    story: str
    make: Make
    faults: Faults
    states_min: int


class Mutant(NamedTuple):
    """``rule`` left out: ``wrong`` is a part of what the search must find."""

    rule: str
    make: Make
    faults: Faults
    wrong: str


# -- one request's life


def _worker(model: Life, name: str, *hosts: str) -> Process:
    return Process(name, model.worker, (name, hosts))


def _agent(model: Life, host: str) -> Process:
    return Process(f"agent {host}", model.agent, (host,), loops=True)


def _sweeper(model: Life, host: str) -> Process:
    return Process(f"sweeper {host}", model.sweeper, (host,), loops=True)


def lapse(faults: Faults, without: str = "") -> Scenario:
    """A claim's lease ends while its agent is slow; another scheduler goes on, elsewhere."""
    model = Life(without)
    return life.scenario(
        "lapse",
        _worker(model, "w1", "A"),
        _worker(model, "w2", "B"),
        _agent(model, "A"),
        _sweeper(model, "A"),
        life=model,
        faults=faults,
    )


def race(faults: Faults, without: str = "") -> Scenario:
    """Two schedulers work on one request, each with the other's host as alternate."""
    model = Life(without)
    workers = (_worker(model, "w1", "A", "B"), _worker(model, "w2", "A", "B"))
    return life.scenario("race", *workers, _agent(model, "A"), life=model, faults=faults)


def race_and_lapse(faults: Faults, without: str = "") -> Scenario:
    """Two schedulers work on one request, and the lease on the first host may end."""
    model = Life(without)
    workers = (_worker(model, "w1", "A", "B"), _worker(model, "w2", "A", "B"))
    others = (_agent(model, "A"), _sweeper(model, "A"))
    return life.scenario("race and lapse", *workers, *others, life=model, faults=faults)


def two_agents(faults: Faults, without: str = "") -> Scenario:
    """Two schedulers and two hosts that may fail to build."""
    model = Life(without)
    workers = (_worker(model, "w1", "A"), _worker(model, "w2", "B"))
    agents = (_agent(model, "A"), _agent(model, "B"))
    return life.scenario("two agents", *workers, *agents, life=model, faults=faults)


def one_agent(faults: Faults, without: str = "") -> Scenario:
    """One scheduler, one host that may fail to build."""
    model = Life(without)
    return life.scenario(
        "one agent", _worker(model, "w1", "A"), _agent(model, "A"), life=model, faults=faults
    )


def cancel(faults: Faults, without: str = "") -> Scenario:
    """A request is cancelled while it is placed, built, or its lease ends."""
    model = Life(without)
    return life.scenario(
        "cancel",
        _worker(model, "w1", "A"),
        Process("caller", model.canceller, ("caller",)),
        _agent(model, "A"),
        _sweeper(model, "A"),
        life=model,
        faults=faults,
    )


# -- write sets


def manifest(faults: Faults, without: str = "") -> Scenario:
    """One manifest over two rows, while recovery thinks it dead."""
    model = Sets({"T": Plan(("A", "B"))}, without)
    rows = {"A": Row(1), "B": Row(1)}
    return sets.scenario("manifest", model, rows, faults=faults, during=("A", "T"))


def rival(faults: Faults, without: str = "") -> Scenario:
    """One manifest over two rows, and a claim that wants one of them."""
    model = Sets({"T": Plan(("A", "B"))}, without)
    rows = {"A": Row(1), "B": Row(1)}
    claim = Process("x", model.claim, ("x", "B"))
    return sets.scenario("rival", model, rows, claim, faults=faults, during=("T",))


def two_manifests(faults: Faults, without: str = "") -> Scenario:
    """Two manifests over the same rows."""
    model = Sets({"T": Plan(("A", "B")), "U": Plan(("A", "B"))}, without)
    rows = {"A": Row(1), "B": Row(1)}
    return sets.scenario("two manifests", model, rows, faults=faults, during=("T",))


def move(faults: Faults, without: str = "") -> Scenario:
    """An entry moves from a row that somebody else is waiting for."""
    model = Sets({"T": Plan(("B",), (("A", "c"),))}, without)
    rows = {"A": Row(1, (Entry("c"),)), "B": Row(1)}
    claim = Process("x", model.claim, ("x", "A"))
    return sets.scenario("move", model, rows, claim, faults=faults, during=("A", "T"))


def move_or_release(faults: Faults, without: str = "") -> Scenario:
    """An entry is moved and released at once: only one of the two may be."""
    model = Sets({"T": Plan(("B",), (("A", "c"),))}, without)
    rows = {"A": Row(1, (Entry("c"),)), "B": Row(1)}
    release = Process("r", model.release, ("c", "A"))
    return sets.scenario("move or release", model, rows, release, faults=faults, during=("A",))


EXPLORED: Final = (
    Explored("a lease ends, and others go on", lapse, BOTH, 150_000),
    Explored("two schedulers work on one request", race, BOTH, 30_000),
    Explored("two schedulers, and a lease ends", race_and_lapse, QUIET, 50_000),
    Explored("hosts fail to build", two_agents, BOTH, 60_000),
    Explored("a host fails, and everything twice", one_agent, Faults(2, 2), 4_000),
    Explored("a caller cancels, somebody dies", cancel, DEATH, 25_000),
    Explored("a caller cancels, an answer is lost", cancel, UNKNOWN, 30_000),
    Explored("a manifest over two rows", manifest, BOTH, 60_000),
    Explored("a manifest whose record is out of reach", manifest, Faults(1, 0, 1), 15_000),
    Explored("a manifest against a claim", rival, UNKNOWN, 8_000),
    Explored("two manifests over the same rows", two_manifests, QUIET, 4_000),
    Explored("a move, somebody dies", move, DEATH, 15_000),
    Explored("a move, an answer is lost", move, UNKNOWN, 20_000),
    Explored("an entry moved and released at once", move_or_release, UNKNOWN, 2_000),
)

_STAYS: Final = "the request stays placed"
_TWICE: Final = "two instances of one request run"
_WITHOUT: Final = "runs without an entry on its host"

MUTANTS: Final = (
    # the end of a lease, in two transactions with the telling between them
    Mutant("barred before told", lapse, QUIET, _TWICE),
    Mutant("told before dropped", lapse, QUIET, _STAYS),
    Mutant("barred is not adopted", lapse, QUIET, _TWICE),
    Mutant("a slow claimer is fenced", lapse, QUIET, _STAYS),
    Mutant("the request is told", lapse, QUIET, _STAYS),
    Mutant("a claim has a lease", lapse, DEATH, "hosts hold"),
    Mutant("adopted has no lease", lapse, QUIET, _WITHOUT),
    # the request's row
    Mutant("the request is changed by its revision", race, DEATH, _STAYS),
    Mutant("an open outcome of the request is settled", race, UNKNOWN, _STAYS),
    Mutant("freed before it is called cancelled", cancel, QUIET, "is cancelled, and"),
    # the agent
    Mutant("adopted only if named", two_agents, QUIET, _STAYS),
    Mutant("adopted before it is built", one_agent, QUIET, _WITHOUT),
    Mutant("a failed build goes by way of deleting", one_agent, DEATH, _STAYS),
    Mutant("the row says failed before the request", two_agents, QUIET, _TWICE),
    Mutant("destroyed before freed", cancel, QUIET, _WITHOUT),
    Mutant("told before it is gone", one_agent, DEATH, _STAYS),
    # rows and write sets: the numbers are those of docs/concepts/claims.md
    Mutant("revision is compared", rival, UNKNOWN, "its entry is nowhere"),
    Mutant("what will be added counts", two_manifests, QUIET, "room for one"),
    Mutant("what will be dropped counts", move, QUIET, "room for one"),
    Mutant("record before tags", manifest, QUIET, "told yes"),
    Mutant("every tag is certain", manifest, UNKNOWN, "told yes"),
    Mutant("an open decision is read", manifest, UNKNOWN, "told no"),
    Mutant("abort before any roll back", manifest, QUIET, "told yes"),
    Mutant("row first and record second", manifest, QUIET, "told yes"),
    Mutant("out of reach is not missing", manifest, CUT_OFF, "told yes"),
    Mutant("the record outlives its tags", manifest, QUIET, "told yes"),
    Mutant("a missing record says nothing", manifest, UNKNOWN, "told no"),
    Mutant("missing means aborted, not open", manifest, DEATH, "keeps a tag for ever"),
    Mutant("missing means aborted, not committed", manifest, DEATH, "half of T"),
    Mutant("a tagged entry is frozen", move_or_release, QUIET, "both released and moved"),
)

#: Done, and not needed for anything to come out right.
COURTESIES: Final = (Mutant("who loses gives back", race, BOTH, ""),)
