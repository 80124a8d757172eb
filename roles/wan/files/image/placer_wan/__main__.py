"""Command line of the WAN container: `wan run`, and what an operator or a fault scenario tells it.

wan run                         keep the delay up (configuration: JSON in PLACER_WAN_CONFIG)
wan status [--wait 15]          back end, paths, what disturbs them, and counters as JSON
wan cut [FROM [TO]] [--one-way] drop all packets between two regions, or of one region, or all
        [--down 2 --up 3]       and let them pass again, by turns
wan set FROM TO --delay-ms 100 [--jitter-ms 5] [--loss-percent 1] [--reorder-percent 1]
        [--duplicate-percent 1] [--one-way]
wan drop --from ADDRESS,... --to ADDRESS,... [--one-way]
                                drop all packets between single addresses
wan heal [FROM [TO]] [--one-way] [--name NAME]
                                everything as configured again, or the paths named, or what has the name
wan clean                       remove the rules of a delay process that was killed
wan ping ADDRESS...             RTTs from here, as JSON

cut, set and drop take --for SECONDS, after which they end by themselves, and --name, by which they are healed.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from typing import Any

from placer_wan import daemon, firewall, ping
from placer_wan.errors import WanError
from placer_wan.paths import Config, Wan

SETTABLE = ("delay_ms", "jitter_ms", "loss_percent", "reorder_percent", "duplicate_percent")


def main() -> int:
    arguments = _parser().parse_args()
    try:
        reply = _carry_out(arguments)
    except WanError as error:
        print(f"wan: {error}", file=sys.stderr)
        return 1
    if reply is not None:
        print(json.dumps(reply))
    return 0


def _carry_out(arguments: argparse.Namespace) -> Any:
    match arguments.command:
        case "run":
            return daemon.serve(_config())
        case "clean":
            return {"removed": firewall.remove(firewall.comment(arguments.deployment))}
        case "ping":
            return _ping(arguments)
        case "check":
            return {"backend": daemon.check(_config()).name}
        case "status":
            return _status(arguments.wait)
        case _:
            return daemon.ask(_request(arguments))


def _request(arguments: argparse.Namespace) -> dict[str, Any]:
    """A control request: what was given on the command line, without what was not."""
    given = {
        "do": arguments.command,
        "from": getattr(arguments, "source", None),
        "to": getattr(arguments, "destination", None),
        "one_way": arguments.one_way,
        "name": arguments.name,
    }
    given |= {
        name: getattr(arguments, name, None)
        for name in ("seconds", "down_s", "up_s", "sources", "destinations")
    }
    if arguments.command == "set":
        changes = {name: getattr(arguments, name) for name in SETTABLE}
        given["changes"] = {name: value for name, value in changes.items() if value is not None}
    return {name: value for name, value in given.items() if value is not None}


def _status(wait_s: float) -> Any:
    """The daemon's status; `wait_s` bounds how long a daemon that is starting is waited for."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return daemon.ask({"do": "status"})
        except WanError:
            if time.monotonic() >= deadline:
                raise
            time.sleep(0.1)


def _ping(arguments: argparse.Namespace) -> Any:
    targets = dict(target.partition("=")[::2] for target in arguments.target)
    measured = ping.measure(list(targets.values()), count=arguments.count)
    return ping.compare(Wan.of(_config()), arguments.source, targets, measured)


def _config() -> Config:
    try:
        return Config.parse(json.loads(os.environ["PLACER_WAN_CONFIG"]))
    except KeyError:
        raise WanError(
            "PLACER_WAN_CONFIG is not set", "start the container with the role wan"
        ) from None
    except ValueError as wrong:
        raise WanError(
            f"PLACER_WAN_CONFIG is no JSON: {wrong}", "start the container with the role wan"
        ) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="wan", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run")
    commands.add_parser("clean").add_argument("--deployment", required=True)
    commands.add_parser("check")
    commands.add_parser("status").add_argument("--wait", type=float, default=0.0, metavar="SECONDS")
    for name in ("cut", "heal", "set", "drop"):
        command = commands.add_parser(name)
        if name == "drop":
            command.add_argument("--from", dest="sources", type=_list, required=True)
            command.add_argument("--to", dest="destinations", type=_list, required=True)
        else:
            arity = None if name == "set" else "?"
            command.add_argument("source", nargs=arity, metavar="FROM")
            command.add_argument("destination", nargs=arity, metavar="TO")
        command.add_argument("--one-way", action="store_true", help="only packets from FROM to TO")
        command.add_argument("--name", help="the fault that it belongs to")
        if name != "heal":
            command.add_argument("--for", dest="seconds", type=float, metavar="SECONDS")
        if name == "cut":
            command.add_argument("--down", dest="down_s", type=float, metavar="SECONDS")
            command.add_argument("--up", dest="up_s", type=float, metavar="SECONDS")
        if name == "set":
            for option in SETTABLE:
                command.add_argument(f"--{option.replace('_', '-')}", type=float)
    pinger = commands.add_parser("ping")
    pinger.add_argument("--from", dest="source", required=True, metavar="REGION")
    pinger.add_argument("target", nargs="+", metavar="REGION=ADDRESS")
    pinger.add_argument("--count", type=int, default=5)
    return parser


def _list(text: str) -> list[str]:
    return [word for word in text.split(",") if word]


if __name__ == "__main__":
    sys.exit(main())
