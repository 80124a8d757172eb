"""From options to the body of a request. A file gives all of it; options add to it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any, Final

import msgspec

from placer.errors import InvalidInput

_AMOUNT: Final = re.compile(r"(?P<name>[A-Z][A-Z0-9_]*)=(?P<amount>\d{1,10})")
_FILE_BYTES_MAX: Final = 1_048_576


def resources(pairs: list[str]) -> dict[str, int]:
    """["VCPU=2"] as {"VCPU": 2}; raises InvalidInput."""
    found: dict[str, int] = {}
    for pair in pairs:
        match = _AMOUNT.fullmatch(pair)
        if match is None:
            raise InvalidInput(
                f"--resource {pair!r} is not CLASS=AMOUNT.", remedy="Write it as VCPU=2."
            )
        if match["name"] in found:
            raise InvalidInput(
                f"--resource {match['name']} is there twice.", remedy="Leave one out."
            )
        found[match["name"]] = int(match["amount"])
    return found


def from_file(path: Path | None) -> dict[str, Any]:
    """The JSON object in ``path`` (``-``: standard input); {} without one. Raises InvalidInput."""
    if path is None:
        return {}
    try:
        if str(path) == "-":
            content = sys.stdin.buffer.read(_FILE_BYTES_MAX)
        else:
            with path.open("rb") as file:
                content = file.read(_FILE_BYTES_MAX)
    except OSError as error:
        raise InvalidInput(
            f"Cannot read {path}: {error.strerror}.",
            remedy="Correct --file; - stands for standard input.",
        ) from None
    try:
        found: dict[str, Any] = msgspec.json.decode(content, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidInput(
            f"{path} is not a JSON object: {error}.",
            remedy='Write it as {"resources": {"VCPU": 1}}.',
        ) from None
    return found


def filled(file: dict[str, Any], **options: Any) -> dict[str, Any]:
    """The file's content with the options that were given on top."""
    given = {
        key: value for key, value in options.items() if value not in ("", None, 0, False, [], {})
    }
    return {**file, **given}
