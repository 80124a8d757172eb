"""Reading a body strictly, and saying of a bad one which value is wrong and what would be right.

The decoder knows where it stopped (``$.groups[...].resources[...]``) but not which key that was.
The key is found by decoding again with fewer keys: the decoder stops at the first mistake, so the
shortest prefix of the keys that still makes it ends with the wrong one, and halving finds it.
"""

from __future__ import annotations

import enum
import json
import re
import types
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

import msgspec
from litestar import Request

from placer.errors import InvalidInput, UnsupportedMediaType
from placer.http.answers import FORMS

_T = TypeVar("_T")
_PLACE: Final = re.compile(r" - at `(?:key in )?\$(?P<path>[^`]*)`$")
_STEP: Final = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>\d+)\]|\[(?P<any>\.\.\.)\]")
_UNKNOWN_FIELD: Final = re.compile(r"unknown field `(.+)`")
_MISSING_FIELD: Final = re.compile(r"missing required field `(.+)`")
_EXPECTED: Final = re.compile(r"Expected `(\w+)")
#: What is shown of a wrong value.
_VALUE_CHARS_MAX: Final = 60

#: The decoder's word for a type -> in words, and an example.
_WANTED: Final[dict[str, tuple[str, str]]] = {
    "int": ("a whole number", "such as 2"),
    "float": ("a number", "such as 1.5"),
    "str": ("a text", 'in quotes, such as "a"'),
    "bool": ("true or false", "without quotes"),
    "array": ("a list", 'such as ["a"]'),
    "object": ("an object", 'such as {"VCPU": 1}'),
}


async def strict_body(request: Request[Any, Any, Any]) -> None:
    """Before a route with a body (a hook of Litestar): refuse what is not JSON of the right form.

    The framework then decodes it once more, leniently, which is harmless. Raises InvalidInput or
    UnsupportedMediaType.
    """
    field = request.route_handler.parsed_data_field
    if field is None:
        return
    given = request.headers.get("content-type", "")
    media_type = given.partition(";")[0].strip().lower()
    if media_type and media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"The body is announced as {given[:_VALUE_CHARS_MAX]}.",
            remedy="Send JSON with the header Content-Type: application/json.",
        )
    strictly(await request.body(), field.annotation)


def strictly(body: bytes, kind: type[_T]) -> _T:
    """``body`` as a ``kind``: "4" is not taken for 4, no key is there twice. Raises InvalidInput."""
    if not body.strip():
        raise InvalidInput("There is no body; one in JSON is wanted.", remedy=FORMS)
    try:
        value = msgspec.json.decode(body, type=kind)
        json.loads(body, object_pairs_hook=_no_key_twice)
    except RecursionError:
        raise _too_deep() from None
    except UnicodeDecodeError:
        raise InvalidInput("The body is not UTF-8.", remedy="Send it in UTF-8.") from None
    except msgspec.ValidationError as error:
        raise _explained(str(error), body, kind) from None
    except msgspec.DecodeError as error:
        raise _not_json(error) from None
    return value


def _too_deep() -> InvalidInput:
    return InvalidInput("The body is nested too deeply.", remedy=FORMS)


def _not_json(error: msgspec.DecodeError) -> InvalidInput:
    return InvalidInput(f"The body is not JSON: {error}.", remedy="Send JSON.")


def _no_key_twice(pairs: list[tuple[str, Any]]) -> None:
    seen = set()
    for key, _ in pairs:
        if key in seen:
            raise InvalidInput(
                f"{_shown(key)} is there twice in one object.",
                remedy="Leave one of the two out.",
                field=key,
            )
        seen.add(key)


def _explained(text: str, body: bytes, kind: Any) -> InvalidInput:
    """What the decoder says of ``body``, with the value that is wrong and what would be right."""
    place = _PLACE.search(text)
    said = text[: place.start()] if place else text
    path, value = _found(place["path"] if place else "", text, body, kind)
    wanted = _annotation(kind, path)
    if unknown := _UNKNOWN_FIELD.search(said):
        field = _dotted([*path, unknown[1]])
        return _wrong(f"unknown field {_shown(unknown[1])}", _known_fields(wanted), field)
    if missing := _MISSING_FIELD.search(said):
        return _wrong("it is missing", "Add it.", _dotted([*path, missing[1]]))
    field = _dotted(path)
    if choices := _choices(wanted):
        return _wrong(f"{_shown(value)} is none of its values", f"Use {choices}.", field)
    if expected := _EXPECTED.match(said):
        words, example = _WANTED.get(expected[1], (expected[1], ""))
        return _wrong(f"{_shown(value)} is not {words}", f"Send {words}, {example}.", field)
    return _wrong(f"{said[:1].lower()}{said[1:]}", FORMS, field)


def _wrong(what: str, remedy: str, field: str) -> InvalidInput:
    if not field:
        return InvalidInput(f"The body: {what}.", remedy=remedy)
    return InvalidInput(f"{field}: {what}.", remedy=remedy, field=field)


def _found(place: str, text: str, body: bytes, kind: Any) -> tuple[list[str | int], Any]:
    """The path to the mistake with its keys named, and the value there.

    A number out of all range hides its key: the path ends before it. What follows the mistake may
    be no JSON at all, which is then the greater mistake.
    """
    try:
        root = node = msgspec.json.decode(body)
    except msgspec.ValidationError:
        root = node = None
    except msgspec.DecodeError as error:
        raise _not_json(error) from None
    except RecursionError:
        raise _too_deep() from None
    path: list[str | int] = []
    for step in _STEP.finditer(place):
        if step["any"]:
            if root is None:
                break
            key: str | int = _first_wrong(root, path, text, kind)
        else:
            key = int(step["index"]) if step["index"] else step["name"]
        path.append(key)
        node = None if root is None else node[key]
    return path, node


def _first_wrong(root: Any, path: list[str | int], text: str, kind: Any) -> str:
    """The key of the object at ``path`` whose value makes the decoder say ``text``."""
    pairs = list(_at(root, path).items())

    def mistaken(count: int) -> bool:
        shorter = msgspec.json.encode(_with(root, path, dict(pairs[:count])))
        try:
            msgspec.json.decode(shorter, type=kind)
        except msgspec.ValidationError as error:
            return str(error) == text
        return False

    return str(pairs[_least(mistaken, len(pairs)) - 1][0])


def _least(holds: Callable[[int], bool], highest: int) -> int:
    """The least number from 1 to ``highest`` that ``holds``, which all above it do too."""
    low, high = 1, highest
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low


def _at(node: Any, path: list[str | int]) -> Any:
    for key in path:
        node = node[key]
    return node


def _with(node: Any, path: list[str | int], value: Any) -> Any:
    """A copy of ``node`` that has ``value`` at ``path``."""
    if not path:
        return value
    changed = node.copy()
    changed[path[0]] = _with(node[path[0]], path[1:], value)
    return changed


def _dotted(path: list[str | int]) -> str:
    parts = (f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return "".join(parts).lstrip(".")


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _VALUE_CHARS_MAX else text[:_VALUE_CHARS_MAX] + "…"


def _annotation(kind: Any, path: list[str | int]) -> Any:
    """The type that is wanted at ``path`` of a ``kind``."""
    for key in path:
        kind = next(_alternatives(kind))
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            hints = typing.get_type_hints(kind)
            kind = hints.get(str(key), Any)
        else:
            arguments = typing.get_args(kind)
            kind = arguments[-1 if isinstance(key, str) else 0] if arguments else Any
    return next(_alternatives(kind))


def _alternatives(kind: Any) -> Iterator[Any]:
    """The members of a union but None; of anything else, itself."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        yield from (one for one in typing.get_args(kind) if one is not type(None))
    yield kind


def _choices(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " or ".join(str(member.value) for member in kind)
    return ""


def _known_fields(kind: Any) -> str:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return "Known here: " + ", ".join(f.encode_name for f in msgspec.structs.fields(kind)) + "."
    return FORMS
