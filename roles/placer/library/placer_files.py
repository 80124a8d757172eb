#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep several small files of one folder in one step."""

from __future__ import annotations

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION = r"""
---
module: placer_files
short_description: Write several small files of one folder in one step
description:
  - Makes a folder hold the given files, each replaced as a whole and only when its content, mode or owner differs. What a process
    that starts meanwhile reads is the old file or the new one.
options:
  path:
    description: The folder. It and its parents are made when missing.
    type: path
    required: true
  files:
    description: File names and their content.
    type: dict
    default: {}
  mode:
    description: Mode of the files, in octal.
    type: str
    default: "0444"
  owner:
    description: Number of the user that the folder and the files belong to. Whoever runs this, if not given.
    type: int
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
- name: Write the settings
  placer_files:
    path: /var/lib/placer/demo/services
    files:
      nyc1-api-1.toml: "process = 'nyc1-api-1'\n"
    owner: 10001
"""

RETURN = r"""
written:
  description: Names of the files that were written, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

FOLDER_MODE = 0o755


def read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


def write(path: str, content: str, mode: int, owner: int) -> None:
    """Replace a file as a whole. It has its mode from the beginning: a secret is never open to others."""
    # A name of its own: hosts of an inventory may share a machine, and then write the same file at the same moment.
    folder, name = os.path.split(path)
    handle, part = tempfile.mkstemp(dir=folder, prefix=f".{name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(part, mode)
        os.chown(part, owner, -1)
        os.rename(part, path)
    except BaseException:
        os.remove(part)
        raise


def differs(path: str, content: str, mode: int, owner: int) -> bool:
    if read(path) != content:
        return True
    status = os.stat(path)
    return (status.st_mode & 0o7777, status.st_uid) != (mode, owner)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "path": {"type": "path", "required": True},
            "files": {"type": "dict", "default": {}},
            "mode": {"type": "str", "default": "0444"},
            "owner": {"type": "int"},
        },
        supports_check_mode=True,
    )
    folder = module.params["path"]
    owner = os.geteuid() if module.params["owner"] is None else module.params["owner"]
    mode = int(module.params["mode"], 8)
    changed = not os.path.isdir(folder) or os.stat(folder).st_uid != owner
    if changed and not module.check_mode:
        os.makedirs(folder, FOLDER_MODE, exist_ok=True)
        os.chown(folder, owner, -1)

    diff, written = [], []
    for name, content in module.params["files"].items():
        path = os.path.join(folder, name)
        if not differs(path, content, mode, owner):
            continue
        before = read(path) or ""
        header = {"before_header": path, "after_header": path}
        diff.append({"before": before, "after": content, **header})
        written.append(name)
        if not module.check_mode:
            write(path, content, mode, owner)
    # Ansible shows a diff that it is given, also to who did not ask for one.
    module.exit_json(
        changed=changed or bool(written), written=written, diff=diff if module._diff else []
    )


if __name__ == "__main__":
    main()
