"""The command line of the faults: ``./demo fault KIND ...``. It makes a fault and leaves it to its time."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from faults import guard
from faults.cluster import Cluster, fault_name
from faults.disks import DISKS
from faults.errors import FaultError

FOR_S = 60.0
KINDS = {
    "partition": "a region, or a cell, hears nobody and is heard by nobody",
    "one-way": "nothing that a region sends arrives; what comes back does",
    "flap": "a region is cut off and there again by turns",
    "ring": "each region hears only of the one before it",
    "bridge": "all regions reach one, and none another",
    "slow": "another delay, jitter, loss, reordering or duplicates between two regions",
    "kill": "containers are killed and stay down",
    "pause": "containers are frozen: connections stay open, nothing answers",
    "restart": "containers are stopped in order and started again",
    "wipe": "nodes are killed and lose their disks; start has them copied from others",
    "crash": "a service kills itself at a fail point, and stays dead",
    "skew": "a process lives in another time than all others",
    "disk": "a disk is full: data, commitlog (nodes) or journal (agents)",
}
EPILOG = """\
examples:
  ./demo fault partition --region ams --for 60s
  ./demo fault kill --node ams1-r1
  ./demo fault pause --cell nyc1 --role scheduler --for 20s
  ./demo fault slow --from nyc --to sgp --delay 400ms --loss 2%
  ./demo fault crash --process nyc1-scheduler-1 --at claim.after_lwt
  ./demo fault skew --process ams1-scheduler-2 --behind 5m
  ./demo fault disk --process sgp1-agent-1 --full journal
  ./demo fault heal

A fault ends by itself when its time (--for) is over. docs/operate/faults.md says what to see meanwhile.
"""
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Place:
    """A deployment as it was named on the command line."""

    name: str
    run_dir: Path


def duration(text: str) -> float:
    """Seconds of ``400ms``, ``20s``, ``5m``, ``1h`` or a plain number."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", text)
    if not match:
        raise argparse.ArgumentTypeError(f"{text!r} is no time: write 400ms, 20s, 5m or 1h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def percent(text: str) -> float:
    """The number of ``2`` or ``2%``."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%?", text)
    if not match or float(match[1]) > 100:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write 2%, at most 100%")
    return float(match[1])


def main(arguments: Sequence[str]) -> int:
    """Carry one command out; 1 with what is wrong and what to do about it, 2 for a command that is none."""
    asked = parser().parse_args(arguments)
    cluster = Cluster(Place(asked.deployment, asked.run_dir))
    if asked.list:
        for kind, what in KINDS.items():
            print(f"{kind:<10} {what}")
        return 0
    if asked.kind is None:
        parser().print_usage(sys.stderr)
        print("error: say which fault: ./demo fault --list", file=sys.stderr)
        return 2
    try:
        for line in carry_out(cluster, asked):
            print(line)
    except FaultError as error:
        print(f"error: {error.what}\n  {error.remedy}", file=sys.stderr)
        return 1
    return 0


def carry_out(cluster: Cluster, asked: argparse.Namespace) -> list[str]:
    """What was asked for, in words of what was done."""
    match asked.kind:
        case "guard":
            if (note := guard.wait(cluster.notes, asked.note)) is not None:
                cluster.heal_note(note)
            return []
        case "status":
            return cluster.on() or ["no fault is on"]
        case "heal":
            return [f"healed: {what}" for what in cluster.heal()] or ["there was nothing to heal"]
        case "start":
            names = chosen(cluster, asked)
            cluster.start(*names)
            return [f"started: {name}" for name in names]
        case "restart":
            names = chosen(cluster, asked)
            cluster.restart(*names)
            return [f"restarted: {name}" for name in names]
        case "crash":
            name = cluster.crash(asked.process, asked.at, seconds=asked.seconds)
            return [f"{name} stands in, and dies at {asked.at}", _bound(asked.seconds)]
        case "skew":
            by_s = asked.ahead if asked.behind is None else -asked.behind
            name = cluster.skew(asked.process, by_s, seconds=asked.seconds)
            return [f"{name} stands in, {by_s:+g} s off", _bound(asked.seconds)]
        case "disk":
            name = cluster.fill(asked.process, asked.full, seconds=asked.seconds)
            return [f"{name} stands in, its {asked.full} full", _bound(asked.seconds)]
        case "kill" | "pause" | "wipe" as kind:
            return process_fault(cluster, kind, chosen(cluster, asked), asked.seconds)
        case kind:
            return network_fault(cluster, kind, asked)


def process_fault(cluster: Cluster, kind: str, names: list[str], seconds: float) -> list[str]:
    make = {"kill": cluster.kill, "pause": cluster.pause, "wipe": cluster.wipe}[kind]
    make(*names, seconds=seconds)
    verb = {"kill": "killed", "pause": "paused", "wipe": "killed and wiped"}[kind]
    return [*(f"{verb}: {name}" for name in names), _bound(seconds)]


def network_fault(cluster: Cluster, kind: str, asked: argparse.Namespace) -> list[str]:
    network, name, seconds = cluster.network, fault_name(kind), asked.seconds
    try:
        match kind:
            case "partition":
                said = network.cut(name, seconds, region=asked.region, cell=asked.cell)
            case "one-way":
                said = network.one_way(name, seconds, source=asked.source, goal=asked.goal)
            case "flap":
                said = network.flap(
                    name, seconds, region=asked.region, up_s=asked.up, down_s=asked.down
                )
            case "ring":
                said = network.ring(name, seconds)
            case "bridge":
                said = network.bridge(name, seconds, region=asked.region)
            case _:
                said = network.slow(
                    name,
                    seconds,
                    source=asked.source,
                    goal=asked.goal,
                    changes=_changes(asked),
                    one_way=asked.one_way,
                )
    except FaultError:
        network.heal(name)
        raise
    return [said, _bound(seconds)]


def chosen(cluster: Cluster, asked: argparse.Namespace) -> list[str]:
    """Whom the options name: single containers, or those of a place, of one kind."""
    if asked.node:
        if asked.region or asked.cell or asked.rack:
            raise FaultError(
                "Containers are named by --node or by their place.", "Give one of the two."
            )
        return cluster.known(asked.node)
    if not (asked.region or asked.cell or asked.rack):
        raise FaultError("Nobody was named.", "Give --node, --rack, --cell or --region.")
    return cluster.names(asked.role, region=asked.region, cell=asked.cell, rack=asked.rack)


def _changes(asked: argparse.Namespace) -> dict[str, float]:
    given = {
        "delay_ms": None if asked.delay is None else asked.delay * 1000,
        "jitter_ms": None if asked.jitter is None else asked.jitter * 1000,
        "loss_percent": asked.loss,
        "reorder_percent": asked.reorder,
        "duplicate_percent": asked.duplicate,
    }
    changes = {key: value for key, value in given.items() if value is not None}
    if not changes:
        raise FaultError(
            "Nothing was asked for.", "Give --delay, --jitter, --loss, --reorder or --duplicate."
        )
    return changes


def _bound(seconds: float) -> str:
    return f"for {seconds:g} s at most; end it sooner: ./demo fault heal"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="./demo fault",
        description="Break something of the running demo, and heal it again.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--list", action="store_true", help="the faults there are")
    made.add_argument("--deployment", default="demo", help=argparse.SUPPRESS)
    made.add_argument("--run-dir", type=Path, default=Path(".demo"), help=argparse.SUPPRESS)
    kinds = made.add_subparsers(dest="kind", metavar="KIND")
    for kind, what in KINDS.items():
        options = kinds.add_parser(kind, help=what, description=f"{what[0].upper()}{what[1:]}.")
        if kind in ("kill", "pause", "restart", "wipe"):
            _whom(options)
        if kind != "restart":
            options.add_argument(
                "--for", dest="seconds", type=duration, default=FOR_S, metavar="TIME", help="60s"
            )
        _where(options, kind)
    _whom(kinds.add_parser("start", help="let containers run again", description="Start them."))
    kinds.add_parser("status", help="the faults that are on")
    kinds.add_parser("heal", help="end every fault")
    kinds.add_parser("guard").add_argument("note")
    return made


def _whom(options: argparse.ArgumentParser) -> None:
    options.add_argument(
        "--node", action="append", metavar="NAME", help="a container, e.g. ams1-r1; repeat"
    )
    for place in ("rack", "cell", "region"):
        options.add_argument(f"--{place}", help=f"all of a {place}")
    options.add_argument(
        "--role",
        choices=("node", "api", "scheduler", "agent"),
        default="node",
        help="which containers of the place (node)",
    )


def _where(options: argparse.ArgumentParser, kind: str) -> None:
    if kind == "partition":
        which = options.add_mutually_exclusive_group(required=True)
        which.add_argument("--region")
        which.add_argument("--cell")
    if kind in ("flap", "bridge"):
        options.add_argument("--region", required=True)
    if kind == "flap":
        options.add_argument("--up", type=duration, default=3.0, metavar="TIME", help="3s")
        options.add_argument("--down", type=duration, default=2.0, metavar="TIME", help="2s")
    if kind in ("one-way", "slow"):
        options.add_argument("--from", dest="source", required=True, metavar="REGION")
        options.add_argument("--to", dest="goal", required=kind == "slow", metavar="REGION")
    if kind in ("crash", "skew", "disk"):
        options.add_argument(
            "--process", required=True, metavar="NAME", help="e.g. nyc1-scheduler-1"
        )
    if kind == "crash":
        options.add_argument(
            "--at",
            required=True,
            metavar="POINT",
            help="e.g. claim.after_lwt; :3 for the third time",
        )
    if kind == "skew":
        which = options.add_mutually_exclusive_group(required=True)
        which.add_argument("--ahead", type=duration, metavar="TIME", help="5m")
        which.add_argument("--behind", type=duration, metavar="TIME", help="5m")
    if kind == "disk":
        options.add_argument("--full", required=True, choices=sorted(DISKS))
    if kind == "slow":
        options.add_argument("--delay", type=duration, metavar="TIME", help="one way, e.g. 400ms")
        options.add_argument("--jitter", type=duration, metavar="TIME")
        options.add_argument("--loss", type=percent, metavar="PERCENT")
        options.add_argument("--reorder", type=percent, metavar="PERCENT")
        options.add_argument("--duplicate", type=percent, metavar="PERCENT")
        options.add_argument("--one-way", action="store_true")
