"""The command line's connection to an API: one call, one answer, every failure an error with a remedy.

The standard library's client does: calls go one after the other, and it starts ten times faster
than what the services use.
"""

from __future__ import annotations

import http.client
import socket
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode, urlsplit

import msgspec
import typer
from msgspec import Struct

from placer import errors
from placer.cli.exits import Ended, Exit
from placer.errors import InvalidInput, PlacerError

#: The version of the API that this command line was written for.
API_VERSION: Final = "1.0"
#: How long an answer may take beyond the time that it was asked to wait.
TIMEOUT_S: Final = 30.0
_ANSWER_BYTES_MAX: Final = 64 * 1024 * 1024
_TOKEN_BYTES_MAX: Final = 4096

_KINDS: Final = {kind.code: kind for kind in errors.table()}

Url = Annotated[
    str, typer.Option("--url", envvar="PLACER_URL", help="The API, as http://HOST:PORT.")
]
Token = Annotated[
    str,
    typer.Option(
        "--token",
        envvar="PLACER_TOKEN",
        help="Its token, or the file that holds it.",
        show_default=False,
    ),
]


class Answer(Struct, frozen=True):
    """What came back: the status, and the decoded body."""

    status: int
    body: Any


class _Problem(Struct):
    code: str = ""
    detail: str = ""
    remedy: str = ""
    request_id: str = ""


class _Problems(Struct):
    errors: tuple[_Problem, ...] = ()


class Connection:
    """An API at ``url``. Every call raises PlacerError when it is not answered as asked."""

    def __init__(self, url: str, token: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        # Proxies are for the internet; an API is named by its own address.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **query: Any) -> Any:
        return self.call("GET", path, query=query).body

    def call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        wait_s: float = 0.0,
    ) -> Answer:
        """The answer; ``wait_s`` is how long the API was asked to hold it back."""
        given = {key: value for key, value in (query or {}).items() if value not in ("", None)}
        url = self._url + path + (f"?{urlencode(given)}" if given else "")
        request = urllib.request.Request(
            url,
            method=method,
            data=None if body is None else msgspec.json.encode(body),
            headers={
                "Authorization": f"Bearer {self._token}",
                "Content-Type": "application/json",
                "Placer-API-Version": API_VERSION,
                "X-Request-Id": f"cli-{uuid.uuid4().hex[:16]}",
                **(headers or {}),
            },
        )
        try:
            with self._opener.open(request, timeout=self._timeout_s + wait_s) as answer:
                return Answer(answer.status, _decoded(answer.read(_ANSWER_BYTES_MAX)))
        except urllib.error.HTTPError as error:
            raise _refusal(error.code, error.read(_ANSWER_BYTES_MAX)) from None
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            raise self._unreachable(error) from None

    def _unreachable(self, error: Exception) -> PlacerError:
        reason = getattr(error, "reason", error)
        said = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
        if isinstance(reason, (TimeoutError, socket.timeout)):
            said = "no answer in time"
        return Ended(
            Exit.UNAVAILABLE,
            f"The API at {self._url} does not answer: {said or type(reason).__name__}.",
            remedy="See that it runs, and that PLACER_URL or --url is its address.",
        )


def connect(url: str, token: str, timeout_s: float = TIMEOUT_S) -> Connection:
    """A connection; raises InvalidInput when address or token are missing or cannot be used."""
    if not url:
        raise InvalidInput(
            "No API is named.",
            remedy='Set PLACER_URL, or give --url http://HOST:PORT. For the demo: eval "$(./demo env)".',
        )
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidInput(
            f"{url!r} is no address of an API.", remedy="Give it as http://HOST:PORT."
        )
    return Connection(url, _read_token(token), timeout_s)


def segment(text: str) -> str:
    """``text`` as one part of a path."""
    return quote(text, safe="")


def _read_token(given: str) -> str:
    """The token itself, or what the file of that name holds."""
    if not given:
        raise InvalidInput(
            "No token is given.", remedy="Set PLACER_TOKEN to the token or to its file."
        )
    token = given
    path = Path(given)
    try:
        if path.is_file():
            with path.open() as file:
                token = file.read(_TOKEN_BYTES_MAX)
        elif "/" in given:
            raise InvalidInput(
                f"There is no file {given} with a token.", remedy="Correct PLACER_TOKEN or --token."
            )
    except OSError as error:
        raise InvalidInput(
            f"Cannot read the token {given}: {error.strerror}.",
            remedy="Run it as a user who may read the file, or give the token itself.",
        ) from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise InvalidInput(
            "The token is empty or has characters that no token has.",
            remedy="Set PLACER_TOKEN to the token or to its file.",
        )
    return token


def _decoded(content: bytes) -> Any:
    if not content:
        return None
    try:
        return msgspec.json.decode(content)
    except msgspec.DecodeError:
        raise PlacerError(
            "The answer is not JSON.", remedy="Is PLACER_URL the address of a Placer API?"
        ) from None


def _refusal(status: int, content: bytes) -> PlacerError:
    """The error that an API answered with, as what it is."""
    try:
        problems = msgspec.json.decode(content, type=_Problems).errors
    except msgspec.DecodeError:
        problems = ()
    if not problems:
        return PlacerError(
            f"The API answered {status}.", remedy="Is PLACER_URL the address of a Placer API?"
        )
    first = problems[0]
    kind = _KINDS.get(first.code, PlacerError)
    message = first.detail
    if status >= http.client.INTERNAL_SERVER_ERROR:
        message += f" (request id {first.request_id})"
    return kind(message, remedy=first.remedy)
