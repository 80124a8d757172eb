# SPDX-License-Identifier: Apache-2.0
"""One checksum over files and folders of the controller: what an image is made of, without a task for each file."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleLookupError
from ansible.plugins.lookup import LookupBase

DOCUMENTATION = """
name: placer_checksum
author: Placer authors
short_description: SHA-256 over names and contents of files and folders
description: Folders are read with everything below them, but for compiled Python and hidden files.
options:
  _terms:
    description: Paths on the controller.
    required: true
"""


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise AnsibleLookupError(f"there is neither a file nor a folder {path}")
    inner = [one for one in path.rglob("*") if one.is_file()]
    return sorted(one for one in inner if not _skipped(one.relative_to(path)))


def _skipped(relative: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in relative.parts)


class LookupModule(LookupBase):
    """The lookup."""

    def run(
        self, terms: list[str], variables: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[str]:
        digest = hashlib.sha256()
        for term in terms:
            for file in _files(Path(term)):
                content = file.read_bytes()
                digest.update(f"{file.relative_to(Path(term).parent)} {len(content)}\n".encode())
                digest.update(content)
        return [digest.hexdigest()]
