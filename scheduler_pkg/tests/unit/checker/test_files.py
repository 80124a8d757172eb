"""Reading histories: torn last lines are counted, anything else that is broken is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from placer.checker import files
from placer.errors import InvalidInput
from placer.history import HistoryWriter

from .story import made, told


def written(directory: Path) -> Path:
    writer = HistoryWriter(directory, "scheduler-1")
    writer.add(made())
    writer.add(told("a"))
    writer.close()
    return next(directory.glob("*.jsonl"))


def test_what_a_writer_wrote_is_read_back(tmp_path: Path) -> None:
    """Every event survives the file."""
    assert files.read(written(tmp_path)) == ([made(), told("a")], 0)


def test_torn_last_line_is_counted(tmp_path: Path) -> None:
    """A killed process leaves half a line; the rest of its file counts."""
    path = written(tmp_path)
    path.write_bytes(path.read_bytes() + b'{"type":"write","pro')
    assert files.read(path) == ([made(), told("a")], 1)


def test_broken_line_is_refused_with_its_number(tmp_path: Path) -> None:
    """A line that was whole and cannot be read is not passed over."""
    path = written(tmp_path)
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([lines[0], b"what?", lines[1], b""]))
    with pytest.raises(InvalidInput, match="line 2"):
        files.read(path)


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
