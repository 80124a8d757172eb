"""History files: JSON lines, one file a process and start, found below the directories given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from placer.errors import InvalidInput
from placer.history import Event

SUFFIX: Final = "*.jsonl"

_DECODER: Final = msgspec.json.Decoder(Event)


def find(directories: Sequence[Path]) -> list[Path]:
    """All history files below ``directories``, each once; raises InvalidInput if there is none."""
    for directory in directories:
        if not directory.is_dir():
            raise InvalidInput(
                f"There is no directory {directory}.", remedy="Give it with --history."
            )
    found = sorted({path.resolve() for d in directories for path in d.rglob(SUFFIX)})
    if not found:
        raise InvalidInput(
            f"No history ({SUFFIX}) below {', '.join(map(str, directories))}.",
            remedy="Set history.dir in the settings of every process, and run a workload.",
        )
    return found


def read(path: Path) -> tuple[list[Event], int]:
    """Events of one file, and 1 if its last line was torn off when the process was killed.

    Raises InvalidInput naming file and line for any other line that cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidInput(f"Cannot read the history {path}: {error.strerror}.") from error
    whole, _, torn = content.rpartition(b"\n")
    try:
        events: list[Event] = _DECODER.decode_lines(whole)
    except msgspec.DecodeError:
        raise _broken_line(path, whole) from None
    return events, int(bool(torn))


def _broken_line(path: Path, content: bytes) -> InvalidInput:
    for number, line in enumerate(content.split(b"\n"), start=1):
        try:
            _DECODER.decode(line)
        except msgspec.DecodeError as error:
            return InvalidInput(
                f"{path}, line {number}: {error}.",
                remedy="The file was changed, or is of another version; check without it.",
            )
    return InvalidInput(f"{path} cannot be read as a history.")
