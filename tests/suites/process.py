"""Commands with a bound: what they print, how they ended, and never a process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: exit status (124 when its time was up) and everything it printed."""

    status: int
    output: str


def run(
    command: Sequence[str],
    *,
    seconds: float,
    live: bool = False,
    env: Mapping[str, str] | None = None,
    cwd: Path = ROOT,
) -> Ended:
    """Run ``command`` for at most ``seconds``; ``live`` also prints while it runs.

    It gets a session of its own, so that at the end of its time all it started ends with it.
    """
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    timed_out = threading.Event()

    def stop() -> None:
        timed_out.set()
        _signal_group(process, signal.SIGTERM)
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)

    timer = threading.Timer(seconds, stop)
    timer.start()
    lines: list[str] = []
    try:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if live:
                sys.stdout.write(line)
                sys.stdout.flush()
        status = process.wait()
    except BaseException:
        _signal_group(process, signal.SIGINT)
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)
        raise
    finally:
        timer.cancel()
    if timed_out.is_set():
        lines.append(f"ended after {seconds:.0f} s: {' '.join(command)}\n")
        return Ended(124, "".join(lines))
    return Ended(status, "".join(lines))


def _signal_group(process: subprocess.Popen[str], number: signal.Signals) -> None:
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return


def tracked(*patterns: str) -> list[str]:
    """Files of the repository that match, committed or new, without what git ignores."""
    listed = run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns],
        seconds=30,
    )
    return sorted({name for name in listed.output.splitlines() if (ROOT / name).is_file()})
