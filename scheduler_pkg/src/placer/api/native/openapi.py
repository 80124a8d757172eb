"""The description of the API as it is served: the framework's, completed with what it cannot know.

That is: one form of error for every route, the token, the version header, what the parameters mean.
The framework's own notion of a bad request goes, as no route answers so.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from placer.api.native.requests import IDEMPOTENCY_KEY
from placer.api.native.routes import ROUTES
from placer.api.native.versions import VERSIONS
from placer.http import REQUEST_ID, VERSION_HEADER

_PARAMETERS: Final[dict[str, str]] = {
    "agent": "Name of an agent, as `placer agent` is set up with it.",
    "wait": "How long the answer may be held back, in seconds, as `10s`.",
    "until": "What is waited for: `placed` or `built`.",
    "cell": "A cell's name; without it, this server's cell.",
    "project": "Whose; without it, `default`.",
    "all_projects": "For operators: whosever they are.",
    "state": "Only those in this state, or in one of several with commas.",
    "region": "Only those in this region.",
    "host": "Only those on this host: its name or its id.",
    "tag": "Only those with this tag.",
    "changed_since": "Only those that changed since this time.",
    "since": "The marker that events are read after.",
    "types": "Only events of these types, or of those that begin with them; with commas.",
    "webhook_id": "A webhook's id.",
    "instance_id": "An instance's id.",
    "lines": "How many of the last lines.",
    "operation": "`disable`, `enable`, `drain` or `evacuate`.",
    "kind": "Only those of this kind: `api` or `scheduler`.",
    "stage": "Only requests in this stage.",
    "limit": "How many a page may hold.",
    "marker": "Where the page begins: from the link of the page before.",
    "request_id": "A request's id.",
    "group_id": "A server group's id.",
    "name": "Its name; in a list, how it begins.",
}
_HEADERS: Final[dict[str, str]] = {
    IDEMPOTENCY_KEY: "Makes the call safe to repeat: one key, one request.",
}
_METHODS: Final = frozenset({"get", "put", "post", "delete"})
_REF: Final = "#/components/schemas/{name}"


class Problem(msgspec.Struct, frozen=True):
    """What is wrong. `code` never changes; `field` names the part of the input, where there is one."""

    code: str
    status: int
    title: str
    detail: str
    remedy: str
    request_id: str
    field: str | msgspec.UnsetType = msgspec.UNSET


class Problems(msgspec.Struct, frozen=True):
    """The one form of an error."""

    errors: tuple[Problem, ...]


def finish(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document that is served, from the one that the framework makes."""
    served = _plain(document)
    served["info"]["description"] = (
        f"Versions {VERSIONS.min_version} to {VERSIONS.max_version}: choose one by the header "
        f"{VERSION_HEADER}; without it the oldest answers."
    )
    components = served.setdefault("components", {})
    components["schemas"] = _schemas()
    components["responses"] = {"Problems": _problems()}
    components["parameters"] = {"ApiVersion": _version_parameter()}
    components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    served["paths"] = {_path(path): item for path, item in served["paths"].items()}
    for path, method, operation in operations(served):
        _complete(operation, public=path in ("/", "/v1"), posts=method == "post")
    return served


def _schemas() -> dict[str, Any]:
    """All types of bodies and answers, from the types themselves: more exact than the framework's."""
    kinds: list[Any] = [Problems]
    for route in ROUTES:
        if route.parsed_data_field is not None:
            kinds.append(route.parsed_data_field.annotation)
        answer = route.parsed_fn_signature.return_type.annotation
        kinds += [kind for kind in (typing.get_args(answer) or (answer,)) if kind is not None]
    _, schemas = msgspec.json.schema_components(kinds, ref_template=_REF)
    for schema in schemas.values():
        if "description" in schema:
            schema["description"] = inspect.cleandoc(schema["description"]).replace("``", "`")
    return _plain(dict(sorted(schemas.items())))


def _plain(document: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which everything is what JSON knows."""
    plain: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document))
    return plain


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(path, method, operation) of every route of a document."""
    for path, item in document["paths"].items():
        for method, operation in item.items():
            if method in _METHODS:
                yield path, method, operation


def _path(path: str) -> str:
    return path.rstrip("/") or "/"


def _complete(operation: dict[str, Any], *, public: bool, posts: bool) -> None:
    operation["responses"].pop("400", None)
    for answer in operation["responses"].values():
        answer["headers"] = {**answer.get("headers", {}), **_answer_headers()}
    operation["responses"]["default"] = {"$ref": "#/components/responses/Problems"}
    operation["security"] = [] if public else [{"token": []}]
    parameters = operation.setdefault("parameters", [])
    for parameter in parameters:
        parameter.pop("deprecated", None)
        parameter.pop("allowEmptyValue", None)
        parameter.pop("allowReserved", None)
        parameter["description"] = _PARAMETERS[parameter["name"]]
    parameters.append({"$ref": "#/components/parameters/ApiVersion"})
    if posts and "requestBody" in operation and operation["operationId"] in _WITH_KEY:
        parameters.append(_header_parameter(IDEMPOTENCY_KEY, _HEADERS[IDEMPOTENCY_KEY]))


#: Operations that know the header Idempotency-Key.
_WITH_KEY: Final = frozenset({"create_request", "select_destinations"})


def _header_parameter(name: str, description: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": False,
        "description": description,
        "schema": {"type": "string", "pattern": "^[!-~]{1,200}$"},
    }


def _version_parameter() -> dict[str, Any]:
    return {
        "name": VERSION_HEADER,
        "in": "header",
        "required": False,
        "description": "Which version answers: `1.N` or `latest`; without it the oldest.",
        "schema": {
            "type": "string",
            "enum": [VERSIONS.min_version, VERSIONS.max_version, "latest"],
        },
    }


def _answer_headers() -> dict[str, Any]:
    text = {"schema": {"type": "string"}}
    return {
        VERSION_HEADER: {"description": "The version that answered.", **text},
        REQUEST_ID: {"description": "The request's id, also in the server's log.", **text},
    }


def _problems() -> dict[str, Any]:
    return {
        "description": "It could not be done: why, and what to do.",
        "headers": _answer_headers(),
        "content": {"application/json": {"schema": {"$ref": _REF.format(name="Problems")}}},
    }
