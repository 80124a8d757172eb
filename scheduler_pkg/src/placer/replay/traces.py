"""Published traces, read line by line: the hosts and requests of a real cluster as CSV files.

``openb``: a GPU cluster (Weng, Yang et al., "Beware of Fragmentation", USENIX ATC 2023), one file of
hosts and one of pods. ``azure``: VM arrivals in one zone (Hadary et al., "Protean", OSDI 2020; Iqbal
et al., "CoSpot", SoCC 2022), one file; cores and ram are scaled there, 100 for one vCPU and 1 for
half a GiB.
"""

from __future__ import annotations

import csv
import enum
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar

from msgspec import Struct

from placer.errors import InvalidInput
from placer.model.records import MAX_INT
from placer.replay.shapes import HostShape, RequestShape

_T = TypeVar("_T")

#: Bound on the lines of one file; above it the file is refused.
LINES_MAX: Final = 5_000_000

#: Lines skipped that are told of one by one; the rest are counted.
SKIPPED_TOLD_MAX: Final = 5


class OnBadLine(enum.StrEnum):
    """What to do about a line that cannot be read: STOP before anything is posted, or SKIP it."""

    STOP = "stop"
    SKIP = "skip"


class Parsed(Struct):
    """Rows of a trace, how many lines were skipped, and the words about the first few of them."""

    hosts: list[HostShape] = []
    requests: list[RequestShape] = []
    skipped: int = 0
    told: list[str] = []

    def skip(self, message: str) -> None:
        self.skipped += 1
        if len(self.told) < SKIPPED_TOLD_MAX:
            self.told.append(message)


def read(name: str, files: list[Path], on_bad_line: OnBadLine) -> Parsed:
    """The trace ``name`` from its files; raises InvalidInput naming file and line."""
    expected = {"openb": "HOSTS.csv PODS.csv", "azure": "VMS.csv"}
    if name not in expected:
        raise InvalidInput(f"Unknown trace {name!r}.", remedy="Known traces: azure, openb.")
    if len(files) != len(expected[name].split()):
        raise InvalidInput(
            f"The trace {name} was given {len(files)} files.",
            remedy=f"Give it as --trace {name} {expected[name]}.",
        )
    parsed = Parsed()
    if name == "openb":
        parsed.hosts = openb_hosts(files[0], on_bad_line, parsed)
        parsed.requests = _openb_pods(files[1], on_bad_line, parsed)
    else:
        parsed.requests = _azure_vms(files[0], on_bad_line, parsed)
    if not parsed.requests:
        raise InvalidInput(f"{files[-1]} holds no request.", remedy="Give a file with rows.")
    return parsed


def openb_hosts(path: Path, on_bad_line: OnBadLine, parsed: Parsed) -> list[HostShape]:
    """Hosts of an openb file: columns cpu_milli, memory_mib, gpu, model."""

    def host(row: dict[str, str]) -> HostShape:
        gpus = _whole(row, "gpu", least=0)
        model = row["model"].strip()
        if bool(gpus) != bool(model):
            raise ValueError("gpu and model do not go together")
        return HostShape(
            percent=1.0,
            vcpus=_whole(row, "cpu_milli", least=1000) // 1000,
            memory_mib=_whole(row, "memory_mib", least=1),
            gpus=gpus,
            model=model,
        )

    columns = ("cpu_milli", "memory_mib", "gpu", "model")
    return list(_rows(path, columns, host, on_bad_line, parsed))


def _openb_pods(path: Path, on_bad_line: OnBadLine, parsed: Parsed) -> list[RequestShape]:
    def pod(row: dict[str, str]) -> RequestShape:
        gpus = _whole(row, "num_gpu", least=0)
        milli = _whole(row, "gpu_milli", least=0)
        if milli > 1000 or (gpus == 1) > (milli > 0):
            raise ValueError(f"gpu_milli is {milli} of num_gpu {gpus}")
        return RequestShape(
            percent=1.0,
            vcpus=math.ceil(_whole(row, "cpu_milli", least=1) / 1000),
            memory_mib=_whole(row, "memory_mib", least=0),
            gpu_milli=milli if gpus == 1 else gpus * 1000,
        )

    columns = ("cpu_milli", "memory_mib", "num_gpu", "gpu_milli")
    return list(_rows(path, columns, pod, on_bad_line, parsed))


def _azure_vms(path: Path, on_bad_line: OnBadLine, parsed: Parsed) -> list[RequestShape]:
    """In order of arrival, as the file may not be."""

    def vm(row: dict[str, str]) -> tuple[float, RequestShape]:
        start, end = _number(row, "starttime"), _number(row, "endtime")
        if math.isinf(start) or end < start:
            raise ValueError("endtime is before starttime")
        cores, ram = _number(row, "cores", above=0.0), _number(row, "ram", above=0.0)
        if max(cores, ram * 512) > MAX_INT:
            raise ValueError("cores or ram is out of range")
        shape = RequestShape(
            percent=1.0, vcpus=math.ceil(cores / 100), memory_mib=math.ceil(ram * 512)
        )
        return start, shape

    columns = ("cores", "ram", "starttime", "endtime")
    arrivals = sorted(_rows(path, columns, vm, on_bad_line, parsed), key=lambda pair: pair[0])
    return [shape for _, shape in arrivals]


def _rows(
    path: Path,
    columns: tuple[str, ...],
    convert: Callable[[dict[str, str]], _T],
    on_bad_line: OnBadLine,
    parsed: Parsed,
) -> Iterator[_T]:
    """Each row of ``path`` converted. A header without ``columns`` is wrong in either mode."""
    try:
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            reader = csv.DictReader(file, restval="")
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InvalidInput(
                    f"{path}, line 1: the header lacks {', '.join(missing)}.",
                    remedy="Give the trace's own file, with its header line.",
                )
            yield from _converted(path, reader, convert, on_bad_line, parsed)
    except OSError as error:
        raise InvalidInput(
            f"Cannot read the trace {path}: {error.strerror}.", remedy="Check the path."
        ) from error


def _converted(
    path: Path,
    reader: csv.DictReader[str],
    convert: Callable[[dict[str, str]], _T],
    on_bad_line: OnBadLine,
    parsed: Parsed,
) -> Iterator[_T]:
    while True:
        try:
            row = next(reader, None)
            if row is None:
                return
            if reader.line_num > LINES_MAX:
                raise InvalidInput(f"{path} has more than {LINES_MAX:,} lines.")
            if None in row:
                raise ValueError("it has more fields than the header")
            yield convert(row)
        except (ValueError, csv.Error) as error:
            message = f"{path}, line {reader.line_num}: {error}"
            if on_bad_line is OnBadLine.STOP:
                raise InvalidInput(
                    f"{message}.",
                    remedy="Mend the line, or leave such lines out with --on-bad-line skip.",
                ) from error
            parsed.skip(message)


def _number(row: dict[str, str], column: str, above: float = -math.inf) -> float:
    try:
        value = float(row[column])
    except ValueError:
        raise ValueError(f"{column} is {row[column]!r}, not a number") from None
    if math.isnan(value) or value <= above:
        raise ValueError(f"{column} is {row[column]}")
    return value


def _whole(row: dict[str, str], column: str, least: int) -> int:
    text = row[column].strip()
    try:
        value = int(text)
    except ValueError:
        raise ValueError(f"{column} is {text!r}, not a whole number") from None
    if not least <= value <= MAX_INT:
        raise ValueError(f"{column} is {value}")
    return value
