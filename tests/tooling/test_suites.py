"""./test counts what was checked: it cannot end well when something failed or when nothing ran."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from suites import cluster
from suites.__main__ import report, staged, together
from suites.process import ROOT, run
from suites.result import Result


@pytest.mark.parametrize(
    ("results", "status", "line"),
    [
        pytest.param([Result(3, 0), Result(4, 0)], 0, "7 passed, 0 failed", id="all well"),
        pytest.param([Result(3, 0), Result(4, 1)], 1, "7 passed, 1 failed", id="one failure"),
        pytest.param([Result(3, 0), Result(0, 0)], 1, "3 passed, 1 failed", id="a suite was empty"),
        pytest.param([], 1, "0 passed, 1 failed", id="nothing ran"),
        pytest.param(
            [Result(3, 0, skipped=2)], 0, "3 passed, 0 failed, 2 skipped", id="skips are said"
        ),
    ],
)
def test_the_last_line_is_the_sum(
    results: list[Result], status: int, line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last line counts everything, and the exit status follows it."""
    assert report([(f"suite{number}", one, 1.0) for number, one in enumerate(results)]) == status
    assert capsys.readouterr().out.splitlines()[-1] == line


def test_what_failed_is_said_again_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    """A log that keeps only its end still says why: the end of what the failed suite said, and nothing of the others."""
    said = "begun\n" + "x" * 10_000 + "\nthe engine is gone\n"
    report([("first", Result(0, 1, said), 1.0), ("second", Result(9, 0, "fine\n"), 1.0)])
    out = capsys.readouterr().out
    assert all(words in out for words in ("--- first", "the engine is gone"))
    assert not any(words in out for words in ("begun", "fine"))
    assert len(out) < 4000


def test_a_broken_suite_is_a_failed_one(capsys: pytest.CaptureFixture[str]) -> None:
    """It stops none of the others and says what broke."""

    def broken(_: Sequence[str]) -> Result:
        raise FileNotFoundError("no such tool")

    rows = together({"broken": broken, "well": lambda _: Result(1, 0)}, [])
    assert {name: result.failed for name, result, _ in rows} == {"broken": 1, "well": 0}
    said = capsys.readouterr().out
    assert "FileNotFoundError: no such tool" in said
    assert "well: 1 passed, 0 failed" in said.splitlines()


def test_a_stage_that_breaks_keeps_the_earlier_ones(capsys: pytest.CaptureFixture[str]) -> None:
    """What a run knew before it broke is counted, and so is the break."""

    def stages() -> Iterator[tuple[str, Result]]:
        yield "first", Result(2, 0)
        raise RuntimeError("engine gone")

    rows = staged(stages())
    assert [(result.passed, result.failed) for _, result, _ in rows] == [(2, 0), (0, 1)]
    assert "engine gone" in capsys.readouterr().out


def test_a_command_ends_with_its_time() -> None:
    """A command that hangs is ended with everything it started, and says so."""
    started = time.monotonic()
    ended = run(["sh", "-c", "echo begun; sleep 60 & wait"], seconds=0.5)
    assert time.monotonic() - started < 10
    assert ended.status == 124
    assert ended.output.startswith("begun\nended after")


def test_an_interrupted_run_leaves_nothing_running(tmp_path: Path) -> None:
    """Ctrl-C, or the TERM of a time limit, ends what the suites started."""
    mark = tmp_path / "pid"
    script = (
        "import signal; from suites import __main__ as runner; from suites.process import run;"
        "signal.signal(signal.SIGTERM, runner.interrupted);"
        f"run(['sh', '-c', 'echo $$ >{mark}; exec sleep 60'], seconds=60)"
    )
    with subprocess.Popen([sys.executable, "-c", script], cwd=ROOT / "tests") as runner:
        deadline = time.monotonic() + 20
        while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        runner.terminate()
        assert runner.wait(timeout=20) == 130
    assert not Path(f"/proc/{mark.read_text().strip()}").exists()


@pytest.mark.parametrize("scenario", cluster.scenarios())
def test_each_action_of_a_scenario_has_a_bound(scenario: str) -> None:
    assert set(cluster.sequence(scenario)) <= set(cluster.ACTIONS)


@pytest.mark.parametrize("action", cluster.ACTIONS)
def test_each_action_is_a_command_of_molecule(action: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some have another name on the command line than in a scenario."""
    asked: list[list[str]] = []
    monkeypatch.setattr(cluster, "run", lambda command, **_: asked.append(list(command)))
    cluster._act("default", action)
    ((program, command, *_),) = asked
    assert run([program, command, "--help"], seconds=60).status == 0
