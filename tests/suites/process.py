"""Commands with a bound: what they print, how they ended, and never a process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# What runs now, so that an interrupted run can end it: each is in a session of its own, which Ctrl-C does not reach.
_running: set[subprocess.Popen[str]] = set()


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
    _running.add(process)
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
    finally:
        timer.cancel()
        _running.discard(process)
    if timed_out.is_set():
        lines.append(f"ended after {seconds:.0f} s: {' '.join(command)}\n")
        return Ended(124, "".join(lines))
    return Ended(status, "".join(lines))


def end_all(seconds: float = 30) -> None:
    """End every command that runs, and what those started: asked first, after ``seconds`` by force."""
    left = list(_running)
    for process in left:
        _signal_group(process, signal.SIGINT)
    deadline = time.monotonic() + seconds
    for process in left:
        try:
            process.wait(timeout=max(deadline - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            _signal_group(process, signal.SIGKILL)


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
