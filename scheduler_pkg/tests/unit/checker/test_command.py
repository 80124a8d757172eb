"""``placer check`` from its settings to its exit code, with the store's rows put in its place."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from placer import store
from placer.cli import main
from placer.history import Event, HistoryWriter
from placer.model.records import ClaimState, HostRow
from placer.model.service import Service

from .story import claim, final, made, told, wrote

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

    async def cell(self, name: str) -> Rows:
        assert name == "nyc1"
        return self

    async def scan_rows(self) -> AsyncIterator[HostRow]:
        yield self._readings.pop(0) if len(self._readings) > 1 else self._readings[0]

    async def close(self) -> None:
        pass


def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, events: list[Event], rows: Rows
) -> tuple[int, Path]:
    async def open_cells(settings: object) -> Rows:
        return rows

    monkeypatch.setattr(store, "open_cells", open_cells)
    monkeypatch.setattr("gc.disable", lambda: None)
    settings, out = tmp_path / "placer.toml", tmp_path / "check.json"
    settings.write_text(SETTINGS)
    writer = HistoryWriter(tmp_path / "history", "scheduler-1")
    for event in events:
        writer.add(event)
    writer.close()
    words = ["--settings", str(settings), "--history", str(tmp_path / "history")]
    with pytest.raises(SystemExit) as ended:
        main.run(["check", *words, "--out", str(out)])
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
    monkeypatch.setattr("placer.cli.check._SETTLE_EVERY_S", 0.0)
    building = claim("a", state=ClaimState.BUILDING)
    events: list[Event] = [made(), wrote(100, building), wrote(101, A), told("a")]
    rows = Rows(final(101, building).row, final(102, A).row)
    code, out = run(tmp_path, monkeypatch, events, rows)
    assert code == 0
    assert json.loads(out.read_bytes())["claims"]["built"] == 1


def test_no_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to check is bad input, not a pass."""
    (tmp_path / "history").mkdir()
    settings = tmp_path / "placer.toml"
    settings.write_text(SETTINGS)
    words = ["--settings", str(settings), "--history", str(tmp_path / "history"), "--out", "x"]
    with pytest.raises(SystemExit) as ended:
        main.run(["check", *words])
    assert ended.value.code == 2
