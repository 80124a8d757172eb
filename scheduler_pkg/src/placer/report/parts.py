"""The parts of a run as files in ``DIR/parts``: as much of each as the report reads.

Each is written by the step that measured it. ``replay``, ``check`` and ``cluster`` are needed; the
others are left out where there is nothing to measure (no WAN delay on real networks).
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, TypeVar

import msgspec
from msgspec import Struct

from placer.errors import InvalidInput, NotFound

_T = TypeVar("_T")


class Times(Struct, frozen=True):
    """Percentiles in milliseconds by nearest rank; None where nothing was measured."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0


class PairTimes(Struct, frozen=True, rename={"from_cell": "from", "to_cell": "to"}):
    from_cell: str
    to_cell: str
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0


class WarmUp(Struct, frozen=True):
    requests: int
    placed: int
    seconds: float


class Race(Struct, frozen=True):
    cell: str
    host: str
    contenders: int
    winners: int


class Burst(Struct, frozen=True):
    cell: str
    host: str
    requests: int
    placed: int
    seconds: float
    claims_per_second: float
    claim_ms: Times = Times()


class KindTally(Struct, frozen=True):
    """Requests of one kind (plain, gpu, gpu_by_trait, whole_host, impossible) by how they ended."""

    requests: int
    placed: int
    refused: int = 0
    errors: int = 0


class Replay(Struct, frozen=True):
    """``placer replay --out``."""

    workload: str
    requests: int
    concurrency: int
    placed: int
    refused: dict[str, int]
    errors: int
    claims_per_second: float
    conflicts_per_success: float | None
    local_ms: Times
    cross_cell: list[PairTimes]
    seconds: float
    refused_because: dict[str, int] = {}
    error_codes: dict[str, int] = {}
    local_by_cell: dict[str, Times] = {}
    by_kind: dict[str, KindTally] = {}
    warm_up: WarmUp | None = None
    race: Race | None = None
    burst: Burst | None = None


class Claims(Struct, frozen=True):
    acknowledged: int
    built: int
    pending: int
    expired: int
    released: int
    lost: int = 0
    undecided: int = 0


class Story(Struct, frozen=True):
    story: str


class Check(Struct, frozen=True):
    """``placer check --out``."""

    verdict: str
    double_bookings: int
    revisions_checked: int
    hosts_checked: int
    claims: Claims
    booked: dict[str, dict[str, float]]
    cells: dict[str, str]
    violations: list[Story] = []
    violations_total: int = 0
    incomplete: list[Story] = []
    hosts_incomplete: int = 0


class Node(Struct, frozen=True):
    """A Cassandra node; ``status`` is NORMAL when all others see it up and joined."""

    name: str
    dc: str
    rack: str
    address: str
    status: str


class Cluster(Struct, frozen=True):
    """The nodes, written by the deployment's health gate."""

    nodes: list[Node]
    nodes_up: int


class RoundTrip(Struct, frozen=True, rename={"from_region": "from", "to_region": "to"}):
    from_region: str
    to_region: str
    configured: float | None = None
    measured: float | None = None


class Wan(Struct, frozen=True):
    """The delay between regions and what was measured of it, written by the role wan."""

    backend: str
    rtt_ms: list[RoundTrip] = []


class Seconds(Struct, frozen=True):
    """How long the steps of the deployment took; None for a step that was not run."""

    image: float | None = None
    cluster: float | None = None
    services: float | None = None
    replay: float | None = None
    total: float | None = None


class Parts(Struct, frozen=True):
    replay: Replay
    check: Check
    cluster: Cluster
    wan: Wan
    seconds: Seconds


#: What to run when a needed part is missing.
_REMEDIES: Final = {
    "replay": "Run the workload: placer replay --out {path} (./demo does it).",
    "check": "Run the check: placer check --out {path} (./demo does it).",
    "cluster": "Deploy: playbooks/deploy.yml writes {path} (./demo does it).",
}


def read(run_dir: Path) -> Parts:
    """The parts below ``run_dir``; raises NotFound or InvalidInput saying what to do."""
    directory = run_dir / "parts"
    return Parts(
        replay=_needed(directory, "replay", Replay),
        check=_needed(directory, "check", Check),
        cluster=_needed(directory, "cluster", Cluster),
        wan=_optional(directory, "wan", Wan) or Wan(backend="none"),
        seconds=_optional(directory, "seconds", Seconds) or Seconds(),
    )


def _needed(directory: Path, name: str, kind: type[_T]) -> _T:
    part = _optional(directory, name, kind)
    if part is None:
        path = directory / f"{name}.json"
        raise NotFound(
            f"The report needs {path}, which is not there.",
            remedy=_REMEDIES[name].format(path=path),
        )
    return part


def _optional(directory: Path, name: str, kind: type[_T]) -> _T | None:
    path = directory / f"{name}.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInput(f"Cannot read {path}: {error.strerror}.") from error
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"{path} cannot be used: {error}.",
            remedy="Delete it and run the step that writes it again.",
        ) from error
