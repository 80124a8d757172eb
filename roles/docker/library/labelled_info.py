#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""What an engine has under a deployment's labels, by one call: what its containers are and were made of, and its volumes."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: labelled_info
short_description: Look at the containers and volumes that carry labels
description:
  - Inspects all containers that carry the labels, and lists the volumes that do. (M(community.docker.docker_host_info) does not say
    when a container was started, and M(community.docker.docker_container_info) looks at one.)
  - Changes nothing.
extends_documentation_fragment:
  - community.docker.docker.api_documentation
options:
  labels:
    description: Labels, as C(name) or C(name=value), of which each must be there.
    type: list
    elements: str
    required: true
attributes:
  check_mode:
    support: full
    description: Looks as ever.
author:
  - Placer
"""

EXAMPLES = r"""
- name: List the nodes of this machine
  labelled_info:
    labels: [io.placer.deployment=demo, io.placer.role=cassandra]
"""

RETURN = r"""
containers:
  description: >-
    Name -> RV(ignore:State) and RV(ignore:Labels) as the engine says them, and C(image_current), whether the image that it is made of
    is the one that its name stands for now.
  type: dict
  returned: always
volumes:
  description: Names of the volumes.
  type: list
  elements: str
  returned: always
"""

import json
from typing import Any

from ansible_collections.community.docker.plugins.module_utils._api.errors import (
    DockerException,
    NotFound,
)
from ansible_collections.community.docker.plugins.module_utils.common_api import AnsibleDockerClient


def image_id(client: Any, name: str) -> str | None:
    """The image that the name stands for; None if there is none by now."""
    try:
        return str(client.get_json("/images/{0}/json", name)["Id"])
    except NotFound:
        return None


def look(client: Any, labels: list[str]) -> dict[str, Any]:
    """All that carries the labels. A container that goes away meanwhile is left out."""
    query = {"filters": json.dumps({"label": labels})}
    images: dict[str, str | None] = {}
    containers = {}
    for row in client.get_json("/containers/json", params={"all": True, **query}):
        try:
            found = client.get_json("/containers/{0}/json", row["Id"])
        except NotFound:
            continue
        name = found["Config"]["Image"]
        if name not in images:
            images[name] = image_id(client, name)
        containers[found["Name"].removeprefix("/")] = {
            "State": found["State"],
            "Labels": found["Config"]["Labels"],
            "image_current": found["Image"] == images[name],
        }
    volumes = client.get_json("/volumes", params=query)["Volumes"] or []
    return {"containers": containers, "volumes": [volume["Name"] for volume in volumes]}


def main() -> None:
    client = AnsibleDockerClient(
        argument_spec={"labels": {"type": "list", "elements": "str", "required": True}},
        supports_check_mode=True,
    )
    try:
        client.module.exit_json(changed=False, **look(client, client.module.params["labels"]))
    except DockerException as problem:
        client.fail(f"The engine did not say what it has: {problem}")


if __name__ == "__main__":
    main()
