"""Back end in the kernel: netem on the ports of the WAN bridge.

A port is the host's end of a container's cable; what leaves the bridge through it is what the container
receives. Each port gets one htb class per path with a netem leaf, and filters on source and destination
networks choose the class. What no filter knows (the own region, ARP) passes at once. Containers come and
go, so the ports are looked through again every second.
"""

from __future__ import annotations

from pathlib import Path as FilePath

from placer_wan.backend import must, run
from placer_wan.errors import WanError
from placer_wan.paths import Config, Path, Wan

PORTS_LOOK_S = 1.0
HELD_MAX = 65_535
RATE = "10gbit"
"""htb wants a rate; this one never limits."""
_REMEDY = "the kernel needs sch_netem, sch_htb and cls_u32"


def leaf(path: Path) -> str:
    """The qdisc that carries one path out. Order within a path is kept only without jitter."""
    text = f"netem limit {HELD_MAX} delay {path.delay_ms:g}ms"
    if path.jitter_ms:
        text += f" {path.jitter_ms:g}ms"
    loss = 100.0 if path.cut else path.loss_percent
    text += f" loss {loss:g}%"
    # It sends at once, and netem refuses the word without a delay.
    if path.reorder_percent and path.delay_ms:
        text += f" reorder {path.reorder_percent:g}%"
    if path.duplicate_percent:
        text += f" duplicate {path.duplicate_percent:g}%"
    return text


def setup(port: str, wan: Wan) -> list[str]:
    """`tc -batch` lines that make a port carry all paths, from nothing."""
    # r2q only silences htb's warning: quantum is computed from the rate and would be too large.
    lines = [f"qdisc add dev {port} root handle 1: htb r2q 100000"]
    for number, (source, destination, path) in enumerate(wan.lookup(), start=1):
        lines += [
            f"class add dev {port} parent 1: classid 1:{number:x} htb rate {RATE}",
            f"qdisc add dev {port} parent 1:{number:x} handle {number + 1:x}: {leaf(path)}",
            f"filter add dev {port} parent 1: protocol ip prio 1 u32"
            f" match ip src {source} match ip dst {destination} flowid 1:{number:x}",
        ]
    return lines


def change(port: str, wan: Wan) -> list[str]:
    """`tc -batch` lines that give a port's paths their present properties; held packets stay held."""
    return [
        f"qdisc change dev {port} parent 1:{number:x} handle {number + 1:x}: {leaf(path)}"
        for number, (_, _, path) in enumerate(wan.lookup(), start=1)
    ]


class Netem:
    """Keeps every port of the bridge set up with the present paths."""

    name = "netem"

    def __init__(self, config: Config, wan: Wan) -> None:
        self._bridge = config.bridge
        self._wan = wan
        self._applied: dict[str, int] = {}

    @staticmethod
    def works(config: Config) -> str:
        """Try netem on the bridge itself, whose default is no queue at all; returns why not, or nothing."""
        added = run(["tc", "qdisc", "add", "dev", config.bridge, "root", "netem", "delay", "0ms"])
        if added.returncode == 0:
            run(["tc", "qdisc", "del", "dev", config.bridge, "root"])
            return ""
        return added.stderr.strip() or "tc failed"

    def ready(self) -> None:
        if not FilePath(f"/sys/class/net/{self._bridge}/bridge").exists():
            raise WanError(f"there is no bridge {self._bridge}", "make the WAN network first")

    def start(self) -> None:
        self.ready()
        self.turn()

    def stop(self) -> None:
        for port in _ports(self._bridge):
            run(["tc", "qdisc", "del", "dev", port, "root"])
        self._applied.clear()

    def fileno(self) -> int | None:
        return None

    def turn(self) -> float:
        ports = _ports(self._bridge)
        self._applied = {port: version for port, version in self._applied.items() if port in ports}
        for port in ports:
            version = self._applied.get(port)
            if version is None:
                # A run that was killed may have left its qdisc; without one this fails, and should.
                run(["tc", "qdisc", "del", "dev", port, "root"])
                lines = setup(port, self._wan)
            elif version != self._wan.version:
                lines = change(port, self._wan)
            else:
                continue
            try:
                must(["tc", "-batch", "-"], text="\n".join(lines) + "\n", remedy=_REMEDY)
            except WanError:
                if port in _ports(self._bridge):
                    raise
                continue  # Its container ended meanwhile.
            self._applied[port] = self._wan.version
        return PORTS_LOOK_S

    def figures(self) -> dict[str, int]:
        return {"ports": len(self._applied)}


def _ports(bridge: str) -> list[str]:
    return sorted(port.name for port in FilePath(f"/sys/class/net/{bridge}/brif").glob("*"))
