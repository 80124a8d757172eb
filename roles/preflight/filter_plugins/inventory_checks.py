# SPDX-License-Identifier: Apache-2.0
"""What is wrong with an inventory, as sentences: all of it at once, each with its value and a remedy.

Groups and variables in, problems out. Nothing here needs a machine or a fact, so a whole site is checked before the first
change; of the controller only those files are looked at that the inventory names.
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Variables = Mapping[str, Any]

NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
KEYSPACE_LENGTH_MAX = 48
"""Cassandra's limit; a cell's keyspace is placer_<cell> with - written as _."""
DEPLOYMENT_LENGTH_MAX = 30
INDEX_MAX = 99
NET_BASE_MAX = 254
NATIVE_PORT_BASE, PLACEMENT_PORT_BASE = 8700, 8778
SECRET_LENGTH_MIN = 16
NODE_MEMORY = {
    "cassandra_memory_mib": 512,
    "cassandra_heap_mib": 192,
    "cassandra_metaspace_max_mib": 112,
    "cassandra_code_cache_mib": 48,
    "cassandra_direct_memory_max_mib": 128,
}
"""A node's limit and what it is made of, with the role's defaults, in MiB."""
NODE_REST_MIB = 32
"""Stacks, and what the JVM itself takes."""
KNOWN_SECRETS = {
    "admin",
    "cassandra",
    "changeme",
    "changeme!",
    "default",
    "demo",
    "password",
    "placer",
    "root",
    "secret",
    "test",
    "token",
}
SECRET_NAME = re.compile(r"(cassandra|placer)_(\w+_)?(password|secret|token)")
OWN_PREFIXES = ("cassandra_", "demo_", "docker_", "base_image_", "placer_", "preflight_", "wan_")
"""A variable that starts like this and that no role knows is a mistake."""


@dataclass(frozen=True)
class Cell:
    """A cell as its hosts describe it: in a right inventory each set has one member."""

    name: str
    regions: set[Any]
    indexes: set[Any]
    nodes: list[str]
    services: list[str]


@dataclass(frozen=True)
class Site:
    """The inventory: its groups, and each host's variables."""

    groups: Mapping[str, Sequence[str]]
    hosts: Mapping[str, Variables]

    @property
    def members(self) -> list[str]:
        """Hosts that run a node or services, each once, in the inventory's order."""
        return list(
            dict.fromkeys([*self.groups.get("cassandra", []), *self.groups.get("placer", [])])
        )

    def read(self, host: str, name: str, default: Any = None) -> Any:
        """A variable's value; the default also for null."""
        value = self.hosts[host].get(name)
        return default if value is None else value

    def shared(self, name: str, default: Any = None) -> Any:
        """A variable that holds for the whole site, as any member sees it."""
        return self.read(self.members[0], name, default)

    def cells(self) -> list[Cell]:
        cells: dict[str, Cell] = {}
        for group in ("cassandra", "placer"):
            for host in self.groups.get(group, []):
                name = self.read(host, "placer_cell")
                if name is None:
                    continue
                cell = cells.setdefault(str(name), Cell(str(name), set(), set(), [], []))
                cell.regions.add(self.read(host, "placer_region"))
                cell.indexes.add(self.read(host, "placer_cell_index"))
                (cell.nodes if group == "cassandra" else cell.services).append(host)
        return list(cells.values())


Problems = Iterable[str]


def check_groups(site: Site) -> Problems:
    for group, purpose in (
        ("machines", "hosts with a Docker Engine"),
        ("cassandra", "nodes"),
        ("placer", "hosts of services"),
    ):
        if not site.groups.get(group):
            yield f"group {group} is missing or empty: put the {purpose} into it"


def check_site(site: Site) -> Problems:
    for name in (
        "placer_deployment",
        "placer_run_dir",
        "placer_machine_dir",
        "placer_network_mode",
    ):
        values = {str(site.read(host, name, "")) for host in site.members}
        if "" in values:
            yield f"{name} is not set: set it for all hosts (inventories/local explains it)"
        elif len(values) > 1 and name in ("placer_deployment", "placer_network_mode"):
            yield f"{name} differs between hosts ({', '.join(sorted(values))}): set it once, for all"


def check_membership(site: Site) -> Problems:
    machines = site.groups.get("machines", [])
    for host in site.members:
        for name in ("placer_cell", "placer_region", "placer_cell_index"):
            if site.read(host, name) is None:
                yield f"{host} has no {name}: set it in the variables of its cell's group"
        machine = site.read(host, "placer_machine", host)
        if machine not in machines:
            yield f"{host}: placer_machine is {machine}, which is not in group machines: name a host of that group"


def check_names(site: Site) -> Problems:
    deployment = site.shared("placer_deployment", "unnamed")
    named = {("placer_deployment", deployment)}
    for cell in site.cells():
        named.add(("placer_cell", cell.name))
        named |= {("placer_region", region) for region in cell.regions if region is not None}
        keyspace = f"placer_{cell.name.replace('-', '_')}"
        if len(keyspace) > KEYSPACE_LENGTH_MAX:
            yield f"cell {cell.name}: its keyspace {keyspace} has {len(keyspace)} characters, {KEYSPACE_LENGTH_MAX} at most: shorten it"
        if cell.name not in site.groups:
            yield f"cell {cell.name} has no group of this name: make the group, with the cell's hosts and variables"
    if len(str(deployment)) > DEPLOYMENT_LENGTH_MAX:
        yield f"placer_deployment is {deployment}, longer than {DEPLOYMENT_LENGTH_MAX} characters: shorten it"
    for variable, name in sorted(named, key=str):
        if not isinstance(name, str) or not NAME.fullmatch(name):
            yield f"{variable} is {name}: use lower-case letters, digits and hyphens, a letter first, no hyphen last"
    for host in site.members:
        if not NAME.fullmatch(host):
            yield f"host {host}: use lower-case letters, digits and hyphens, as it becomes a container's name"


def check_cells(site: Site) -> Problems:
    owners: dict[int, str] = {}
    for cell in site.cells():
        for variable, values in (
            ("placer_region", cell.regions),
            ("placer_cell_index", cell.indexes),
        ):
            if len(values) > 1:
                shown = ", ".join(sorted(map(str, values)))
                yield f"cell {cell.name}: its hosts have different {variable} ({shown}): set it once, in the cell's group"
        for index in cell.indexes - {None}:
            number = whole(index)
            if number is None or not 1 <= number <= INDEX_MAX:
                yield f"cell {cell.name}: placer_cell_index is {index!r}: give it a number from 1 to {INDEX_MAX}"
            elif owners.setdefault(number, cell.name) != cell.name:
                yield f"cells {owners[number]} and {cell.name} both have placer_cell_index {number}: give each its own"
        if not cell.nodes:
            yield f"cell {cell.name} has no node: put at least one of its hosts into group cassandra"
        if not cell.services:
            yield f"cell {cell.name} has no host for services: put one of its hosts into group placer"


def check_racks(site: Site) -> Problems:
    for cell in site.cells():
        racks = [
            str(site.read(host, "cassandra_rack", f"r{at}"))
            for at, host in enumerate(cell.nodes, 1)
        ]
        for rack in sorted(set(racks)):
            if not NAME.fullmatch(rack):
                yield f"cell {cell.name}: cassandra_rack is {rack}: use lower-case letters, digits and hyphens, a letter first"
        if len(cell.nodes) >= 3 and len(set(racks)) == 2:
            yield (
                f"cell {cell.name}: {len(cell.nodes)} nodes in two racks ({', '.join(sorted(set(racks)))}), one of which holds two of three"
                " replicas: spread them over three racks, or put all in one"
            )


def check_addresses(site: Site) -> Problems:
    """Host mode only: on one machine (bridge mode) addresses are derived."""
    owners: dict[str, str] = {}
    machines: dict[str, str] = {}
    for host in site.groups.get("cassandra", []):
        machine = str(site.read(host, "placer_machine", host))
        if machines.setdefault(machine, host) != host:
            yield f"{machines[machine]} and {host} share machine {machine} and its ports: give each node a machine of its own"
        region = site.read(host, "placer_region")
        listen = site.read(host, "cassandra_listen_address")
        broadcast = site.read(host, "cassandra_broadcast_address", listen)
        if listen is None:
            yield f"{host} has no cassandra_listen_address: set it to the machine's private address"
            continue
        for variable, value in (
            ("cassandra_listen_address", listen),
            ("cassandra_broadcast_address", broadcast),
        ):
            try:
                parsed = ipaddress.IPv4Address(str(value))
            except ValueError:
                yield f"{host}: {variable} is {value}, which is no IPv4 address: give the address, not a name"
                continue
            if parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast:
                yield f"{host}: {variable} is {value}, which other nodes cannot reach: give the machine's own address"
        # Private networks of two regions may well use the same addresses; broadcast addresses are the cluster's.
        for scope, value in ((f"in region {region}", listen), ("in the cluster", broadcast)):
            owner = owners.setdefault(f"{value} {scope}", host)
            if owner != host:
                yield f"{owner} and {host} both have the address {value} {scope}: give each its own"
    for host in site.groups.get("placer", []):
        if not site.read(host, "placer_address", site.read(host, "cassandra_listen_address")):
            yield f"{host} has no placer_address: set it to the private address on which its services listen"


def check_bridge(site: Site) -> Problems:
    """Bridge mode only: networks, ports and round-trip times of regions on one machine."""
    base = whole(site.shared("placer_net_base"))
    if base is None or not 1 <= base <= NET_BASE_MAX:
        yield f"placer_net_base is {site.shared('placer_net_base')!r}: choose a number from 1 to {NET_BASE_MAX}"
    machines = {str(site.read(host, "placer_machine", host)) for host in site.members}
    if len(machines) > 1:
        yield f"placer_network_mode is bridge, yet hosts are on {', '.join(sorted(machines))}: use one machine, or mode host"

    ports: dict[int, str] = {}
    native = whole(site.shared("placer_api_port_base", NATIVE_PORT_BASE))
    if native is None:
        yield f"placer_api_port_base is {site.shared('placer_api_port_base')!r}: give a number"
        native = NATIVE_PORT_BASE
    for cell in site.cells():
        for index in (number for number in map(whole, cell.indexes) if number is not None):
            for api, port in (
                ("native", native + index),
                ("Placement", native + PLACEMENT_PORT_BASE - NATIVE_PORT_BASE + index),
            ):
                user = f"cell {cell.name}'s {api} API"
                if not 1024 <= port <= 65535:
                    yield f"{user} would have port {port}: choose another placer_api_port_base"
                if ports.setdefault(port, user) != user:
                    yield f"{ports[port]} and {user} would both have port {port}: change one placer_cell_index"
    yield from check_round_trips(site)


def check_round_trips(site: Site) -> Problems:
    if truth(site.shared("wan_enabled", True)) is False:
        return
    given = site.shared("wan_rtt_ms", {})
    if not isinstance(given, Mapping):
        yield f"wan_rtt_ms is {given!r}: give pairs of regions and milliseconds, e.g. nyc-ams: 80"
        return
    regions = sorted(
        {str(region) for cell in site.cells() for region in cell.regions if region is not None}
    )
    pairs = [(a, b) for at, a in enumerate(regions) for b in regions[at + 1 :]]
    unused = set(map(str, given))
    for a, b in pairs:
        keys = {f"{a}-{b}", f"{b}-{a}"} & set(map(str, given))
        unused -= keys
        if len(keys) != 1:
            yield f"wan_rtt_ms has {'no' if not keys else 'two'} round-trip times for {a} and {b}: set {a}-{b} once"
    for key in sorted(unused):
        yield f"wan_rtt_ms has {key}, which is no pair of the regions {', '.join(regions)}: correct or remove it"
    for key, value in given.items():
        number = real(value)
        if number is None or not 0 <= number <= 20_000:
            yield f"wan_rtt_ms[{key}] is {value!r}: give milliseconds from 0 to 20000"


def check_sizes(site: Site) -> Problems:
    for name, least in (
        ("placer_api_count", 1),
        ("placer_scheduler_count", 1),
        ("placer_agent_count", 0),
        ("placer_docker_hosts", 0),
        ("placer_nodes_per_cell", 0),
    ):
        number = whole(site.shared(name, least))
        if number is None or number < least:
            yield f"{name} is {site.shared(name)!r}: give a whole number from {least} on"
    for host in site.groups.get("cassandra", []):
        memory, heap, *beside = (
            whole(site.read(host, name, normal)) for name, normal in NODE_MEMORY.items()
        )
        if memory is None or heap is None or None in beside:
            continue
        least = heap + sum(filter(None, beside)) + NODE_REST_MIB
        if memory < least:
            yield (
                f"{host}: cassandra_memory_mib is {memory}, too little for cassandra_heap_mib {heap} and what a node needs beside"
                f" it: give it {least} or lower the heap"
            )


def check_secrets(site: Site) -> Problems:
    """Secrets are generated; whoever sets one by hand shall not set one that everybody knows."""
    for host, variables in site.hosts.items():
        for name in variables:
            if SECRET_NAME.fullmatch(name):
                value = site.read(host, name, "")
                if str(value).lower() in KNOWN_SECRETS:
                    yield f"{host}: {name} is a secret that everybody knows: remove it, and one is generated"
                elif len(str(value)) < SECRET_LENGTH_MIN:
                    yield f"{host}: {name} has fewer than {SECRET_LENGTH_MIN} characters: remove it, and one is generated"


def check_archives(site: Site) -> Problems:
    """An image's archive is on the machine that runs Ansible."""
    for host in site.groups.get("machines", []):
        for name in ("base_image_archive", "cassandra_image_archive"):
            path = str(site.read(host, name, ""))
            if path and not Path(path).is_file():
                yield (
                    f"{host}: {name} is {path}, and there is no such file on this machine: make it with docker save, or take the"
                    " variable out"
                )


def check_plugins(site: Site) -> Problems:
    """Packages for the services' image are there, and of a kind that goes into it."""
    for host in site.members:
        named = site.read(host, "placer_plugins", [])
        for name in named if isinstance(named, list) else []:
            path = Path(str(name))
            wanted = "name a wheel, or a folder with a pyproject.toml"
            if not path.is_absolute():
                yield f"{host}: placer_plugins has {name}, which is no absolute path: begin it with {{{{ inventory_dir }}}} or /"
            elif not path.exists():
                yield f"{host}: placer_plugins has {name}, and there is nothing: {wanted}"
            elif not (
                path.suffix == ".whl" if path.is_file() else (path / "pyproject.toml").is_file()
            ):
                yield f"{host}: placer_plugins has {name}, which is no package: {wanted}"


def check_variables(
    site: Site, known: Mapping[str, Mapping[str, Any]], removed: Mapping[str, str]
) -> Problems:
    """Names that no role knows, and values that are not of the type that its role declares."""
    for host, variables in site.hosts.items():
        for name in variables:
            if name in removed:
                yield f"{host}: {name} is no longer a variable: {removed[name]}"
            elif name in known:
                yield from _check_value(site, host, name, known[name])
            elif name.startswith(OWN_PREFIXES) and not SECRET_NAME.fullmatch(name):
                near = difflib.get_close_matches(name, known, n=1)
                yield f"{host}: no role knows {name}: {f'did you mean {near[0]}?' if near else 'remove it'}"


def _check_value(site: Site, host: str, name: str, spec: Mapping[str, Any]) -> Problems:
    value = site.read(host, name)
    if value is None or spec.get("type") not in FITS:
        return
    fits, wanted = FITS[spec["type"]]
    if not fits(value):
        yield f"{host}: {name} is {value!r}: give {wanted}"
    elif spec.get("choices") and str(value) not in map(str, spec["choices"]):
        yield f"{host}: {name} is {value}: choose from {', '.join(map(str, spec['choices']))}"


# Values of -e are strings: what reads as the type is right.
def whole(value: Any) -> int | None:
    """The whole number that a value is or reads as."""
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    try:
        return int(value)
    except ValueError:
        return None


def real(value: Any) -> float | None:
    """The number that a value is or reads as."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def truth(value: Any) -> bool | None:
    """The truth value that a value is or reads as."""
    if isinstance(value, bool):
        return value
    words = {
        "true": True,
        "yes": True,
        "on": True,
        "1": True,
        "false": False,
        "no": False,
        "off": False,
        "0": False,
    }
    return words.get(str(value).lower())


FITS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "bool": (lambda value: truth(value) is not None, "true or false"),
    "int": (lambda value: whole(value) is not None, "a whole number"),
    "float": (lambda value: real(value) is not None, "a number"),
    "list": (lambda value: isinstance(value, Sequence) and not isinstance(value, str), "a list"),
    "dict": (lambda value: isinstance(value, Mapping), "a mapping"),
    "str": (lambda value: isinstance(value, str | int | float), "a text"),
    "path": (lambda value: isinstance(value, str), "a path"),
}


def inventory_problems(
    hosts: Mapping[str, Variables],
    groups: Mapping[str, Sequence[str]],
    known: Mapping[str, Mapping[str, Any]],
    removed: Mapping[str, str],
) -> list[str]:
    """All problems of an inventory, each once.

    `known` maps the variables of all roles to {type, choices}, `removed` those of earlier releases to advice.
    """
    site = Site(groups, {host: hosts[host] for host in hosts})
    problems = list(check_groups(site))
    if not site.members:
        return problems
    mode = site.shared("placer_network_mode")
    checks: list[Problems] = [
        problems,
        check_site(site),
        check_membership(site),
        check_names(site),
        check_cells(site),
        check_racks(site),
        check_sizes(site),
        check_secrets(site),
        check_archives(site),
        check_plugins(site),
        check_variables(site, known, removed),
    ]
    if mode == "bridge":
        checks.append(check_bridge(site))
    elif mode == "host":
        checks.append(check_addresses(site))
    return merge((problem for check in checks for problem in check), len(site.hosts))


def merge(problems: Problems, hosts_count: int) -> list[str]:
    """Say what several hosts have in common once: a group's variable reaches all of them."""
    hosts: dict[str, list[str]] = {}
    for problem in problems:
        host, colon, rest = problem.partition(": ")
        of_host = bool(colon) and " " not in host
        hosts.setdefault(rest if of_host else problem, []).extend([host] if of_host else [])
    return [f"{_who(names, hosts_count)}{text}" for text, names in hosts.items()]


def _who(names: Sequence[str], hosts_count: int) -> str:
    if len(names) in (0, hosts_count):
        return ""
    more = len(names) - 1
    return f"{names[0]} and {more} more: " if more else f"{names[0]}: "


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"preflight_inventory_problems": inventory_problems}
