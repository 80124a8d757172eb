"""What holds for every route: tokens, the form of errors, request ids, bounds, health, metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from .conftest import Api, make_settings, started

BODY = {"resources": {"VCPU": 1}}


def error_of(response: Any) -> dict[str, Any]:
    """The one error of an answer, after a look at the form that all errors have."""
    assert response.headers["content-type"] == "application/json"
    errors = response.json()["errors"]
    assert len(errors) == 1
    error: dict[str, Any] = errors[0]
    assert error["status"] == response.status_code
    assert error["request_id"] == response.headers["x-request-id"]
    assert error["title"]
    assert error["detail"]
    assert "Traceback" not in response.text
    return error


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(None, id="no token"),
        pytest.param("Bearer wrong", id="wrong token"),
        pytest.param("api-token", id="token without its scheme"),
        pytest.param("Bearer \xe9", id="token that is not ASCII"),
    ],
)
def test_without_the_token_nothing_is_served(api: Api, header: str | None) -> None:
    """Every route but the public ones wants the token, and says how to send it."""
    api.client.headers.pop("Authorization")
    headers = [] if header is None else [(b"Authorization", header.encode("latin-1"))]
    for path in ("/v1/requests/nyc1.1", "/v1/hosts", "/v1/instances"):
        response = api.client.get(path, headers=headers)
        assert error_of(response)["code"] == "placer.unauthorized"
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "path", ["/", "/v1", "/v1/", "/healthz", "/readyz", "/metrics", "/openapi.json"]
)
def test_public_routes_need_no_token(api: Api, path: str) -> None:
    """Probes, metrics and the documents of the API are open."""
    api.client.headers.pop("Authorization")
    response = api.client.get(path)
    assert response.status_code == 200
    assert response.headers["x-request-id"]


GROUP = b'"g%d": {"resources": {"VCPU": 1}}'

BAD_BODIES = [
    pytest.param(b"{nope", None, "is not JSON", id="no JSON at all"),
    pytest.param(b"", None, "no body", id="no body"),
    pytest.param(b'{"name": "\xff"}', None, "not UTF-8", id="not UTF-8"),
    pytest.param(b"[1]", None, "[1] is not an object", id="a list"),
    pytest.param(b"null", None, "null is not an object", id="null"),
    pytest.param(b"{}", "resources", "0 resource classes", id="no resources"),
    pytest.param(b'{"resources": {}}', "resources", "0 resource classes", id="nothing asked"),
    pytest.param(b'{"resources": null}', "resources", "null is not", id="resources null"),
    pytest.param(
        b'{"resources": {"MEMORY_MB": 1, "VCPU": "two"}}',
        "resources.VCPU",
        '"two" is not a whole number',
        id="text as amount",
    ),
    pytest.param(b'{"resources": {"VCPU": 1.5}}', "resources.VCPU", "1.5 is not", id="half"),
    pytest.param(b'{"resources": {"VCPU": 1.0}}', "resources.VCPU", "1.0 is not", id="a float"),
    pytest.param(b'{"resources": {"VCPU": true}}', "resources.VCPU", "true is not", id="true"),
    pytest.param(
        b'{"resources": {"VCPU": null}}', "resources.VCPU", "null is not", id="null amount"
    ),
    pytest.param(b'{"resources": {"VCPU": -1}}', "resources.VCPU", "-1", id="negative"),
    pytest.param(b'{"resources": {"VCPU": 0}}', "resources.VCPU", "0", id="zero"),
    pytest.param(
        b'{"resources": {"VCPU": 2147483648}}',
        "resources.VCPU",
        "2147483648",
        id="above Placement's",
    ),
    pytest.param(
        b'{"resources": {"VCPU": ' + b"9" * 400 + b"}}", "resources.VCPU", "999", id="huge number"
    ),
    pytest.param(
        b'{"count": ' + b"9" * 400 + b"}", "resources", "0 resource", id="huge count alone"
    ),
    pytest.param(
        b'{"resources": {"VCPU": 1}, "count": ' + b"9" * 400 + b"}", "count", "999", id="huge count"
    ),
    pytest.param(
        b'{"resources": {"VCPU": 1e999}}', "resources", "out of range", id="out of all range"
    ),
    pytest.param(b'{"resources": {"VCPU": NaN}}', None, "is not JSON", id="NaN"),
    pytest.param(b'{"resources": {"VCPU": 1}, "count": 0}', "count", "0", id="count 0"),
    pytest.param(
        b'{"resources": {"VCPU": 1, "VCPU": 2}}', "VCPU", "twice", id="a key that is there twice"
    ),
    pytest.param(
        b'{"resources": {"VCPU": 1}, "groups": {"a": {"resources": {"DISK_GB": "x"}}}}',
        "groups.a.resources.DISK_GB",
        '"x" is not a whole number',
        id="in a group",
    ),
    pytest.param(
        b'{"resources": {"VCPU": 1}, "colour": "red"}', "colour", "unknown field", id="unknown"
    ),
    pytest.param(b'{"resources": {"VCPU": 1}, "name": 7}', "name", "7 is not a text", id="name"),
    pytest.param(
        b'{"resources": {"VCPU": 1}, "strategy": "best"}',
        "strategy",
        '"best" is none of its values',
        id="no such strategy",
    ),
    pytest.param(
        b'{"resources": {"VCPU": 1}, "required_traits": ["HW_CPU_X86_AVX2"], '
        b'"forbidden_traits": ["HW_CPU_X86_AVX2"]}',
        "forbidden_traits",
        "required and forbidden",
        id="contradiction",
    ),
    pytest.param(b"[" * 100_000, None, "nested too deeply", id="nested lists"),
    pytest.param(b'{"groups":' * 50_000, None, "nested too deeply", id="nested objects"),
    pytest.param(
        b'{"groups": {' + b",".join(GROUP % n for n in range(10_000)) + b"}}",
        "groups",
        "10000 groups",
        id="10,000 groups",
    ),
]


@pytest.mark.parametrize("path", ["/v1/requests", "/v1/select-destinations"])
@pytest.mark.parametrize(("content", "field", "words"), BAD_BODIES)
def test_a_bad_body_is_refused_with_the_field(
    api: Api, path: str, content: bytes, field: str | None, words: str
) -> None:
    """400, the path of what is wrong, a remedy, nothing logged and no scheduler asked."""
    response = api.client.post(path, content=content)
    error = error_of(response)
    assert response.status_code == 400
    assert error["code"] == "placer.invalid_input"
    assert words in error["detail"]
    assert error["remedy"]
    assert error.get("field") == field
    assert not api.schedulers.asked
    assert not api.stores.cells["nyc1"].requests


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        pytest.param("application/json", 202, id="JSON"),
        pytest.param("application/json; charset=utf-8", 202, id="JSON with a character set"),
        pytest.param("application/x-www-form-urlencoded", 415, id="what curl -d says"),
        pytest.param("text/plain", 415, id="text"),
        pytest.param("application/msgpack", 415, id="another encoding"),
    ],
)
def test_a_body_must_be_announced_as_json(api: Api, media_type: str, status: int) -> None:
    """Anything else is 415 and says what to send; nothing is stored."""
    response = api.client.post(
        "/v1/requests", content=b'{"resources": {"VCPU": 1}}', headers={"content-type": media_type}
    )
    assert response.status_code == status
    if status == 415:
        assert error_of(response)["code"] == "placer.unsupported_media_type"
        assert "application/json" in error_of(response)["remedy"]
        assert not api.stores.cells["nyc1"].requests


@pytest.mark.parametrize(
    ("asked", "status", "answered"),
    [
        pytest.param(None, 200, "1.0", id="no header: the oldest"),
        pytest.param("1.0", 200, "1.0", id="a version"),
        pytest.param("latest", 200, "1.0", id="latest"),
        pytest.param("LATEST", 200, "1.0", id="latest in capitals"),
        pytest.param("1.1", 406, None, id="too new"),
        pytest.param("0.9", 406, None, id="too old"),
        pytest.param("2.0", 406, None, id="another major version"),
        pytest.param("1", 406, None, id="no minor version"),
        pytest.param("1.x", 406, None, id="no number"),
        pytest.param("1.00000000000000000000", 406, None, id="a long number"),
    ],
)
def test_a_header_chooses_the_version(
    api: Api, asked: str | None, status: int, answered: str | None
) -> None:
    """The answer says which it is, and that caches must look at it; unsupported ones are 406."""
    headers = {} if asked is None else {"Placer-API-Version": asked}
    for path in ("/v1/hosts", "/", "/nowhere"):
        response = api.client.get(path, headers=headers)
        assert response.headers["vary"] == "Placer-API-Version"
        assert response.headers.get("placer-api-version") == answered
    response = api.client.get("/v1/hosts", headers=headers)
    assert response.status_code == status
    if status == 406:
        error = error_of(response)
        assert error["code"] == "placer.version_not_supported"
        assert (error["min_version"], error["max_version"]) == ("1.0", "1.0")


def test_an_unknown_trait_has_its_own_code(api: Api) -> None:
    """It is named, and where it was; a trait of one's own is not unknown."""
    group = {"resources": {"DISK_GB": 1}, "any_traits": [["CUSTOM_FAST", "SPEEDY"]]}
    body = {"resources": {"VCPU": 1}, "groups": {"a": group}}
    error = error_of(api.client.post("/v1/requests", json=body))
    assert error["code"] == "placer.unknown_trait"
    assert error["field"] == "groups.a.any_traits"
    assert error["trait"] == "SPEEDY"


def test_an_unknown_class_has_its_own_code(api: Api) -> None:
    """A program can tell it from other bad input."""
    response = api.client.post("/v1/requests", json={"resources": {"VCPUS": 1}})
    assert error_of(response)["code"] == "placer.unknown_resource_class"


def test_an_oversized_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    """413 by the length that is announced, and by what arrives where none is."""
    for api in started(make_settings(tmp_path, body_bytes_max=100)):
        response = api.client.post("/v1/requests", content=b" " * 101)
        assert error_of(response)["code"] == "placer.too_large"
        chunks = (b" " * 60 for _ in range(10_000_000))  # never read to its end
        response = api.client.post("/v1/requests", content=(next(chunks) for _ in range(3)))
        assert error_of(response)["code"] == "placer.too_large"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        pytest.param("GET", "/nowhere", 404, "placer.not_found", id="no such path"),
        pytest.param("GET", "/v1/requests/a/b", 404, "placer.not_found", id="too deep"),
        pytest.param("DELETE", "/v1/hosts", 405, "placer.method_not_allowed", id="no such method"),
        pytest.param("GET", "/v1/hosts?colour=red", 400, "placer.invalid_input", id="parameter"),
        pytest.param("GET", "/v1/hosts?limit=ten", 400, "placer.invalid_input", id="limit a word"),
        pytest.param("GET", "/v1/hosts?limit=0", 400, "placer.invalid_input", id="limit 0"),
        pytest.param("GET", "/v1/hosts?limit=1001", 400, "placer.invalid_input", id="limit"),
        pytest.param("GET", "/v1/hosts?marker=x", 400, "placer.invalid_input", id="bad marker"),
        pytest.param(
            "GET", "/v1/hosts?marker=bm8", 400, "placer.invalid_input", id="forged marker"
        ),
        pytest.param("GET", "/v1/hosts?cell=mars1", 400, "placer.unknown_cell", id="no such cell"),
        pytest.param("GET", "/v1/requests/nyc1.0", 404, "placer.not_found", id="no such request"),
        pytest.param("GET", "/v1/requests/mars1.0", 404, "placer.not_found", id="foreign request"),
        pytest.param("GET", "/v1/requests/nodot", 404, "placer.not_found", id="id without cell"),
    ],
)
def test_what_cannot_be_served_is_said_in_one_form(
    api: Api, method: str, path: str, status: int, code: str
) -> None:
    """Also what no route of ours has seen."""
    response = api.client.request(method, path)
    assert response.status_code == status
    assert error_of(response)["code"] == code


def test_a_fault_is_answered_without_its_trace(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """500 with the request's id; the words of the exception stay in the log."""

    async def broken(bucket: int) -> None:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(api.stores.cells["nyc1"], "read_views", broken)
    response = api.client.get("/v1/hosts")
    assert response.status_code == 500
    assert error_of(response)["code"] == "placer.internal"
    assert "hunter2" not in response.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param("req-42", True, id="decent id is kept"),
        pytest.param("x" * 65, False, id="too long"),
        pytest.param("a b\tc", False, id="with blanks"),
    ],
)
def test_request_ids(api: Api, given: str, kept: bool) -> None:
    """Every answer has one: the caller's own if it is decent."""
    response = api.client.get("/v1/hosts", headers={"x-request-id": given})
    assert (response.headers["x-request-id"] == given) is kept
    assert response.headers["x-request-id"]


def test_a_cell_that_is_cut_off_is_503_and_another_cells_state_does_not_matter(api: Api) -> None:
    """Readiness asks the own cell alone; a read of another cell says that cell is away."""
    api.stores.cells["ams1"].down = True
    assert api.client.get("/readyz").status_code == 200
    response = api.client.get("/v1/hosts?cell=ams1")
    assert error_of(response)["code"] == "placer.store_unavailable"
    assert response.headers["retry-after"] == "1"  # as with every 503
    api.stores.cells["nyc1"].down = True
    assert api.client.get("/readyz").status_code == 503
    assert api.client.get("/healthz").status_code == 200


def test_at_the_bound_requests_are_turned_away(tmp_path: Path) -> None:
    """503 with Retry-After; probes still work."""
    for api in started(make_settings(tmp_path, inflight_max=0)):
        response = api.client.post("/v1/requests", json=BODY)
        assert error_of(response)["code"] == "placer.overloaded"
        assert response.headers["retry-after"] == "1"
        assert api.client.get("/healthz").status_code == 200


def test_metrics_have_routes_and_no_ids(api: Api) -> None:
    """A label's values are bounded, whatever is asked for."""
    api.client.get("/v1/requests/nyc1.0123456789")
    api.client.get("/nowhere/0123456789")
    text = api.client.get("/metrics").text
    assert (
        'placer_http_requests_total{method="GET",route="/v1/requests/{request_id}",status="404"}'
        in text
    )
    assert 'route="unmatched"' in text
    assert "0123456789" not in text


def test_a_caller_that_leaves_amid_its_body_is_no_fault(api: Api) -> None:
    """The log says so in one line, without a trace; there is nobody left to answer."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/requests",
        "raw_path": b"/v1/requests",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"authorization", b"Bearer api-token"), (b"content-length", b"100")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    messages = [
        {"type": "http.request", "body": b'{"resources"', "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    with capture_logs() as logs:
        api.client.blocking_portal.call(api.client.app, scope, receive, send)
    events = [one["event"] for one in logs]
    assert "client_left" in events
    assert "unexpected_error" not in events
