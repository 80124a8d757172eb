#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Keep a folder of jars equal to a lock file: several downloads at a time, every checksum verified."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: maven_jars
short_description: Make a folder hold exactly the jars of a lock file
description:
  - Downloads jars from a Maven repository, several at a time, and verifies the SHA-256 of each before it gets its name.
  - Jars that are there with the right checksum are kept; jars the lock file does not name are removed.
  - Safe to repeat and to interrupt, as a jar is written beside its place and then renamed.
options:
  lock:
    description:
      - Lines of a lock file, C(group:artifact:version[:classifier] sha256). Empty lines and lines that start with C(#) are skipped.
    type: list
    elements: str
    required: true
  dest:
    description: The folder. It is made when missing.
    type: path
    required: true
  repository:
    description: Base URL of the Maven repository, without the trailing slash.
    type: str
    required: true
  parallel:
    description: Downloads at a time.
    type: int
    default: 8
  attempts_max:
    description: Attempts for each jar before the module fails.
    type: int
    default: 3
  timeout_s:
    description: Seconds without an answer after which one attempt ends.
    type: int
    default: 30
attributes:
  check_mode:
    support: full
    description: Says what would be downloaded and removed, and does neither.
author:
  - Placer
"""

EXAMPLES = r"""
- name: Fetch the jars
  maven_jars:
    lock: "{{ lookup('ansible.builtin.file', 'jars-5.0.9.lock').splitlines() }}"
    dest: /var/cache/placer/jars
    repository: https://repo1.maven.org/maven2
"""

RETURN = r"""
downloaded:
  description: File names that were fetched, or would be in check mode.
  type: list
  elements: str
  returned: always
removed:
  description: File names that were removed, or would be in check mode.
  type: list
  elements: str
  returned: always
"""

import hashlib
import os
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url


class Jar(NamedTuple):
    """One line of the lock file, in the layout of a Maven repository."""

    file: str
    url_path: str
    sha256: str


def parse(lines: list[str]) -> list[Jar]:
    """Read lock lines; ValueError names the first line that is not one."""
    jars = []
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        coordinates, _, sha256 = text.partition(" ")
        parts = coordinates.split(":")
        if len(parts) not in (3, 4) or len(sha256) != 64:
            raise ValueError(
                f"lock line {number} is not 'group:artifact:version[:classifier] sha256': {text}"
            )
        group, artifact, version = parts[:3]
        file = "-".join(parts[1:]) + ".jar"
        jars.append(Jar(file, f"{group.replace('.', '/')}/{artifact}/{version}/{file}", sha256))
    return jars


def sha256_of(path: str) -> str:
    """Checksum of a file, or an empty string when there is none."""
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return ""


def download(jar: Jar, module: AnsibleModule) -> str | None:
    """Fetch one jar; returns what went wrong in the last attempt, or None."""
    url = f"{module.params['repository'].rstrip('/')}/{jar.url_path}"
    error = None
    for attempt in range(module.params["attempts_max"]):
        if attempt:
            time.sleep(attempt)
        try:
            content = open_url(url, timeout=module.params["timeout_s"]).read()
        except Exception as problem:  # every kind of network error is worth another attempt
            error = f"{url}: {problem}"
            continue
        found = hashlib.sha256(content).hexdigest()
        if found != jar.sha256:
            error = f"{url}: SHA-256 is {found}, the lock file says {jar.sha256}"
            continue
        with tempfile.NamedTemporaryFile(dir=module.params["dest"], delete=False) as part:
            part.write(content)
        os.chmod(part.name, 0o644)
        os.rename(part.name, os.path.join(module.params["dest"], jar.file))
        return None
    return error


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "lock": {"type": "list", "elements": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "repository": {"type": "str", "required": True},
            "parallel": {"type": "int", "default": 8},
            "attempts_max": {"type": "int", "default": 3},
            "timeout_s": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    dest = module.params["dest"]
    try:
        jars = parse(module.params["lock"])
    except ValueError as problem:
        module.fail_json(msg=str(problem))

    missing = [jar for jar in jars if sha256_of(os.path.join(dest, jar.file)) != jar.sha256]
    wanted = {jar.file for jar in jars}
    surplus = sorted(set(os.listdir(dest)) - wanted) if os.path.isdir(dest) else []
    result = {
        "changed": bool(missing or surplus),
        "downloaded": [jar.file for jar in missing],
        "removed": surplus,
    }
    if module.check_mode:
        module.exit_json(**result)

    os.makedirs(dest, exist_ok=True)
    for name in surplus:
        os.remove(os.path.join(dest, name))
    with ThreadPoolExecutor(module.params["parallel"]) as pool:
        errors = [error for error in pool.map(lambda jar: download(jar, module), missing) if error]
    if errors:
        module.fail_json(
            msg=f"{len(errors)} of {len(missing)} jars could not be fetched, first: {errors[0]}. "
            "Where the repository cannot be reached, set cassandra_image_maven_repository to a mirror of it, "
            "or give the finished image by cassandra_image_archive.",
            errors=errors,
        )
    module.exit_json(**result)


if __name__ == "__main__":
    main()
