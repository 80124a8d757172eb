"""The chaos runner's pure parts: plans from seeds, what clients saw, what an answer says."""

from __future__ import annotations

import tomllib

import httpx
import pytest

from chaos.check import as_checker
from chaos.load import judged
from chaos.plan import CRASH_POINTS, Site, cycles, story, table
from chaos.seen import Operation, Outcome, Window, counts, longest_without, sights
from placer.failpoints import POINTS

SITE = Site(
    regions=("ams", "nyc", "sgp"),
    cells=("ams1", "nyc1", "sgp1"),
    nodes=("d-ams1-r1", "d-nyc1-r1", "d-sgp1-r1"),
    schedulers=("d-ams1-scheduler-1", "d-nyc1-scheduler-1"),
    apis=("d-ams1-api-1",),
    agents=("d-sgp1-agent-1",),
    region_of={
        "d-ams1-r1": "ams",
        "d-nyc1-r1": "nyc",
        "d-sgp1-r1": "sgp",
        "d-ams1-scheduler-1": "ams",
        "d-nyc1-scheduler-1": "nyc",
        "d-ams1-api-1": "ams",
        "d-sgp1-agent-1": "sgp",
    },
)


# --- plans -------------------------------------------------------------------------------------------


def test_a_seed_says_the_same_again() -> None:
    """The whole plan, and another seed another one."""
    first, again, other = (
        [story(cycle) for cycle in cycles(seed, SITE, 20)] for seed in (42, 42, 43)
    )
    assert first == again
    assert first != other


def test_a_longer_run_begins_as_a_shorter_one() -> None:
    """So that a failure late in a long run can be come to again, and one early sooner."""
    long = list(cycles(7, SITE, 50))
    assert list(cycles(7, SITE, 10)) == long[:10]


def test_a_short_run_has_every_kind() -> None:
    """Kinds take turns: 20 cycles, every third with two, are 26 faults; there are fewer kinds."""
    seen = {fault.kind for cycle in cycles(1, SITE, 20) for fault in cycle.faults}
    assert seen == set(table(SITE, long=False))


def test_two_at_once_differ() -> None:
    """Every third cycle has two, of two kinds."""
    plan = list(cycles(3, SITE, 60))
    assert [len(cycle.faults) for cycle in plan] == [1, 1, 2] * 20
    for cycle in plan:
        assert len({fault.kind for fault in cycle.faults}) == len(cycle.faults)


def test_who_is_hit_is_there() -> None:
    """Names and regions of the site alone, and every fault says which regions may notice."""
    for cycle in cycles(5, SITE, 100, long=True):
        for fault in cycle.faults:
            assert set(fault.regions) <= set(SITE.regions)
            assert fault.regions
            if name := fault.params.get("name"):
                assert fault.regions == (SITE.region_of[name],)


def test_one_region_has_no_partitions() -> None:
    """A kind that makes no sense on a site is not planned for it."""
    alone = Site(("nyc",), ("nyc1",), (), SITE.schedulers, (), ())
    assert set(table(alone, long=True)) == {
        "kill-scheduler",
        "pause-scheduler",
        "crash-scheduler",
        "zombie-scheduler",
        "skew-scheduler",
    }


def test_a_zombie_sleeps_longer_than_a_lease() -> None:
    """The cycle lasts as long as its fault has to."""
    (cycle,) = cycles(1, SITE, 1, kinds=["zombie-scheduler"], long=True)
    assert cycle.hold_s == 130


def test_every_crash_is_at_a_place_that_there_is() -> None:
    """Else the process would refuse to start, and nothing be tested."""
    assert {point for points in CRASH_POINTS.values() for point in points} <= set(POINTS)


def test_an_unknown_kind_is_refused() -> None:
    """With those that are known."""
    with pytest.raises(ValueError, match="unknown kinds of fault: meteor; known: partition"):
        list(cycles(1, SITE, 1, kinds=["meteor"]))


# --- what clients saw --------------------------------------------------------------------------------


def claim(
    client: str,
    region: str,
    started: float,
    ended: float,
    outcome: Outcome = Outcome.OK,
    target: str = "",
) -> Operation:
    return Operation(
        client, region, "claim", (target or region,), started, ended, outcome, plenty=True
    )


@pytest.mark.parametrize(
    ("claims", "longest"),
    [
        pytest.param(
            [claim("a", "nyc", 0, 1), claim("a", "nyc", 5, 6.5)], 1.5, id="idle is no wait"
        ),
        pytest.param(
            [claim("a", "nyc", 0, 3, Outcome.UNKNOWN), claim("a", "nyc", 4, 5)],
            5,
            id="from the first in vain to the next that succeeds",
        ),
        pytest.param(
            [claim("a", "nyc", 0, 3, Outcome.REFUSED), claim("b", "nyc", 2, 4)],
            4,
            id="another client's success is no help",
        ),
        pytest.param([], 0, id="nobody asked"),
    ],
)
def test_the_longest_without_service(claims: list[Operation], longest: float) -> None:
    """By client, from its question on; who never had an answer waited to the end."""
    assert longest_without(claims) == longest


def test_a_fault_counts_where_it_was() -> None:
    """ams is cut from 10 to 20: its own clients waited 6 s; elsewhere one claim of two failed, and took 2 s.

    The claim from nyc into ams has to fail and counts for neither, nor does what was before.
    """
    operations = [
        claim("n", "nyc", 1, 9, Outcome.UNKNOWN),
        claim("a", "ams", 11, 14, Outcome.UNKNOWN),
        claim("a", "ams", 15, 17),
        claim("n", "nyc", 11, 12, Outcome.UNKNOWN, target="ams"),
        claim("n", "nyc", 12, 14, Outcome.UNKNOWN, target="sgp"),
        claim("n", "nyc", 14, 16),
    ]
    sight = sights(operations, [Window("partition", frozenset({"ams"}), 10, 20)])["partition"]
    assert (sight.cycles, sight.longest_s, sight.elsewhere_longest_s) == (1, 6, 2)
    assert (sight.elsewhere_claims, sight.elsewhere_failed) == (2, 1)
    assert sight.examples == ["n to sgp after 2.0 s: unknown "]


def test_operations_are_counted_by_kind_and_outcome() -> None:
    """As the record has them."""
    operations = [claim("a", "nyc", 0, 1), claim("a", "nyc", 1, 2, Outcome.REFUSED)]
    assert counts(operations) == {"claim": {"ok": 1, "refused": 1}}


# --- answers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, {"stage": "placed"}, (Outcome.OK, "placed"), id="placed"),
        pytest.param(
            200,
            {"stage": "refused", "reason": {"code": "no_valid_host"}},
            (Outcome.REFUSED, "no_valid_host"),
            id="refused with its reason",
        ),
        pytest.param(202, {"stage": "accepted"}, (Outcome.UNKNOWN, "accepted"), id="not decided"),
        pytest.param(
            503,
            {"errors": [{"code": "placer.unavailable"}]},
            (Outcome.UNKNOWN, "placer.unavailable"),
            id="no service",
        ),
        pytest.param(
            409,
            {"errors": [{"code": "placer.conflict"}]},
            (Outcome.REFUSED, "placer.conflict"),
            id="a no",
        ),
    ],
)
def test_an_answer_is_judged(
    status: int, body: dict[str, object], expected: tuple[Outcome, str]
) -> None:
    """What was not decided is unknown: it may happen yet."""
    assert judged(httpx.Response(status, json=body))[:2] == expected


def test_the_checkers_settings_are_a_schedulers() -> None:
    """With its own name and role, and no section that only a scheduler has."""
    toml = (
        'process = "nyc1-scheduler-1"\ncell = "nyc1"\n\n[store]\nusername = "placer_scheduler"\n\n'
        '[scheduler]\nport = 8790\n\n[scheduler.weights]\nheadroom = 2.0\n\n[tls]\nca = "/c"\n\n[history]\ndir = "/h"\n'
    )
    assert tomllib.loads(as_checker(toml)) == {
        "process": "chaos-check",
        "cell": "nyc1",
        "store": {"username": "placer_check"},
        "history": {"dir": "/h"},
    }
