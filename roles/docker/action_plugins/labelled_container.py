# SPDX-License-Identifier: Apache-2.0
"""A container that says what it was made of, so that one that is as it should be costs no module call."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ansible.plugins.action import ActionBase

#: Carries the digest of a container's arguments.
LABEL = "io.placer.made-of"
#: What is asked of a container now, not what it is made of.
_ASKED = ("restart",)


def digest(arguments: dict[str, Any]) -> str:
    """Of all that a container is made of: arguments of community.docker.docker_container, in any order of their names."""
    made_of = {name: value for name, value in arguments.items() if name not in _ASKED}
    return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()


def as_it_should_be(found: dict[str, Any] | None, wanted: str) -> bool:
    """Whether a container, as labelled_info found it, runs and was made of what it should be."""
    return bool(
        found
        and found["State"]["Running"]
        and found["image_current"]
        and (found["Labels"] or {}).get(LABEL) == wanted
    )


class ActionModule(ActionBase):
    """community.docker.docker_container for one that shall run, with ``known``: the containers that labelled_info found.

    What somebody changed by hand at a running container is not seen; the module would see it, for half a second of a processor each.
    """

    def run(
        self, tmp: str | None = None, task_vars: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        result: dict[str, Any] = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        known = arguments.pop("known")
        made_of = digest(arguments)
        found = known.get(arguments["name"])
        if as_it_should_be(found, made_of) and not arguments.get("restart"):
            return result | {"changed": False, "container": {"State": found["State"]}}
        arguments["labels"] = arguments["labels"] | {LABEL: made_of}
        return result | self._execute_module(
            module_name="community.docker.docker_container",
            module_args=arguments,
            task_vars=task_vars,
        )
