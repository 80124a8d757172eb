"""What ends a fault whose maker is gone: a small process of its own, and a note that it goes by.

A fault that only a later call would heal stays for ever when that call is never made. So with each such
fault a note is written (<run directory>/faults/<id>.json) and a guard started, detached, which waits for
the fault's time to be over and then heals it by the same code as everybody. When the note is gone the
fault was healed, and the guard ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from faults.errors import FaultError

TESTS = Path(__file__).resolve().parents[1]
LOOK_S = 0.5
SECONDS_MAX = 86_400.0


@dataclass(frozen=True)
class Note:
    """A fault that is on: which, of whom, until when (Unix time), and what else its healing needs."""

    id: str
    kind: str
    target: str
    what: str
    until: float
    more: dict[str, str] = field(default_factory=dict)


def notes(folder: Path) -> Iterator[Note]:
    """Every note in the folder; one that cannot be read is reported, as its fault is still on."""
    for path in sorted(folder.glob("*.json")):
        try:
            yield Note(**json.loads(path.read_text()))
        except FileNotFoundError:
            continue
        except (ValueError, TypeError) as wrong:
            raise FaultError(f"{path} is no note of a fault: {wrong}.", "Remove it.") from None


def write(folder: Path, note: Note) -> None:
    """Put the note in its place, whole or not at all; one of the same id is replaced."""
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f"{note.id}.part"
    part.write_text(json.dumps(asdict(note)))
    part.replace(folder / f"{note.id}.json")


def drop(folder: Path, note_id: str) -> None:
    (folder / f"{note_id}.json").unlink(missing_ok=True)


def read(folder: Path, note_id: str) -> Note | None:
    with contextlib.suppress(FileNotFoundError):
        return Note(**json.loads((folder / f"{note_id}.json").read_text()))
    return None


def bounded(seconds: float) -> float:
    """``seconds`` from now, in Unix time; raises FaultError for what is no bound."""
    if not 0 < seconds <= SECONDS_MAX:
        raise FaultError(
            f"A fault of {seconds:g} s.", f"Choose more than 0 and up to {SECONDS_MAX:g} seconds."
        )
    return time.time() + seconds


def post(folder: Path, deployment: str, note_id: str) -> None:
    """Start the guard of a note. It has a session of its own and outlives this process."""
    command = [sys.executable, "-m", "faults", "--deployment", deployment, "guard", note_id]
    subprocess.Popen(
        [*command[:3], "--run-dir", str(folder.parent), *command[3:]],
        env={**os.environ, "PYTHONPATH": f"{TESTS}", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def wait(folder: Path, note_id: str) -> Note | None:
    """Wait until the note's time is over; None when it was taken away, as the fault was healed."""
    while (note := read(folder, note_id)) is not None:
        left = note.until - time.time()
        if left <= 0:
            return note
        time.sleep(min(left, LOOK_S))
    return None
