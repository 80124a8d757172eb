"""What every HTTP process shares: tokens, errors, request ids, bounds, health, metrics, the runner.

``create_app`` wraps a Litestar application in one ASGI layer (``edge``) that sees every request,
also those that no route matches. All errors have one form (``answers``):

    {"errors": [{"code", "status", "title", "detail", "remedy", "request_id", ...}]}
"""

from placer.http.app import create_app
from placer.http.bodies import strict_body, strictly
from placer.http.edge import REQUEST_ID
from placer.http.server import serve
from placer.http.versions import HEADER as VERSION_HEADER
from placer.http.versions import Microversions

__all__ = [
    "REQUEST_ID",
    "VERSION_HEADER",
    "Microversions",
    "create_app",
    "serve",
    "strict_body",
    "strictly",
]
