# SPDX-License-Identifier: Apache-2.0
"""The variables that the roles declare, read from the roles themselves, so that no list of them goes stale."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: preflight_variables
author: The Placer authors
short_description: Variables of all roles, with type and choices
description: >-
  Names come from each role's defaults, types and choices from its argument specifications, further names from the
  group variables beside the playbooks.
options:
  _terms:
    description: The repository's root, which has roles and playbooks.
    required: true
"""


def declared(root: Path) -> dict[str, dict[str, Any]]:
    """Map each variable to {type, choices}, or to nothing where its role says neither."""
    variables: dict[str, dict[str, Any]] = {}
    names = [*root.glob("roles/*/defaults/main.yml"), *root.glob("playbooks/group_vars/*/*.yml")]
    for file in names:
        variables |= {name: {} for name in _read(file)}
    for file in root.glob("roles/*/meta/argument_specs.yml"):
        for entry in _read(file).get("argument_specs", {}).values():
            for name, option in (entry.get("options") or {}).items():
                variables[name] = {key: option[key] for key in ("type", "choices") if key in option}
    return variables


def _read(file: Path) -> dict[str, Any]:
    content = yaml.safe_load(file.read_text()) or {}
    if not isinstance(content, dict):
        raise AnsibleLookupError(f"{file} holds no mapping")
    return content


class LookupModule(LookupBase):
    """The lookup."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[Any]:
        return [declared(Path(term)) for term in terms]
