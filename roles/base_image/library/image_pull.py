#!/usr/bin/python
# SPDX-License-Identifier: Apache-2.0
"""Pull an image, and give up when nothing is heard of it: a pull that goes on is never cut short, one that hangs is."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: image_pull
short_description: Pull an image unless its registry does not answer, does not have it or falls silent
description:
  - Asks the engine to pull an image and follows what it reports. The option O(timeout) bounds the time between two reports, not the
    whole, so a slow pull ends well and one that hangs does not hang for ever. (With M(community.docker.docker_image_pull) it does, as that
    takes no bound for the pull itself.)
  - That there is no image to be had is no failure, but RV(pulled) and RV(reason).
  - Safe to repeat and to interrupt; the engine keeps the layers that came.
extends_documentation_fragment:
  - community.docker.docker.api_documentation
options:
  name:
    description: The image, with its registry unless that is Docker's own, and its tag.
    type: str
    required: true
attributes:
  check_mode:
    support: full
    description: Asks nobody and says that it was pulled.
author:
  - Placer
"""

EXAMPLES = r"""
- name: Pull
  image_pull:
    name: registry.example.org/cassandra:5.0.9
    timeout: 60
"""

RETURN = r"""
pulled:
  description: Whether the engine has the image as the registry has it.
  type: bool
  returned: always
answered:
  description: Whether the registry answered. It did also when it said that it has no such image, or not for us.
  type: bool
  returned: always
reason:
  description: What the engine or the registry said when the image was not pulled, else empty.
  type: str
  returned: always
"""

from typing import Any

from ansible_collections.community.docker.plugins.module_utils._api import auth
from ansible_collections.community.docker.plugins.module_utils._api.errors import APIError
from ansible_collections.community.docker.plugins.module_utils._api.utils.utils import (
    parse_repository_tag,
)
from ansible_collections.community.docker.plugins.module_utils.common_api import AnsibleDockerClient

# What a registry says that has no such image, or not for us. Engines pass it on with differing HTTP states, so words decide.
REFUSALS = ("manifest unknown", "not found", "access denied", "unauthorized", "toomanyrequests")


class NotPulledError(Exception):
    """The reason, in the words of the engine or the registry."""


def follow(client: Any, repository: str, tag: str) -> None:
    """Have the engine pull the image, and hear it out. Each wait for its next report takes the client's timeout at most."""
    registry, _ = auth.resolve_repository_name(repository)
    credentials = auth.get_config_header(client, registry)
    response = client._post(
        client._url("/images/create"),
        params={"fromImage": repository, "tag": tag},
        headers={"X-Registry-Auth": credentials} if credentials else {},
        stream=True,
    )
    client._raise_for_status(response)
    for report in client._stream_helper(response, decode=True):
        if report.get("error"):
            raise NotPulledError(report["error"])


def pull(client: Any, name: str) -> dict[str, Any]:
    """Pull and say how it went."""
    repository, tag = parse_repository_tag(name)
    tag = tag or "latest"
    before = client.find_image(repository, tag)
    try:
        follow(client, repository, tag)
    except (APIError, NotPulledError) as problem:
        reason = getattr(problem, "explanation", None) or str(problem)
        answered = any(words in reason.lower() for words in REFUSALS)
        return {"changed": False, "pulled": False, "answered": answered, "reason": reason}
    except Exception as problem:  # the transport's libraries have many ways to say that time is up
        silent = "timed out" in str(problem)
        reason = f"nothing was heard of it for {client.timeout} s" if silent else str(problem)
        return {"changed": False, "pulled": False, "answered": False, "reason": reason}
    after = client.find_image(repository, tag)
    return {
        "changed": (before or {}).get("Id") != (after or {}).get("Id"),
        "pulled": True,
        "answered": True,
        "reason": "",
    }


def main() -> None:
    client = AnsibleDockerClient(
        argument_spec={"name": {"type": "str", "required": True}}, supports_check_mode=True
    )
    if client.module.check_mode:
        client.module.exit_json(changed=True, pulled=True, answered=True, reason="")
    client.module.exit_json(**pull(client, client.module.params["name"]))


if __name__ == "__main__":
    main()
