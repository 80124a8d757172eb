"""Directed paths between regions: what delays, drops or cuts a packet, whatever the back end.

An RTT is configured for a pair of regions; a packet crosses one direction. Half of the RTT is the
delay of each direction unless the direction says otherwise.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from placer_wan.disturbances import DISTURBANCES_MAX, Disturbance, Pair, without
from placer_wan.errors import WanError

DELAY_MAX_MS = 10_000.0
"""A longer delay is a cut in all but name, and would fill the queue of held packets."""


@dataclass(frozen=True)
class Path:
    """One direction between two regions. `delay_ms` is one way; a cut path drops every packet.

    `reorder_percent` of the packets are not delayed and so overtake those before them, `duplicate_percent`
    arrive twice.
    """

    source: str
    destination: str
    delay_ms: float
    jitter_ms: float = 0.0
    loss_percent: float = 0.0
    cut: bool = False
    reorder_percent: float = 0.0
    duplicate_percent: float = 0.0

    def __post_init__(self) -> None:
        label = f"{self.source}->{self.destination}"
        if not 0 <= self.delay_ms <= DELAY_MAX_MS:
            raise WanError(
                f"delay_ms of {label} is {self.delay_ms}", f"choose 0 to {DELAY_MAX_MS:.0f}"
            )
        if not 0 <= self.jitter_ms <= self.delay_ms:
            raise WanError(f"jitter_ms of {label} is {self.jitter_ms}", "choose 0 to its delay_ms")
        for name in ("loss_percent", "reorder_percent", "duplicate_percent"):
            if not 0 <= (percent := getattr(self, name)) <= 100:
                raise WanError(f"{name} of {label} is {percent}", "choose 0 to 100")


@dataclass(frozen=True)
class Config:
    """What a deployment asks for. `regions` maps a region to its network on the WAN bridge."""

    deployment: str
    bridge: str
    queue: int
    backend: str
    regions: Mapping[str, ipaddress.IPv4Network]
    paths: Sequence[Path]

    @classmethod
    def parse(cls, raw: Mapping[str, Any]) -> Config:
        """Check and expand the role's JSON; raises `WanError` naming the offending part."""
        try:
            regions = {name: ipaddress.IPv4Network(cidr) for name, cidr in raw["regions"].items()}
            default = {
                "jitter_ms": float(raw.get("jitter_ms", 0)),
                "loss_percent": float(raw.get("loss_percent", 0)),
            }
            return cls(
                deployment=str(raw["deployment"]),
                bridge=str(raw["bridge"]),
                queue=int(raw["queue"]),
                backend=str(raw["backend"]),
                regions=regions,
                paths=expand(list(regions), raw["rtt_ms"], default, raw.get("directions", [])),
            )
        except KeyError as missing:
            raise WanError(
                f"the configuration has no {missing}", "set it in the inventory"
            ) from None
        except (TypeError, ValueError, AttributeError) as wrong:
            raise WanError(
                f"the configuration is malformed: {wrong}", "see the role's README"
            ) from None


def expand(
    regions: Sequence[str],
    rtt_ms: Mapping[str, float],
    default: Mapping[str, float],
    directions: Sequence[Mapping[str, Any]],
) -> list[Path]:
    """Every ordered pair of regions as a path.

    `rtt_ms` has one key "a-b" for each unordered pair, in either order. `default` gives jitter_ms and
    loss_percent of all paths. `directions` are rows {from, to, ...} that override single directions.
    """
    unused = set(rtt_ms)
    paths: dict[Pair, Path] = {}
    for number, a in enumerate(regions):
        for b in regions[number + 1 :]:
            keys = [key for key in (f"{a}-{b}", f"{b}-{a}") if key in rtt_ms]
            if len(keys) != 1:
                found = "two RTTs" if keys else "no RTT"
                raise WanError(
                    f"{found} for the regions {a} and {b}", f"set wan_rtt_ms['{a}-{b}'] once"
                )
            unused.discard(keys[0])
            half = float(rtt_ms[keys[0]]) / 2
            jitter = min(default["jitter_ms"], half)
            for pair in ((a, b), (b, a)):
                paths[pair] = Path(*pair, half, jitter, default["loss_percent"])
    if unused:
        raise WanError(
            f"an RTT for unknown regions: {', '.join(sorted(unused))}", "remove it from wan_rtt_ms"
        )
    for row in directions:
        changes: dict[str, Any] = {
            name: float(value) for name, value in row.items() if name not in ("from", "to")
        }
        pair = (str(row["from"]), str(row["to"]))
        if pair not in paths:
            raise WanError(
                f"a direction for unknown regions: {pair[0]} to {pair[1]}",
                "remove it from wan_directions",
            )
        paths[pair] = replace(paths[pair], **changes)
    return list(paths.values())


@dataclass
class Wan:
    """The paths as they are now: the configured ones, with what disturbs them laid over."""

    regions: Mapping[str, ipaddress.IPv4Network]
    configured: Mapping[Pair, Path]
    paths: dict[Pair, Path] = field(init=False)
    disturbances: list[Disturbance] = field(default_factory=list)
    version: int = 0
    """Grows with every change, so that a back end knows when to apply the paths again."""

    def __post_init__(self) -> None:
        self.paths = dict(self.configured)

    @classmethod
    def of(cls, config: Config) -> Wan:
        return cls(config.regions, {(path.source, path.destination): path for path in config.paths})

    def select(self, source: str | None, destination: str | None, one_way: bool) -> list[Pair]:
        """The pairs that a command means: all, those of one region, or one pair (or one direction)."""
        for region in (source, destination):
            if region is not None and region not in self.regions:
                raise WanError(f"unknown region {region}", f"choose from {', '.join(self.regions)}")
        if destination is not None and source == destination:
            raise WanError(f"{source} to itself crosses no WAN", "name two regions")

        def meant(pair: Pair) -> bool:
            forward = source in (None, pair[0]) and destination in (None, pair[1])
            backward = source in (None, pair[1]) and destination in (None, pair[0])
            return forward or (backward and not one_way)

        return [pair for pair in self.paths if meant(pair)]

    def disturb(self, disturbance: Disturbance) -> None:
        """Lay it over the paths, in the place of one of its name; raises before anything is changed."""
        for pair in disturbance.pairs:
            replace(self.paths[pair], **disturbance.changes)
        others = [one for one in self.disturbances if one.name != disturbance.name]
        if len(others) >= DISTURBANCES_MAX:
            raise WanError(f"{len(others)} disturbances at once", "heal some: wan heal")
        self.disturbances = [*others, disturbance]

    def heal(self, pairs: Sequence[Pair], name: str | None = None) -> None:
        """Take everything from the paths that disturbs them, or only the disturbance `name`."""
        self.disturbances = without(self.disturbances, pairs, name)

    def apply(self, now: float) -> float:
        """Make `paths` what they are at this time; the seconds until that changes by itself."""
        self.disturbances = [one for one in self.disturbances if not one.ended(now)]
        paths = {pair: self._disturbed(path, now) for pair, path in self.configured.items()}
        if paths != self.paths:
            self.paths = paths
            self.version += 1
        return min((one.next_change(now) for one in self.disturbances), default=float("inf"))

    def _disturbed(self, path: Path, now: float) -> Path:
        changes: dict[str, Any] = {}
        for one in self.disturbances:
            if (path.source, path.destination) in one.pairs and one.active(now):
                changes |= one.changes
        # Of two changes that fitted together one may have ended since.
        delay_ms = changes.get("delay_ms", path.delay_ms)
        jitter_ms = min(changes.get("jitter_ms", path.jitter_ms), delay_ms)
        return replace(path, **changes | {"jitter_ms": jitter_ms})

    def lookup(self) -> Iterator[tuple[ipaddress.IPv4Network, ipaddress.IPv4Network, Path]]:
        """Each path with its networks, as filters see it."""
        for (source, destination), path in self.paths.items():
            yield self.regions[source], self.regions[destination], path
