"""Writing histories: whole lines, numbered; clients' operations with their answers."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from placer import tracing
from placer.history import Answer, ClientHistory, Ended, HistoryWriter, OperationKind, steady_us


def ended(number: int) -> Ended:
    return Ended(process="p", cell="c", host="h", claim=str(number), how="released", at_us=number)


def lines(directory: Path) -> list[dict[str, object]]:
    (path,) = directory.iterdir()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_lines_are_numbered_and_the_end_counts_them(tmp_path: Path) -> None:
    """From 1, in the order of writing; the last line says how many are before it."""
    writer = HistoryWriter(tmp_path, "p")
    for number in range(3):
        writer.add(ended(number))
    writer.close()
    written = lines(tmp_path)
    assert [line["n"] for line in written] == [1, 2, 3, 4]
    assert [line["type"] for line in written] == ["ended"] * 3 + ["closed"]
    assert written[-1]["events"] == 3


def test_nothing_is_written_after_the_end(tmp_path: Path) -> None:
    """An event that comes too late is no longer this process's."""
    writer = HistoryWriter(tmp_path, "p")
    writer.close()
    writer.add(ended(1))
    writer.close()
    assert [line["type"] for line in lines(tmp_path)] == ["closed"]


def test_threads_share_a_history(tmp_path: Path) -> None:
    """Every line is whole and has a number of its own."""
    writer = HistoryWriter(tmp_path, "p")

    def add(first: int) -> None:
        for number in range(first, first + 200):
            writer.add(ended(number))

    threads = [threading.Thread(target=add, args=(n * 1000,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    writer.close()
    written = lines(tmp_path)
    assert [line["n"] for line in written] == list(range(1, 802))
    assert len({line["claim"] for line in written[:-1]}) == 800


def test_operation_is_recorded_before_and_after(tmp_path: Path) -> None:
    """Whoever is killed in between leaves an unknown outcome, under a trace id that can be found."""
    history = ClientHistory(tmp_path, "c")
    operation = history.sent(OperationKind.CLAIM, "nyc1", region="nyc", resources={"VCPU": 1})
    (sent,) = lines(tmp_path)
    assert (sent["outcome"], sent["number"], sent["region"]) == ("unknown", 1, "nyc")
    assert tracing.given_in(tracing.header(operation.trace)) == sent["trace"]
    history.answered(operation, Answer.OK, request="r", claims=("a",))
    done = lines(tmp_path)[1]
    assert (done["outcome"], done["number"], done["claims"]) == ("ok", 1, ["a"])
    assert done["ended_us"] >= sent["started_us"] == done["started_us"]  # type: ignore[operator]
    assert history.sent(OperationKind.READ, "nyc1").number == 2


def test_steady_time_does_not_follow_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that is set back five minutes changes nothing."""
    before = steady_us()
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() - 300 * 10**9)
    assert before <= steady_us() < before + 60_000_000
