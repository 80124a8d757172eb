#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep the files of one node's configuration, and know since when a restart is needed to take them up."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: node_config
short_description: Write a node's configuration files in one step
description:
  - Makes a folder hold the given files, each replaced only when its content differs.
  - Keeps a digest of what matters to a running server. Its age says since when a server must have been started to run this
    configuration, so a later run still knows which nodes are behind after an earlier one was interrupted.
options:
  path:
    description: The folder. It is made when missing.
    type: path
    required: true
  files:
    description: File names and their content.
    type: dict
    required: true
  once:
    description: File names and content for a node's first start. They are written when missing, and when O(fresh) is true.
    type: dict
    default: {}
  fresh:
    description: Whether the node has not been started yet.
    type: bool
    default: false
  live:
    description: A regular expression. Lines it matches need no restart when they change, as only a start reads them.
    type: str
    default: ""
attributes:
  check_mode:
    support: full
    description: Says what would be written, and writes nothing.
  diff_mode:
    support: full
    description: Shows each file that differs.
author:
  - Placer
"""

EXAMPLES = r"""
- name: Write the configuration
  node_config:
    path: /var/lib/placer/demo/nodes/nyc1-r1
    files:
      cassandra-rackdc.properties: "dc=nyc1\nrack=r1\n"
    live: "^ *- seeds:"
"""

RETURN = r"""
once:
  description: Content of the files for the first start, as they are or would be in check mode.
  type: dict
  returned: always
since:
  description: UTC time of the last change that needs a restart, as C(2026-01-31T12:00:00.000000Z).
  type: str
  returned: always
written:
  description: Names of the files that were written, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

import hashlib
import os
import re
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

DIGEST = ".restart-digest"


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: str, content: str) -> None:
    """Replace a file as a whole, so that a node that starts meanwhile reads the old or the new one."""
    part = path + ".part"
    with open(part, "w", encoding="utf-8") as file:
        file.write(content)
    os.chmod(part, 0o755 if content.startswith("#!") else 0o644)
    os.rename(part, path)


def digest_of(files: dict[str, str], live: str) -> str:
    """Digest of all lines but the live ones and those that are only comments."""
    skip = re.compile(live) if live else None
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode())
        for line in files[name].splitlines():
            if not (line.lstrip().startswith("#") or (skip and skip.search(line))):
                digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "required": True},
            "once": {"type": "dict", "default": {}},
            "fresh": {"type": "bool", "default": False},
            "live": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    folder = module.params["path"]
    wanted = dict(module.params["files"])
    once = {}
    for name, content in module.params["once"].items():
        there = None if module.params["fresh"] else read(os.path.join(folder, name))
        once[name] = content if there is None else there
    wanted.update(once)

    diff = []
    for name, content in wanted.items():
        before = read(os.path.join(folder, name))
        if before != content:
            path = os.path.join(folder, name)
            diff.append(
                {
                    "before": before or "",
                    "after": content,
                    "before_header": path,
                    "after_header": path,
                }
            )
    written = [os.path.basename(item["after_header"]) for item in diff]

    mark = os.path.join(folder, DIGEST)
    digest = digest_of(module.params["files"], module.params["live"])
    moved = read(mark) != digest
    if not module.check_mode:
        os.makedirs(folder, mode=0o755, exist_ok=True)
        for name in written:
            write(os.path.join(folder, name), wanted[name])
        if moved:
            write(mark, digest)
    changed_at = (
        datetime.now(timezone.utc)
        if moved and module.check_mode
        else datetime.fromtimestamp(os.path.getmtime(mark), timezone.utc)
    )
    module.exit_json(
        changed=bool(written),
        written=written,
        once=once,
        since=changed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        diff=diff if module._diff else [],
    )


if __name__ == "__main__":
    main()
