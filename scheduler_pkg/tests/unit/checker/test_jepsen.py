"""Histories as Jepsen has them: written, and read back by a reader that knows only EDN."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from placer.checker import jepsen
from placer.history import Answer, Event, Operation, OperationKind

from . import edn
from .edn import Keyword
from .story import asked, made

K = Keyword
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


def exported(*operations: Event) -> list[dict[Any, Any]]:
    file = io.StringIO()
    lines = jepsen.write(file, operations)
    found = [edn.read(line) for line in file.getvalue().split("\n") if line]
    assert len(found) == lines
    return found


@settings(deadline=None)
@given(VALUES)
def test_every_value_is_read_back(value: object) -> None:
    """Whatever is in a string: quotes, backslashes, line ends, control characters, any letter."""
    assert edn.read(jepsen.edn(value)) == value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param('a "b" \\ c', '"a \\"b\\" \\\\ c"', id="quotes and backslashes"),
        pytest.param("a\nb\tc\r", '"a\\nb\\tc\\r"', id="line ends and tabs"),
        pytest.param("\x00\x1b", '"\\u0000\\u001b"', id="control characters"),
        pytest.param("Zürich ☂", '"Zürich ☂"', id="other letters as they are"),
        pytest.param({"VCPU": 2}, '{"VCPU" 2}', id="a map with names as keys"),
        pytest.param([None, True, -3], "[nil true -3]", id="a vector"),
        pytest.param(jepsen.Keyword("ok"), ":ok", id="a keyword"),
    ],
)
def test_form(value: object, text: str) -> None:
    """EDN's own forms."""
    assert jepsen.edn(value) == text


def test_a_value_without_a_form_is_refused() -> None:
    """Nothing is written as something else."""
    with pytest.raises(TypeError, match="object"):
        jepsen.edn(object())


def test_an_operation_is_an_invocation_and_a_completion() -> None:
    """With Jepsen's keys; what was asked in the first, what was told in the second."""
    invoked, done = exported(
        made(),
        asked(1, Answer.UNKNOWN, resources={"VCPU": 2}),
        asked(1, resources={"VCPU": 2}, request="r", rev=5, stage="placed", claims=("a", "b")),
    )
    wish = {
        K("client"): "client-1",
        K("region"): "nyc",
        K("cell"): "nyc1",
        K("resources"): {"VCPU": 2},
        K("count"): 1,
    }
    assert invoked == {
        K("type"): K("invoke"),
        K("process"): 0,
        K("f"): K("claim"),
        K("value"): {**wish, K("request"): None},
        K("time"): 0,
        K("index"): 0,
    }
    assert done == {
        K("type"): K("ok"),
        K("process"): 0,
        K("f"): K("claim"),
        K("value"): {
            **wish,
            K("request"): "r",
            K("revision"): 5,
            K("stage"): K("placed"),
            K("claims"): ["a", "b"],
        },
        # 800 microseconds, in nanoseconds.
        K("time"): 800_000,
        K("index"): 1,
    }


@pytest.mark.parametrize(
    ("outcome", "type_"),
    [
        pytest.param(Answer.OK, "ok", id="ok"),
        pytest.param(Answer.REFUSED, "fail", id="refused is fail"),
        pytest.param(Answer.UNKNOWN, "info", id="unknown is info"),
    ],
)
def test_outcomes(outcome: Answer, type_: str) -> None:
    """What did not happen is told from what may have."""
    done = exported(asked(1, outcome, code="why"))[1]
    assert done[K("type")] == K(type_)
    assert done.get(K("error")) == (None if outcome is Answer.OK else "why")


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["c1", "c2"]),
        st.integers(0, 40),
        st.integers(0, 10),
        st.sampled_from(Answer),
        st.sampled_from(OperationKind),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(OPERATIONS)
def test_a_process_has_one_operation_at_a_time(
    drawn: list[tuple[str, int, int, Answer, OperationKind]],
) -> None:
    """As Jepsen's checkers want it: invoke, completion, invoke, …; nothing after an :info; times and
    indices grow; and nothing is lost."""
    operations = [
        Operation(
            process=client,
            number=number,
            kind=kind,
            cell="nyc1",
            outcome=outcome,
            started_us=start,
            ended_us=start + length,
        )
        for number, (client, start, length, outcome, kind) in enumerate(drawn)
    ]
    entries = exported(*operations)
    assert [entry[K("index")] for entry in entries] == list(range(2 * len(drawn)))
    times = [entry[K("time")] for entry in entries]
    assert times == sorted(times)
    under_way: dict[int, Keyword] = {}
    dead: set[int] = set()
    for entry in entries:
        process, type_ = entry[K("process")], entry[K("type")]
        assert process not in dead
        if type_ == K("invoke"):
            assert process not in under_way
            under_way[process] = entry[K("f")]
        else:
            assert under_way.pop(process) == entry[K("f")]
        if type_ == K("info"):
            dead.add(process)
    assert not under_way
