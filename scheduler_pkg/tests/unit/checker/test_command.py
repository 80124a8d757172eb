"""``placer check`` from its settings to its exit code, with the store's rows put in its place."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from placer import store
from placer.cli import main
from placer.history import Answer, Event, HistoryWriter, WriteOutcome
from placer.model.records import ClaimState, HostRow
from placer.model.service import Service, ServiceKind

from . import edn
from .story import asked, claim, final, made, told, wrote

SETTINGS = """
process = "check"
cell = "nyc1"
service_token_file = "/none"

[cluster]
deployment = "test"
cells = [{ name = "nyc1", region = "nyc", datacenter = "nyc1", contact_points = ["127.0.0.1"] }]

[store]
username = "check"
password_file = "/none"
"""

A = claim("a", state=ClaimState.BUILT)
#: The same, asked for by operation 1.
LOST = msgspec.structs.replace(A, trace="trace-1")


class Services:
    """A name service that knows these processes."""

    def __init__(self, *known: Service) -> None:
        self._known = list(known)

    async def all(self) -> list[Service]:
        return self._known


class Rows:
    """A store of one cell that gives these rows, the last of them again and again."""

    def __init__(self, *readings: HostRow, services: tuple[Service, ...] = ()) -> None:
        self._readings = list(readings)
        self.services = Services(*services)
        #: What a serial read gives, if that is something else; and of which hosts it was asked.
        self.settled: HostRow | None = None
        self.serial_reads: list[str] = []

    async def cell(self, name: str) -> Rows:
        assert name == "nyc1"
        return self

    async def scan_rows(self) -> AsyncIterator[HostRow]:
        yield self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]

    async def read_row(self, host: str, *, serial: bool) -> HostRow | None:
        assert serial
        self.serial_reads.append(host)
        return self.settled or self._readings[-1]

    async def close(self) -> None:
        pass


def run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    events: list[Event],
    rows: Rows,
    *more: str | Path,
    damage: bytes = b"",
) -> tuple[int, Path]:
    """The exit code, and where the verdict is; ``damage`` is put at the end of the history."""

    async def open_cells(settings: object) -> Rows:
        return rows

    monkeypatch.setattr(store, "open_cells", open_cells)
    monkeypatch.setattr("gc.disable", lambda: None)
    settings, out = tmp_path / "placer.toml", tmp_path / "check.json"
    settings.write_text(SETTINGS)
    writer = HistoryWriter(tmp_path / "history", "scheduler-1")
    for event in events:
        writer.add(event)
    if damage:
        (path,) = (tmp_path / "history").iterdir()
        path.write_bytes(path.read_bytes() + damage)
    else:
        writer.close()
    words = ["--settings", settings, "--history", tmp_path / "history", "--settle-s", "1", *more]
    with pytest.raises(SystemExit) as ended:
        main.run(["check", *map(str, words), "--out", str(out)])
    assert isinstance(ended.value.code, int)
    return ended.value.code, out


def test_proved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 0, and the verdict as JSON."""
    events: list[Event] = [made(), wrote(100, A), told("a")]
    code, out = run(tmp_path, monkeypatch, events, Rows(final(101, A).row))
    assert code == 0
    verdict = json.loads(out.read_bytes())
    assert verdict["verdict"] == "passed"
    assert verdict["revisions_checked"] == 2
    assert verdict["cells"] == {"nyc1": "nyc"}
    assert verdict["claims"]["built"] == 1


def test_violated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 1, the story on stderr, and the verdict is written all the same."""
    events: list[Event] = [made(), wrote(100, A), told("a"), told("b")]
    code, out = run(tmp_path, monkeypatch, events, Rows(final(101, A).row))
    assert code == 1
    assert json.loads(out.read_bytes())["violations"][0]["kind"] == "lost_claim"
    assert "claim b" in capsys.readouterr().err


def test_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3: not proved, not broken."""
    code, out = run(tmp_path, monkeypatch, [made()], Rows(final(101, A).row))
    assert code == 3
    assert json.loads(out.read_bytes())["verdict"] == "incomplete"


def test_waits_for_what_is_being_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rows are read again while an agent is at work, so that built means built."""
    monkeypatch.setattr("placer.checker.final.SETTLE_EVERY_S", 0.0)
    building = claim("a", state=ClaimState.BUILDING)
    events: list[Event] = [made(), wrote(100, building), wrote(101, A), told("a")]
    rows = Rows(final(101, building).row, final(102, A).row)
    code, out = run(tmp_path, monkeypatch, events, rows)
    assert code == 0
    assert json.loads(out.read_bytes())["claims"]["built"] == 1


@pytest.mark.parametrize(
    ("settled", "happened"),
    [
        pytest.param(final(100).row, False, id="it is dead"),
        pytest.param(final(101, LOST).row, True, id="a replica had accepted it: it is finished"),
    ],
)
def test_write_that_may_yet_apply_is_settled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settled: HostRow, happened: bool
) -> None:
    """A write without an answer that found the last revision: a serial read says what became of it."""
    rows = Rows(final(100).row)
    rows.settled = settled
    events: list[Event] = [
        made(),
        wrote(100, LOST, outcome=WriteOutcome.UNKNOWN),
        asked(1, Answer.UNKNOWN),
    ]
    code, out = run(tmp_path, monkeypatch, events, rows)
    verdict = json.loads(out.read_bytes())
    assert (code, verdict["verdict"]) == (0, "passed")
    assert rows.serial_reads == ["h1"]
    assert verdict["outcomes_open"] == 0
    assert (verdict["clients"]["happened"], verdict["clients"]["nothing"]) == (
        int(happened),
        int(not happened),
    )


def test_rows_that_cannot_be_read_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 5, not 1: nothing is said of the guarantees."""

    class Slow(Rows):
        async def cell(self, name: str) -> Rows:
            await asyncio.sleep(60)
            return self

    rows = Slow(final(101, A).row)
    code, _ = run(tmp_path, monkeypatch, [made(), wrote(100, A)], rows, "--deadline-s", "1")
    assert code == 5
    assert "--deadline-s" in capsys.readouterr().err


def test_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to check is bad input, not a pass."""
    (tmp_path / "history").mkdir()
    settings = tmp_path / "placer.toml"
    settings.write_text(SETTINGS)
    words = ["--settings", str(settings), "--history", str(tmp_path / "history"), "--out", "x"]
    with pytest.raises(SystemExit) as ended:
        main.run(["check", *words])
    assert ended.value.code == 2


GOOD: list[Event] = [made(), wrote(100, A), told("a"), asked(1, request="for-a", claims=("a",))]


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        pytest.param(b'{"n":5,"ty', "its last line breaks off after 10 bytes", id="torn line"),
        pytest.param(b"what?\n", "line 5 cannot be read", id="broken line"),
        pytest.param(
            b'{"n":7,"type":"closed","process":"scheduler-1","events":6}\n',
            "lines 5 to 6 are missing",
            id="lines taken out",
        ),
    ],
)
def test_damaged_history_is_incomplete(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    damage: bytes,
    says: str,
) -> None:
    """Exit 3, with the file and the place, though all that can be read is right."""
    code, out = run(tmp_path, monkeypatch, GOOD, Rows(final(101, A).row), damage=damage)
    assert code == 3
    assert json.loads(out.read_bytes())["verdict"] == "incomplete"
    said = capsys.readouterr().err
    assert says in said
    assert "scheduler-1-" in said


def test_damage_does_not_hide_a_violation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 1: what the rest shows is found all the same."""
    events = [*GOOD, told("b")]
    code, _ = run(tmp_path, monkeypatch, events, Rows(final(101, A).row), damage=b"what?\n")
    assert code == 1


def test_scheduler_without_a_history_is_missed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 3: the name service knows a process that left no file."""
    other = Service(
        name="nyc1-scheduler-2",
        kind=ServiceKind.SCHEDULER,
        region="nyc",
        cell="nyc1",
        version="1",
        started_ms=1,
        heard_ms=1,
    )
    rows = Rows(final(101, A).row, services=(other,))
    code, out = run(tmp_path, monkeypatch, GOOD, rows)
    assert code == 3
    assert json.loads(out.read_bytes())["files"]["missing"] == 1
    assert "nyc1-scheduler-2" in capsys.readouterr().err


def test_client_that_is_expected_is_missed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit 3 without it, 0 with it: only who started a client knows that it ran."""
    rows = Rows(final(101, A).row)
    assert run(tmp_path, monkeypatch, GOOD, rows, "--expect", "client-1")[0] == 3
    HistoryWriter(tmp_path / "history", "client-1").close()
    next(tmp_path.glob("history/scheduler-1-*")).unlink()
    assert run(tmp_path, monkeypatch, GOOD, rows, "--expect", "client-1")[0] == 0


def test_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What clients did, as EDN, beside the verdict."""
    file = tmp_path / "history.edn"
    rows = Rows(final(101, A).row)
    code, _ = run(tmp_path, monkeypatch, GOOD, rows, "--export", "jepsen", file)
    assert code == 0
    invoked, done = map(edn.read, file.read_text().splitlines())
    type_ = edn.Keyword("type")
    assert (invoked[type_], done[type_]) == (edn.Keyword("invoke"), edn.Keyword("ok"))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--export", "porcupine", "x"), "porcupine", id="another form"),
        pytest.param(("--export", "jepsen", "/none/x"), "/none/x", id="no such folder"),
        pytest.param(("--clock-error-ms", "-1"), "clock-error-ms", id="negative clock error"),
    ],
)
def test_bad_input(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: tuple[str, ...],
    says: str,
) -> None:
    """Exit 2, and the value is named."""
    code, _ = run(tmp_path, monkeypatch, GOOD, Rows(final(101, A).row), *words)
    assert code == 2
    assert says in capsys.readouterr().err


def test_counts_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also when all is well: what was checked says what the verdict is worth."""
    run(tmp_path, monkeypatch, GOOD, Rows(final(101, A).row))
    said = capsys.readouterr().err
    assert "2 revisions of 1 hosts" in said
    assert "1 operations of clients: 1 ok" in said
    assert "1 files with 5 lines: 1 closed" in said
