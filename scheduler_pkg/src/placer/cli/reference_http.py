"""The page docs/reference/http-api.md: routes and types, from the description that the API serves."""

from __future__ import annotations

from typing import Any, Final

from placer.api.native.document import document
from placer.api.native.openapi import operations
from placer.api.native.versions import VERSIONS
from placer.http import VERSION_HEADER

_HEAD: Final = """# The HTTP API

JSON over HTTP. Every call but `GET /` and `GET /openapi.json` sends `Authorization: Bearer <token>`.

- **Versions.** The header `{header}: 1.N` (or `latest`) chooses one from {lowest} to {highest};
  without it the oldest answers. Each answer names its version in the same header. A version's structure
  never changes; what is not served is 406.
- **Errors** have one form and stable codes: [errors](errors.md).
- **Lists** come in pages: follow the link `next` until there is none. A marker is opaque.
- **Repeating.** GET, PUT and DELETE may be repeated. A POST of a request may be repeated with the header
  `Idempotency-Key`.
- **Bodies** are read strictly: no unknown field, no key twice, no number in quotes.

The same, for programs, is at `/openapi.json`. This page is printed by `placer reference http-api`.

## Routes
"""


def page() -> str:
    """The whole page; a test keeps the file in docs equal to it."""
    described = document()
    head = _HEAD.format(
        header=VERSION_HEADER, lowest=VERSIONS.min_version, highest=VERSIONS.max_version
    )
    lines = [head, "| call | |", "|---|---|"]
    found = list(operations(described))
    for path, method, operation in found:
        first = operation["description"].splitlines()[0]
        lines.append(f"| [`{method.upper()} {path}`](#{_slug(method, path)}) | {first} |")
    for path, method, operation in found:
        lines += _route(path, method, operation)
    lines += ["", "## Types", ""]
    for name, schema in described["components"]["schemas"].items():
        lines += _type(name, schema)
    return "\n".join(lines).rstrip("\n") + "\n"


def _slug(method: str, path: str) -> str:
    """The anchor of the heading of a route."""
    kept = "".join(letter for letter in f"{method} {path}" if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-").lower()


def _route(path: str, method: str, operation: dict[str, Any]) -> list[str]:
    lines = ["", f"### {method.upper()} {path}", "", *operation["description"].splitlines(), ""]
    rows = [
        f"| `{one['name']}` | {one['in']} | {one['description']} | {_default(one['schema'])} |"
        for one in operation["parameters"]
        if "$ref" not in one
    ]
    if rows:
        lines += ["| parameter | in | meaning | default |", "|---|---|---|---|", *rows, ""]
    if "requestBody" in operation:
        lines.append(f"Body: {_body(operation['requestBody'])}.")
    answers = [
        f"{status}{_answer(answer)}"
        for status, answer in sorted(operation["responses"].items())
        if status != "default"
    ]
    lines.append(f"Answer: {', or '.join(answers)}.")
    return lines


def _answer(answer: dict[str, Any]) -> str:
    return f" {_body(answer)}" if "content" in answer else " without a body"


def _body(holder: dict[str, Any]) -> str:
    return _kind(holder["content"]["application/json"]["schema"])


def _type(name: str, schema: dict[str, Any]) -> list[str]:
    lines = [f"### {name}", "", *schema.get("description", "").splitlines(), ""]
    if "enum" in schema:
        return [*lines, "One of " + ", ".join(f"`{value}`" for value in schema["enum"]) + ".", ""]
    required = schema.get("required", [])
    lines += ["| field | type | default |", "|---|---|---|"]
    for field, kind in schema.get("properties", {}).items():
        default = "always there" if field in required else _default(kind)
        lines.append(f"| `{field}` | {_kind(kind)} | {default} |")
    return [*lines, ""]


def _default(schema: dict[str, Any]) -> str:
    value = schema.get("default")
    return (
        ""
        if value in (None, "", [], {})
        else f"`{str(value).lower() if value in (True, False) else value}`"
    )


def _kind(schema: dict[str, Any]) -> str:
    """A schema in words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    match schema.get("type"):
        case "array" if "items" in schema and schema["items"] is not False:
            return f"list of {_kind(schema['items'])}"
        case "array":
            return "list of " + " and ".join(_kind(one) for one in schema.get("prefixItems", []))
        case "object":
            return f"object of {_kind(schema.get('additionalProperties', {}))}"
        case "integer":
            return "whole number"
        case "boolean":
            return "true or false"
        case None:
            return "anything"
        case other:
            return str(other)
