"""Command line of the WAN container: `wan run`, and what an operator or a fault scenario tells it.

wan run                         keep the delay up (configuration: JSON in PLACER_WAN_CONFIG)
wan status [--wait 15]          back end, paths and counters as JSON
wan cut [FROM [TO]] [--one-way] drop all packets between two regions, or of one region, or all
wan heal [FROM [TO]] [--one-way]
wan set FROM TO --delay-ms 100 [--jitter-ms 5] [--loss-percent 1] [--one-way]
wan clean                       remove the rules of a delay process that was killed
wan ping ADDRESS...             RTTs from here, as JSON
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
        case command:
            request = {"do": command, "from": arguments.source, "to": arguments.destination}
            changes = {
                name: getattr(arguments, name)
                for name in ("delay_ms", "jitter_ms", "loss_percent")
                if getattr(arguments, name, None) is not None
            }
            return daemon.ask({**request, "one_way": arguments.one_way, "changes": changes})


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
    for name in ("cut", "heal", "set"):
        command = commands.add_parser(name)
        arity = None if name == "set" else "?"
        command.add_argument("source", nargs=arity, metavar="FROM")
        command.add_argument("destination", nargs=arity, metavar="TO")
        command.add_argument("--one-way", action="store_true", help="only packets from FROM to TO")
        if name == "set":
            for option in ("--delay-ms", "--jitter-ms", "--loss-percent"):
                command.add_argument(option, type=float)
    pinger = commands.add_parser("ping")
    pinger.add_argument("--from", dest="source", required=True, metavar="REGION")
    pinger.add_argument("target", nargs="+", metavar="REGION=ADDRESS")
    pinger.add_argument("--count", type=int, default=5)
    return parser


if __name__ == "__main__":
    sys.exit(main())
