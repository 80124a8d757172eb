"""Reading histories: whatever is wrong with a file is told, and the rest of it is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer.checker import files
from placer.errors import InvalidInput
from placer.history import Answer, Event, HistoryWriter, WriteOutcome
from placer.model.service import Service, ServiceKind

from .story import asked, made, told, wrote

EVENTS: list[Event] = [made(), told("a"), wrote(100), told("b")]


def written(directory: Path, *, close: bool = True, process: str = "scheduler-1") -> Path:
    writer = HistoryWriter(directory, process)
    for event in EVENTS:
        writer.add(event)
    if close:
        writer.close()
    return next(directory.glob(f"{process}*.jsonl"))


def test_what_a_writer_wrote_is_read_back(tmp_path: Path) -> None:
    """Every event survives the file; the end says that it is one."""
    path = written(tmp_path)
    assert files.read(path) == (EVENTS, 0)
    counts = files.load([path]).counts
    assert (counts.files, counts.lines, counts.closed, counts.damaged) == (1, 5, 1, 0)


def test_file_that_is_still_written_is_whole(tmp_path: Path) -> None:
    """A process that runs has not closed its history; nothing is wrong with it."""
    loaded = files.load([written(tmp_path, close=False)])
    assert loaded.events == EVENTS
    assert (loaded.damage, loaded.counts.closed) == ([], 0)


def test_torn_last_line_is_told(tmp_path: Path) -> None:
    """A killed process leaves half a line; the rest of its file counts."""
    path = written(tmp_path, close=False)
    path.write_bytes(path.read_bytes() + b'{"n":5,"type":"write","pro')
    assert files.read(path) == (EVENTS, 1)
    assert "breaks off after 26 bytes" in files.load([path]).damage[0]


@pytest.mark.parametrize("number", range(1, 6))
def test_line_that_is_taken_out_is_missed(tmp_path: Path, number: int) -> None:
    """Whichever it is: the numbers say so, or the file is not closed any more."""
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[: number - 1] + lines[number:]))
    loaded = files.load([path])
    assert loaded.damage or not loaded.counts.closed
    assert bool(loaded.damage) == (number < 5)
    if number < 5:
        assert f"line {number} is missing" in loaded.damage[0]
        with pytest.raises(InvalidInput, match="missing"):
            files.read(path)


def test_several_lines_that_are_taken_out_are_named(tmp_path: Path) -> None:
    """From which to which."""
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[3] + lines[4])
    assert "lines 2 to 3 are missing" in files.load([path]).damage[0]


def test_line_that_is_there_twice_is_told(tmp_path: Path) -> None:
    """Its number says that it was there before."""
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[1], *lines[2:]]))
    assert "line 3 says that it is line 2" in files.load([path]).damage[0]


def test_lines_that_changed_places_are_told(tmp_path: Path) -> None:
    """Order is part of what a process did."""
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], lines[2], lines[1], *lines[3:]]))
    assert files.load([path]).damage


def test_broken_line_is_told_with_its_number_and_the_rest_is_read(tmp_path: Path) -> None:
    """A line that was whole and cannot be read is not passed over, nor does it hide the others."""
    path = written(tmp_path)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[0], b"what?\n", *lines[2:]]))
    loaded = files.load([path])
    assert "line 2 cannot be read" in loaded.damage[0]
    assert loaded.events == [EVENTS[0], *EVENTS[2:]]
    assert loaded.counts.damaged == 1
    with pytest.raises(InvalidInput, match="line 2"):
        files.read(path)


def test_line_without_a_number_is_told(tmp_path: Path) -> None:
    """Written by something else than a history writer."""
    path = written(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'"n":2,', b""))
    assert "line 2 says that it is line 0" in files.load([path]).damage[0]


def test_end_that_is_followed_by_more_is_told(tmp_path: Path) -> None:
    """Two files made one."""
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + path.read_bytes())
    assert any("after the file was closed" in words for words in files.load([path]).damage)


def test_answer_before_its_question_is_told(tmp_path: Path) -> None:
    """A client's clock does not go back."""
    writer = HistoryWriter(tmp_path, "client-1")
    writer.add(asked(1, started_us=2000, ended_us=1000))
    writer.close()
    assert "answer before its question" in files.load(files.find([tmp_path])).damage[0]


def test_answer_takes_the_place_of_what_was_recorded_before(tmp_path: Path) -> None:
    """An attempt is one event, whatever became of it."""
    writer = HistoryWriter(tmp_path, "p")
    for event in (
        wrote(100, outcome=WriteOutcome.UNKNOWN),
        wrote(100),
        wrote(101, outcome=WriteOutcome.UNKNOWN),
        asked(1, Answer.UNKNOWN),
        asked(1),
        asked(2, Answer.UNKNOWN),
    ):
        writer.add(event)
    writer.close()
    assert files.load(files.find([tmp_path])).events == [
        wrote(100),
        wrote(101, outcome=WriteOutcome.UNKNOWN),
        asked(1),
        asked(2, Answer.UNKNOWN),
    ]


def test_what_was_there_before_is_told_apart(tmp_path: Path) -> None:
    """By the sizes of the files, also where a size ends within a line."""
    path = written(tmp_path)
    size = path.read_bytes().index(b"\n", path.read_bytes().index(b"\n") + 1) + 1
    for known in (size, size + 7):
        loaded = files.load([path], {path: known})
        assert loaded.events == EVENTS[:2]
        assert loaded.later == EVENTS[2:]
        assert (loaded.damage, loaded.counts.closed) == ([], 1)
    assert files.load([path], {}).later == EVENTS


def test_answer_that_came_later_leaves_the_attempt_before(tmp_path: Path) -> None:
    """When the rows were read its outcome was open: they may show it or not."""
    writer = HistoryWriter(tmp_path, "p")
    writer.add(wrote(100, outcome=WriteOutcome.UNKNOWN))
    (path,) = files.find([tmp_path])
    known = files.sizes([path])
    writer.add(wrote(100))
    loaded = files.load([path], known)
    assert loaded.events == [wrote(100, outcome=WriteOutcome.UNKNOWN)]
    assert loaded.later == [wrote(100)]


def test_pieces_of_a_long_file_are_read_as_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines are whole wherever a piece ends."""
    path = written(tmp_path)
    for size in (1, 10, 200, 1000):
        monkeypatch.setattr(files, "CHUNK_BYTES", size)
        assert files.read(path) == (EVENTS, 0)


def test_no_history_is_refused(tmp_path: Path) -> None:
    """Nothing to check is not a pass."""
    with pytest.raises(InvalidInput, match="No history"):
        files.find([tmp_path])
    with pytest.raises(InvalidInput, match="no directory"):
        files.find([tmp_path / "gone"])


def test_files_are_found_below_all_directories_once(tmp_path: Path) -> None:
    """Directories may overlap; a file counts once."""
    path = written(tmp_path / "nyc1")
    assert files.find([tmp_path, tmp_path / "nyc1"]) == [path.resolve()]


def service(name: str, **more: object) -> Service:
    fields = {"kind": ServiceKind.SCHEDULER, "cell": "nyc1", "started_ms": 1_000_000, "heard_ms": 0}
    return Service(name=name, region="nyc", version="1", **{**fields, **more})  # type: ignore[arg-type]


SINCE_US = 1_000_000_000


@pytest.mark.parametrize(
    ("opened", "known", "expected", "says"),
    [
        pytest.param([("s", SINCE_US, False)], [service("s")], [], "", id="pass: it runs"),
        pytest.param(
            [("s", SINCE_US, True)], [service("s", stopped=True)], [], "", id="pass: it stopped"
        ),
        pytest.param(
            [("s", 5, False), ("s", SINCE_US, False)],
            [service("s")],
            [],
            "",
            id="pass: it was killed and came back",
        ),
        pytest.param([], [service("s", cell="gone")], [], "", id="pass: not of these cells"),
        pytest.param(
            [], [service("s", kind=ServiceKind.API)], [], "", id="pass: an API writes none"
        ),
        pytest.param([("c", 1, True)], [], ["c"], "", id="pass: a client that is expected"),
        pytest.param([], [service("s")], [], "s of cell nyc1", id="fail: no file at all"),
        pytest.param(
            [("s", 5, True)], [service("s")], [], "since then", id="fail: only an earlier life's"
        ),
        pytest.param(
            [("s", SINCE_US, False)],
            [service("s", stopped=True)],
            [],
            "the end of its history is missing",
            id="fail: it stopped and its file is cut off",
        ),
        pytest.param([], [], ["c"], "c is said to have run", id="fail: a client that is expected"),
    ],
)
def test_missing_files(
    opened: list[tuple[str, int, bool]], known: list[Service], expected: list[str], says: str
) -> None:
    """The name service knows which schedulers ran; of clients only their starter does."""
    found = files.missing([files.Opened(*one) for one in opened], known, ["nyc1"], expected)
    assert [says in words for words in found] == ([True] if says else [])
