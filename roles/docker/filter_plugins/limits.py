# SPDX-License-Identifier: Apache-2.0
"""Read /proc/PID/limits."""

from __future__ import annotations

import re


def docker_limit(text: str, name: str, unlimited: int) -> int:
    """The hard limit called `name` in the text of /proc/PID/limits; `unlimited` where there is none or no such line."""
    found = re.search(rf"^{re.escape(name)}\s+\S+\s+(\S+)", text, re.MULTILINE)
    return int(found[1]) if found and found[1].isdigit() else unlimited


class FilterModule:
    """What Ansible loads."""

    def filters(self) -> dict[str, object]:
        return {"docker_limit": docker_limit}
