"""A filter: one reason why a host cannot take a request."""

from __future__ import annotations

from typing import Protocol

from placer.model.host_view import HostView
from placer.model.request import RequestSpec


class Filter(Protocol):
    """Pure: a request and a view in, a reason (a short stable word) or None out."""

    def rejects(self, spec: RequestSpec, view: HostView) -> str | None: ...
