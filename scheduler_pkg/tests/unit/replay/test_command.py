"""The commands ``placer workload`` and ``placer replay`` with input that is right and wrong."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from placer.cli import main
from placer.model.messages import HostReport


def run(*words: str | Path) -> int:
    with pytest.raises(SystemExit) as ended:
        main.run([str(word) for word in words])
    code = ended.value.code
    assert isinstance(code, int)
    return code


def replay(tmp_path: Path, *words: str | Path) -> int:
    token = tmp_path / "token"
    token.write_text("secret")
    target = "nyc1=http://127.0.0.1:9"
    out = tmp_path / "replay.json"
    code = run("replay", "--target", target, "--token-file", token, "--out", out, *words)
    assert not out.exists()
    return code


def test_workload_hosts_is_what_the_agent_reads(tmp_path: Path) -> None:
    """The file is a JSON list of host reports."""
    out = tmp_path / "hosts.json"
    words = ("--cell", "ams1", "--cells", "nyc1,ams1", "--hosts", "21", "--out", out)
    assert run("workload", "hosts", *words) == 0
    reports = msgspec.json.decode(out.read_bytes(), type=list[HostReport])
    assert len(reports) == 11
    assert reports[0].name == "ams1-h0001"


def test_workload_hosts_from_a_trace(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts.csv"
    hosts.write_text("sn,cpu_milli,memory_mib,gpu,model\na,32000,262144,0,\nb,8000,1024,1,T4\n")
    out = tmp_path / "hosts.json"
    words = ("--cell", "c1", "--cells", "c1", "--out", out, "--trace", "openb", hosts)
    assert run("workload", "hosts", *words) == 0
    assert len(json.loads(out.read_bytes())) == 2


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(("--cell", "fra1", "--cells", "nyc1"), id="cell that is not one of them"),
        pytest.param(("--cell", "c", "--cells", "c", "--hosts", "0"), id="no hosts"),
        pytest.param(("--cell", "c", "--cells", "c", "--trace", "azure"), id="trace of no hosts"),
    ],
)
def test_workload_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert run("workload", "hosts", *words, "--out", tmp_path / "out.json") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_broken_trace_stops_before_anything_is_posted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """File and line are named. Nothing listens on the target: it was not even asked."""
    vms = tmp_path / "vms.csv"
    vms.write_text("cores,ram,starttime,endtime\n100,1,0,1\n-100,1,0,1\n")
    assert replay(tmp_path, "--trace", "azure", vms) == 2
    assert "vms.csv, line 3" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        pytest.param(("--target", "nonsense"), "nonsense", id="target without an address"),
        pytest.param(("--target", "nyc1=http://h"), "two targets", id="one cell twice"),
        pytest.param(("file.csv",), "without a trace", id="file but no trace"),
        pytest.param(("--trace", "azure"), "0 files", id="trace but no file"),
        pytest.param(("--requests", "0"), "requests", id="no requests"),
        pytest.param(("--concurrency", "-1"), "concurrency", id="negative concurrency"),
    ],
)
def test_replay_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str
) -> None:
    assert replay(tmp_path, *words) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said


def test_no_api_at_the_target(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names the cell and the address, and what to do."""
    monkeypatch.setattr("placer.replay.runner.READY_S", 0.0)
    assert replay(tmp_path) == 1
    said = capsys.readouterr().err
    assert "nyc1" in said
    assert "127.0.0.1:9" in said
