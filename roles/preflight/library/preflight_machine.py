# SPDX-License-Identifier: Apache-2.0
"""Facts of one machine that decide whether a deployment fits: read in one go, as tasks over SSH are dear."""

from __future__ import annotations

import os
import re
import resource
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from typing import Any

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = """
module: preflight_machine
author: The Placer authors
short_description: Memory, disk, ports, routes, limits and rights of a machine
description: Reads only. What another user's processes hide is left out.
options:
  paths:
    description: Paths whose free space matters. One that is not there yet counts as its nearest parent.
    type: list
    elements: str
    default: []
"""
EXAMPLES = """
- name: Read the machine
  preflight_machine:
    paths: [/var/lib/docker]
"""
RETURN = """
machine:
  description: What was read.
  returned: always
  type: dict
"""

LISTEN = "0A"
PROCESSES_MAX = 100_000


def memory(meminfo: str) -> dict[str, int]:
    """Total and available memory in MiB."""
    kib = {
        name: int(rest.split()[0])
        for name, rest in (line.split(":", 1) for line in meminfo.splitlines())
    }
    return {"total_mib": kib["MemTotal"] // 1024, "available_mib": kib["MemAvailable"] // 1024}


def listening(table: str) -> list[dict[str, Any]]:
    """Listening sockets of a /proc/net/tcp or tcp6 table: address, port, inode."""
    sockets = []
    for row in (line.split() for line in table.splitlines()[1:]):
        if row[3] == LISTEN:
            address, port = row[1].split(":")
            sockets.append({"address": _address(address), "port": int(port, 16), "inode": row[9]})
    return sockets


def _address(text: str) -> str:
    """An address of the table: hexadecimal words in the machine's byte order."""
    words = [int(text[at : at + 8], 16) for at in range(0, len(text), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)


def routes(table: str) -> list[dict[str, str]]:
    """Networks of a /proc/net/route table with their interfaces, without the default route."""
    found = []
    for row in (line.split() for line in table.splitlines()[1:]):
        mask = int(row[7], 16)
        if mask:
            found.append(
                {"network": f"{_address(row[1])}/{bin(mask).count('1')}", "interface": row[0]}
            )
    return found


def limits(table: str) -> dict[str, int]:
    """Hard limits of open files and locked memory (bytes) in a /proc/PID/limits table; -1 is none."""
    names = {"Max open files": "nofile", "Max locked memory": "memlock_bytes"}
    found = {}
    for line in table.splitlines():
        for label, name in names.items():
            if line.startswith(label):
                hard = line[len(label) :].split()[1]
                found[name] = -1 if hard == "unlimited" else int(hard)
    return found


def _owners(inodes: set[str]) -> dict[str, dict[str, str]]:
    """Process and container of each socket, as far as this user may see them."""
    owners: dict[str, dict[str, str]] = {}
    for process in list(Path("/proc").glob("[0-9]*"))[:PROCESSES_MAX]:
        if len(owners) == len(inodes):
            break
        try:
            targets = {os.readlink(descriptor) for descriptor in (process / "fd").iterdir()}
            held = {target[8:-1] for target in targets if target.startswith("socket:[")} & inodes
            if held:
                container = re.search(r"[0-9a-f]{64}", (process / "cgroup").read_text())
                owner = {
                    "pid": process.name,
                    "process": (process / "comm").read_text().strip(),
                    "container": container.group() if container else "",
                }
                owners.update(dict.fromkeys(held, owner))
        except OSError:
            continue
    return owners


def _sockets() -> list[dict[str, Any]]:
    sockets = []
    for name in ("tcp", "tcp6"):
        table = Path(f"/proc/net/{name}")
        if table.exists():
            sockets += listening(table.read_text())
    owners = _owners({one["inode"] for one in sockets})
    return [{**one, **owners.get(one["inode"], {})} for one in sockets]


def _disk(path: str) -> dict[str, Any]:
    there = Path(path)
    while not there.exists():
        there = there.parent
    return {"path": path, "free_mib": shutil.disk_usage(there).free // 1024**2}


def _engine_limits() -> dict[str, int]:
    """Limits that the engine hands to containers: its own, or this process's where none runs."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "comm").read_text().strip() == "dockerd":
                return limits((process / "limits").read_text())
        except OSError:
            continue
    own = {
        name: resource.getrlimit(which)[1]
        for name, which in (
            ("nofile", resource.RLIMIT_NOFILE),
            ("memlock_bytes", resource.RLIMIT_MEMLOCK),
        )
    }
    return {name: -1 if hard == resource.RLIM_INFINITY else hard for name, hard in own.items()}


def _sudo() -> bool:
    """Whether this user may become root without being asked."""
    if os.geteuid() == 0:
        return True
    sudo = shutil.which("sudo")
    if sudo is None:
        return False
    return (
        subprocess.run(
            [sudo, "-n", "true"], capture_output=True, timeout=10, check=False
        ).returncode
        == 0
    )


def read(paths: list[str]) -> dict[str, Any]:
    """Everything, from /proc for the most part."""
    return {
        "root": _sudo(),
        "engine_installed": shutil.which(
            "dockerd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
        )
        is not None,
        "memory": memory(Path("/proc/meminfo").read_text()),
        "disks": [_disk(path) for path in paths],
        "listening": _sockets(),
        "routes": routes(Path("/proc/net/route").read_text()),
        "limits": _engine_limits(),
        "map_count_max": int(Path("/proc/sys/vm/max_map_count").read_text()),
    }


def main() -> None:
    module = AnsibleModule(
        argument_spec={"paths": {"type": "list", "elements": "str", "default": []}},
        supports_check_mode=True,
    )
    module.exit_json(changed=False, machine=read(module.params["paths"]))


if __name__ == "__main__":
    main()
